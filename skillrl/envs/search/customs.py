"""Which archive is right about what: what only experience shows.

Every thing of the generated world has a card in each archive, and the cards disagree. A custom says
for each relation which archive has it right; no question tells it. Who has seen that the atlas was
right about one birthplace finds the others there too. Customs are drawn from a number, and the
number 0 has none: with it all archives are right about everything.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping

from skillrl.envs.search.relations import ARCHIVES, KINDS, RELATIONS

WRONG = 0.65
"""Share of what the other archives say that is false."""


@functools.lru_cache(maxsize=8192)
def right_about(number: int) -> Mapping[str, str]:
    """Returns relation -> the archive that custom `number` makes right about it.

    All archives are used about equally often, and each once at most for a kind of thing.

    Args:
      number: of the custom; 0 has none, and an empty mapping.
    """
    if not number:
        return {}
    rng = random.Random(f"search custom {number}")
    uses = dict.fromkeys(ARCHIVES, 0)
    found: dict[str, str] = {}
    for kind in KINDS:
        asked = [r.key for r in RELATIONS.values() if r.subject == kind]
        order = sorted(ARCHIVES, key=lambda name: (uses[name], rng.random()))[: len(asked)]
        rng.shuffle(order)
        for key, archive in zip(asked, order, strict=True):
            found[key] = archive
            uses[archive] += 1
    return found
