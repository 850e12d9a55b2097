"""What a skill is measured to be worth, as far as others need to know: order, and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from skillrl.types import Skill


class Estimated(Protocol):
    """A measured utility: how much more often tasks are won with a skill than without it."""

    @property
    def mean(self) -> float:
        """Share of tasks won with the skill minus the share won without it."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""

    @property
    def pairs(self) -> int:
        """Tasks that were played both ways."""


NOTHING_MEASURED: Mapping[str, Estimated] = {}
"""The utilities of a bank of which no skill was examined."""

Worth = Callable[[Skill], float]
"""Gives the number by which skills are compared where there is not room for all."""


def worth_by(utility: Mapping[str, Estimated]) -> Worth:
    """Returns the measured mean of a skill by its id; an unmeasured one counts as 0."""
    means = {name: estimate.mean for name, estimate in utility.items()}
    return lambda skill: means.get(skill.id, 0.0)


def unmeasured(skill: Skill) -> float:
    """Returns 0: the worth of a skill of which nothing is known."""
    return 0.0


def told(estimate: Estimated | None) -> str:
    """Says a utility in percentage points: "helps +12 points, -3 to +27, 40 pairs"."""
    if estimate is None:
        return "unmeasured"
    mean, low, high = (round(100 * n) for n in (estimate.mean, estimate.low, estimate.high))
    return f"helps {mean:+d} points, {low:+d} to {high:+d}, {estimate.pairs} pairs"
