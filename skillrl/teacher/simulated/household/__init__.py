"""Knows household text games (ALFWorld): find an object, treat it, put it somewhere."""

from __future__ import annotations

from collections.abc import Sequence

from skillrl.teacher.simulated.domain import Domain
from skillrl.teacher.simulated.household.advice import (
    ADVICE,
    GENERAL_CAUSES,
    advice_texts,
    filled,
)
from skillrl.teacher.simulated.household.diagnosis import causes
from skillrl.teacher.simulated.household.patterns import (
    HABITS,
    findings,
    homes,
    pattern_texts,
    patterns,
    title_texts,
)
from skillrl.teacher.simulated.household.reading import NO_AIM, evidence, read_aim
from skillrl.teacher.simulated.household.thoughts import THOUGHT_FORMS, think
from skillrl.teacher.simulated.recordings import Recording


def _fill(text: str, shown: Sequence[Recording]) -> str:
    return filled(text, read_aim(shown[0]) if shown else NO_AIM)


def _vocabulary() -> list[str]:
    thoughts = [form.replace("{thing}", "").replace("{place}", "") for form in THOUGHT_FORMS]
    return [*advice_texts(), *pattern_texts(), *thoughts, *title_texts()]


HOUSEHOLD = Domain(
    name="household",
    environments=("alfworld",),
    advice=ADVICE,
    general=GENERAL_CAUSES,
    habits=HABITS,
    evidence=evidence,
    causes=causes,
    fill=_fill,
    patterns=patterns,
    shared=homes,
    findings=findings,
    think=think,
    vocabulary=_vocabulary,
)
