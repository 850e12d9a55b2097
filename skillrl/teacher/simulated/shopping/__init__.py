"""Knows shops (WebShop): find a product that fits in kind, words, options and price, and buy it."""

from __future__ import annotations

import re

from skillrl.teacher.simulated.domain import Domain, advice_texts
from skillrl.teacher.simulated.shopping.advice import ADVICE, GENERAL_CAUSES, HABITS
from skillrl.teacher.simulated.shopping.diagnosis import causes
from skillrl.teacher.simulated.shopping.patterns import fill, findings, pattern_texts, patterns
from skillrl.teacher.simulated.shopping.reading import evidence
from skillrl.teacher.simulated.shopping.thoughts import THOUGHT_FORMS, think


def _vocabulary() -> list[str]:
    thoughts = [re.sub(r"\{\w+\}", "", form) for form in THOUGHT_FORMS]
    advice = [fill(text, ()) for text in advice_texts(ADVICE, HABITS)]
    return [*dict.fromkeys([*advice, *pattern_texts(), *thoughts])]


SHOPPING = Domain(
    name="shopping",
    environments=("webshop",),
    advice=ADVICE,
    general=GENERAL_CAUSES,
    habits=HABITS,
    evidence=evidence,
    causes=causes,
    fill=fill,
    patterns=patterns,
    findings=findings,
    think=think,
    vocabulary=_vocabulary,
)
