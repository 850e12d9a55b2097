"""The form that the environments' modules share."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from skillrl.types import Skill, Task

Prompt = Callable[[Task, random.Random], list[Skill]]

LINES = 7  # of a prompt that is of no use


@dataclasses.dataclass(frozen=True, slots=True)
class Knows:
    """What a demonstrator knows.

    Attributes:
      procedures: how tasks of a category are done.
      experience: what the world's custom is.
    """

    procedures: bool
    experience: bool


def mixed(*parts: Prompt) -> Prompt:
    """Returns a prompt that shows the lines of several in any order."""

    def draw(task: Task, rng: random.Random) -> list[Skill]:
        found = [skill for part in parts for skill in part(task, rng)]
        return rng.sample(found, len(found))

    return draw
