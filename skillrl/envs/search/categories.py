"""Sorts questions into the four kinds that skills are kept for (as the released skill bank does).

Which kind a question of a public data set is, the set itself says where it can: HotpotQA and
2WikiMultihopQA carry a type, MuSiQue and Bamboogle are made of several hops, PopQA of one
attribute of one entity. The rest are looked up directly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DIRECT = "direct_retrieval"
MULTI_HOP = "multi_hop_reasoning"
ATTRIBUTE = "entity_attribute_lookup"
COMPARISON = "comparison"

CATEGORIES = {
    DIRECT: "Direct",
    ATTRIBUTE: "Attribute",
    MULTI_HOP: "Multi-hop",
    COMPARISON: "Compare",
}

_OF_DATASET = {"popqa": ATTRIBUTE, "nq": DIRECT, "triviaqa": DIRECT}
_TYPES = {
    "comparison": COMPARISON,
    "bridge_comparison": COMPARISON,
    "bridge": MULTI_HOP,
    "compositional": MULTI_HOP,
    "inference": MULTI_HOP,
}
_COMPARES = re.compile(
    r"\b(?:both|the same|same|which (?:one|of)|older|younger|earlier|later|first|more|fewer|"
    r"larger|smaller|bigger|longer|higher|taller|closer)\b.*\bor\b"
    r"|^(?:are|were|is|was|do|does|did|have|has) .*\b(?:and|or)\b.*\b(?:both|same|also)\b"
    r"|\bor\b.*\b(?:first|earlier|later|older|younger)\b"
)


def category_of(dataset: str, question: str, metadata: Mapping[str, Any]) -> str:
    """Returns the category of a question.

    Args:
      dataset: its name, e.g. ``hotpotqa``.
      question: the text, for sets of several hops that do not say the type.
      metadata: FlashRAG's, of which ``type`` is read.
    """
    if dataset in _OF_DATASET:
        return _OF_DATASET[dataset]
    if (kind := _TYPES.get(str(metadata.get("type", "")))) is not None:
        return kind
    return COMPARISON if _COMPARES.search(question.lower()) else MULTI_HOP
