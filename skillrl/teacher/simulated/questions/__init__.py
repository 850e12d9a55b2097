"""Knows questions that are answered by searching passages (Search QA)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skillrl.teacher.simulated.domain import Domain, advice_texts, capital
from skillrl.teacher.simulated.questions.advice import ADVICE, GENERAL_CAUSES, HABITS
from skillrl.teacher.simulated.questions.cards import archives, card_texts, findings
from skillrl.teacher.simulated.questions.diagnosis import causes
from skillrl.teacher.simulated.questions.patterns import pattern_texts, patterns
from skillrl.teacher.simulated.questions.reading import evidence
from skillrl.teacher.simulated.questions.thoughts import THOUGHT_FORMS, think
from skillrl.teacher.simulated.recordings import Recording


def _fill(text: str, shown: Sequence[Recording]) -> str:
    return capital(text)


def _vocabulary() -> list[str]:
    thoughts = [re.sub(r"\{\w+\}", "", form) for form in THOUGHT_FORMS]
    advice = [capital(text) for text in advice_texts(ADVICE, HABITS)]
    return [*dict.fromkeys([*advice, *pattern_texts(), *card_texts(), *thoughts])]


QUESTIONS = Domain(
    name="questions",
    environments=("search",),
    advice=ADVICE,
    general=GENERAL_CAUSES,
    habits=HABITS,
    evidence=evidence,
    causes=causes,
    fill=_fill,
    patterns=patterns,
    shared=archives,
    findings=findings,
    think=think,
    vocabulary=_vocabulary,
)
