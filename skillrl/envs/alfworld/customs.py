"""Where the people of a generated household keep things: what only experience shows.

A custom says for each class of object in which class of furniture it is kept. No text of the
game tells it; who has found a mug in a drawer in one house of a custom finds mugs in drawers in
its other houses too. Customs are drawn from a number, and the number 0 has none.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping

from skillrl.envs.alfworld import rooms

STRENGTH = 0.9
"""Share of the things that are where the custom has them; the others lie anywhere."""


@functools.lru_cache(maxsize=4096)
def kept_in(number: int) -> Mapping[str, str]:
    """Returns class of object -> class of furniture in which custom `number` keeps it.

    The furniture is of a class that every kind of room may have which the object is found in
    (where there is but one, of the first kind of room), and all classes are used about equally
    often.

    Args:
      number: of the custom; 0 has none, and an empty mapping.
    """
    if not number:
        return {}
    rng = random.Random(f"custom {number}")
    homes: dict[str, str] = {}
    uses: dict[str, int] = {}
    things = sorted(rooms.LIKELY.keys() - {rooms.LAMP})
    rng.shuffle(things)
    for thing in things:
        found_in = [kind for kind in rooms.KINDS if thing in rooms.THINGS[kind]]
        able = [place for place, held in rooms.CAN_CONTAIN.items() if thing in held]
        common = [p for p in able if all(p in rooms.FURNITURE[kind] for kind in found_in)]
        classes = (
            common if len(common) > 1 else [p for p in able if p in rooms.FURNITURE[found_in[0]]]
        )
        least = min(uses.get(place, 0) for place in classes)
        homes[thing] = rng.choice([p for p in classes if uses.get(p, 0) <= least + 1])
        uses[homes[thing]] = uses.get(homes[thing], 0) + 1
    return homes


def known_homes(number: int) -> Mapping[str, tuple[str, ...]]:
    """Returns what somebody who lives by custom `number` knows, in the words of the game.

    Returns:
      Class of object -> classes of furniture to look in first, all in lower case.
    """
    return {thing.lower(): (place.lower(),) for thing, place in kept_in(number).items()}
