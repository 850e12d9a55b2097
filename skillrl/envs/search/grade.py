"""Grades answers by exact match, as the field counts it.

Source: the SQuAD evaluation script (Rajpurkar et al. 2016), which Search-R1
(``verl/utils/reward_score/qa_em.py``) and SkyRL-gym repeat.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """Applies, in this order: lower case, no punctuation, no articles, single blanks."""
    text = answer.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, golden: Iterable[str]) -> bool:
    """Returns whether `prediction` equals any golden answer after `normalise`."""
    found = normalise(prediction)
    return any(found == normalise(answer) for answer in golden)
