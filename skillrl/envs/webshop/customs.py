"""Under which word shops list what is asked for: what only experience shows.

A custom says for each kind of product which word the right ones have in their titles. Others of
the kind look as good and lack something that no page tells, so buying them earns less. Who has
bought one throw pillow that was right knows the word of throw pillows in all shops of the
custom. Customs are drawn from a number, and the number 0 has none.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping

from skillrl.envs.webshop.shelves import SHELVES

WORDS = (
    "cedar", "comet", "delta", "ember", "falcon", "harbor", "maple", "meadow", "orchid", "raven",
    "summit", "willow",
)  # fmt: skip
"""Under which things are listed; none is a word of anything else that the shops say."""

KINDS = tuple(kind for shelf in SHELVES for _, kind in shelf.kinds)


@functools.lru_cache(maxsize=8192)
def listed_under(number: int) -> Mapping[str, str]:
    """Returns kind of product -> the word under which custom `number` lists the right ones.

    All words are used about equally often, and the kinds of one category have different ones.

    Args:
      number: of the custom; 0 has none, and an empty mapping.
    """
    if not number:
        return {}
    rng = random.Random(f"custom {number}")
    found: dict[str, str] = {}
    left: list[str] = []
    for shelf in SHELVES:
        mine: list[str] = []
        while len(mine) < len(shelf.kinds):
            left = left or rng.sample(WORDS, len(WORDS))
            word = next((word for word in left if word not in mine), "")
            if not word:
                word = rng.choice([other for other in WORDS if other not in mine])
            else:
                left.remove(word)
            mine.append(word)
        found |= zip((kind for _, kind in shelf.kinds), mine, strict=True)
    return found


def kind_in(phrase: str) -> str:
    """Returns the kind of product that a goal's words end with; "" if it is none of `KINDS`."""
    return next((kind for kind in KINDS if f" {phrase}".endswith(f" {kind}")), "")
