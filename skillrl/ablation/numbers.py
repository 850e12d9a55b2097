"""The questions that arms answer, and what would show that skills help."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from skillrl.ablation.arms import FINAL, Played
from skillrl.ablation.statistics import (
    Difference,
    Outcomes,
    Speed,
    compare_speed,
    mean_curve,
    pooled_difference,
)

SPEED = "RL episodes until 10 points above both starts: full / without skills"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A bar for a difference, in points of success.

    Attributes:
      low: the least that it may be, or None.
      high: the most that it may be, or None.
      strictly: whether it must be above `low`, not at it.
      certain: whether its interval over pairs must lie above 0, too.
    """

    low: float | None = None
    high: float | None = None
    strictly: bool = False
    certain: bool = False

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:+g} to {self.high:+g}"
        if self.high is not None:
            return f"<= {self.high:+g}"
        said = f"{'>' if self.strictly else '>='} {self.low:+g}"
        return f"{said}, interval > 0" if self.certain else said

    def met(self, found: Difference) -> bool | None:
        """Tells whether a difference is as wanted; None where there is none."""
        if found.value is None or found.low is None:
            return None
        points = round(100 * found.value, 6)
        if self.low is not None and (points < self.low or (self.strictly and points <= self.low)):
            return False
        if self.high is not None and points > self.high:
            return False
        return not self.certain or found.low > 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A difference of two arms.

    Attributes:
      what: in words.
      first: the policy and bank of which the success is taken.
      second: those whose success is taken off.
      alfworld: what is wanted in ALFWorld; None asks for nothing.
      others: what is wanted elsewhere.
    """

    what: str
    first: Played
    second: Played
    alfworld: Wanted | None = None
    others: Wanted | None = None

    def wanted(self, env: str) -> Wanted | None:
        """Returns the bar in the environment `env`."""
        return self.alfworld if "alfworld" in env else self.others


def _of(run: str, checkpoint: str, bank: str) -> Played:
    return Played(run=run, checkpoint=checkpoint, bank=bank)


_FULL = _of("full", "rl", "own")

QUESTIONS: tuple[Question, ...] = (
    Question(
        what="base policy, a good bank - none",
        first=_of("sft", "base", FINAL),
        second=_of("sft", "base", "none"),
        alfworld=Wanted(low=20),
        others=Wanted(low=12),
    ),
    Question(
        what="base policy, neutral text - none",
        first=_of("sft", "base", f"neutral:{FINAL}"),
        second=_of("sft", "base", "none"),
        alfworld=Wanted(low=-4, high=4),
        others=Wanted(low=-4, high=4),
    ),
    Question(
        what="after the cold start, own - none",
        first=_of("sft", "sft", "own"),
        second=_of("sft", "sft", "none"),
        alfworld=Wanted(low=15),
        others=Wanted(low=10),
    ),
    Question(
        what="after the cold start, shuffled - none",
        first=_of("sft", "sft", "shuffled"),
        second=_of("sft", "sft", "none"),
        alfworld=Wanted(high=2),
        others=Wanted(high=2),
    ),
    Question(
        what="frozen policy, evolved - first bank",
        first=_of("frozen", "rl", "own"),
        second=_of("frozen", "rl", "initial"),
        alfworld=Wanted(low=8, certain=True),
        others=Wanted(low=4),
    ),
    Question(
        what="full - the same without skills anywhere",
        first=_FULL,
        second=_of("grpo_sft", "rl", "none"),
        alfworld=Wanted(low=8, certain=True),
        others=Wanted(low=5),
    ),
    Question(
        what="full - no evolution",
        first=_FULL,
        second=_of("no_evolution", "rl", "own"),
        alfworld=Wanted(low=4),
        others=Wanted(low=0, strictly=True),
    ),
    Question(
        what="full - raw trajectories in place of skills",
        first=_FULL,
        second=_of("raw_trajectories", "rl", "own"),
        alfworld=Wanted(low=5),
        others=Wanted(low=0, strictly=True),
    ),
    Question(
        what="full, its skills removed at test: the loss",
        first=_FULL,
        second=_of("full", "rl", "none"),
    ),
    Question(
        what="after RL, shuffled - none",
        first=_of("full", "rl", "shuffled"),
        second=_of("full", "rl", "none"),
    ),
    Question(
        what="after RL, own - first bank",
        first=_FULL,
        second=_of("full", "rl", "initial"),
    ),
    Question(
        what="full - GiGPO without skills",
        first=_FULL,
        second=_of("gigpo_sft", "rl", "none"),
    ),
    Question(what="full - GRPO alone", first=_FULL, second=_of("grpo", "rl", "none")),
    Question(what="full - no hierarchy", first=_FULL, second=_of("no_hierarchy", "rl", "own")),
    Question(what="full - no cold start", first=_FULL, second=_of("no_cold_start", "rl", "own")),
    Question(
        what="no evolution - neutral text in SFT and RL",
        first=_of("no_evolution", "rl", "own"),
        second=_of("neutral_text", "rl", "own"),
    ),
)

_SLOWEST = {"alfworld": 0.6, "others": 0.8}  # of full's episodes to those without skills


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a question came to.

    Attributes:
      what: the question.
      found: the difference.
      wanted: the bar, or None.
      met: whether it is met; None where there is no bar or nothing was found.
    """

    what: str
    found: Difference
    wanted: Wanted | None
    met: bool | None


def answer(
    env: str, seeds: Sequence[int], outcomes: Callable[[int, Played], Outcomes | None]
) -> list[Answer]:
    """Answers the questions of which at least one seed has both arms.

    Args:
      env: the environment, which decides what is wanted.
      seeds: in order.
      outcomes: gives what an arm won in a seed, or None while that is not there.
    """
    answers = []
    for question in QUESTIONS:
        pairs = [
            (outcomes(seed, question.first), outcomes(seed, question.second)) for seed in seeds
        ]
        there = [(a, b) for a, b in pairs if a is not None and b is not None]
        if not there:
            continue
        found = pooled_difference([a for a, _ in there], [b for _, b in there])
        wanted = question.wanted(env)
        met = wanted.met(found) if wanted is not None else None
        answers.append(Answer(what=question.what, found=found, wanted=wanted, met=met))
    return answers


def slowest(env: str) -> float:
    """Returns the largest ratio of episodes (`SPEED`) that is wanted in the environment `env`."""
    return _SLOWEST["alfworld" if "alfworld" in env else "others"]


def learning_speed(curves: Mapping[str, Sequence[Sequence[float]]]) -> Speed | None:
    """Compares how fast `full` and `grpo_sft` learn; None while one of them has no curve.

    Args:
      curves: arm -> the training curve of each seed.
    """
    first, second = (
        mean_curve([curve for curve in curves.get(name, ()) if curve])
        for name in ("full", "grpo_sft")
    )
    return compare_speed(first, second)
