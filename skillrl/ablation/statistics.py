"""What arms differ by: pairs pooled over seeds, and seeds as units. Needs no JAX.

Two arms of a seed are played on the same tasks at the same random addresses, so their outcomes
are paired by task and repeat. Pooled over seeds the pairs give a narrow interval, of these tasks
and these trained policies; the interval over seeds is of what another seed would give.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from skillrl.evaluation.intervals import mean_interval, paired_difference, wilson

Outcomes = Mapping[tuple[str, int], bool]
"""Of an arm and a seed: (task, repeat) -> whether it was won, without what errored."""

WINDOW = 4
"""Iterations of the moving mean by which a training curve reaches a level."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Success of one arm minus that of another.

    Attributes:
      tasks: pairs of the pooled estimate, those of a task and seed counted once.
      value: the difference; None, as all below, where there are no pairs.
      low: of the 95 % interval over pairs.
      high: of the same.
      per_seed: the difference of each seed.
      seeds_low: of Student's 95 % interval over seeds; None below two seeds.
      seeds_high: of the same.
    """

    tasks: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    per_seed: tuple[float, ...] = ()
    seeds_low: float | None = None
    seeds_high: float | None = None


def pooled_difference(first: Sequence[Outcomes], second: Sequence[Outcomes]) -> Difference:
    """Compares two arms over seeds.

    The interval over pairs is Tango's where each task is played once per seed, else Student's.

    Args:
      first: the outcomes of each seed.
      second: those of the other arm, of the same seeds in the same order.
    """
    each = [_gains(a, b) for a, b in zip(first, second, strict=True)]
    each = [gains for gains in each if gains]
    gains = [gain for one in each for gain in one]
    if not gains:
        return Difference(tasks=0)
    if all(gain in (-1, 0, 1) for gain in gains):
        low, high = paired_difference(gains.count(1), gains.count(-1), n=len(gains))
    else:
        low, high = mean_interval(gains, low=-1.0, high=1.0)
    per_seed = tuple(math.fsum(one) / len(one) for one in each)
    over = mean_interval(per_seed, low=-1.0, high=1.0) if len(each) > 1 else (None, None)
    return Difference(
        tasks=len(gains),
        value=math.fsum(gains) / len(gains),
        low=low,
        high=high,
        per_seed=per_seed,
        seeds_low=over[0],
        seeds_high=over[1],
    )


def _gains(first: Outcomes, second: Outcomes) -> list[float]:
    """Averages first minus second over the pairs of each task."""
    found: dict[str, list[int]] = {}
    for key in first.keys() & second.keys():
        found.setdefault(key[0], []).append(int(first[key]) - int(second[key]))
    return [sum(pairs) / len(pairs) for _, pairs in sorted(found.items())]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """Success of an arm.

    Attributes:
      mean: over seeds.
      low: of Student's 95 % interval over seeds; None below two seeds.
      high: of the same.
      n: episodes of all seeds.
      pooled: success of all of them.
      pooled_low: of its Wilson interval.
      pooled_high: of the same.
      per_seed: success of each seed.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    pooled: float
    pooled_low: float
    pooled_high: float
    per_seed: tuple[float, ...]


def pooled_rate(results: Sequence[Mapping[str, float]]) -> Rate | None:
    """Pools results that have ``success`` and ``n``, one per seed; None where nothing was played.

    Args:
      results: of each seed; those with n = 0 are left out.
    """
    usable = [result for result in results if result["n"]]
    if not usable:
        return None
    shares = tuple(result["success"] for result in usable)
    n = sum(int(result["n"]) for result in usable)
    won = sum(round(result["success"] * result["n"]) for result in usable)
    low, high = wilson(won, n)
    over = mean_interval(shares, low=0.0, high=1.0) if len(shares) > 1 else (None, None)
    return Rate(
        mean=math.fsum(shares) / len(shares),
        low=over[0],
        high=over[1],
        n=n,
        pooled=won / n,
        pooled_low=low,
        pooled_high=high,
        per_seed=shares,
    )


def mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """Averages training curves over seeds, as far as all of them go."""
    return [math.fsum(values) / len(values) for values in zip(*curves, strict=False)]


def iterations_to(curve: Sequence[float], level: float) -> int | None:
    """Counts iterations until the mean of the last `WINDOW` is at least `level`; None if never.

    Args:
      curve: success of the rollouts of each iteration.
      level: what is to be reached.
    """
    for end in range(WINDOW, len(curve) + 1):
        if math.fsum(curve[end - WINDOW : end]) / WINDOW >= level - 1e-9:
            return end
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    """How long two arms learn until a level above the starts of both.

    Attributes:
      level: the higher of both starts (success of the first iteration, before any update) and 10
        points more.
      first: iterations of the one arm, None if it never came there.
      second: those of the other.
      ratio: first / second; where the second never came there, its whole run stands for it, and
        the ratio is at most this. None where the first never did.
      at_most: whether it is only known to be at most this.
    """

    level: float
    first: int | None
    second: int | None
    ratio: float | None
    at_most: bool = False


def compare_speed(first: Sequence[float], second: Sequence[float]) -> Speed | None:
    """Compares the training curves of two arms, of equal batches; None where one is empty.

    Args:
      first: success of each iteration, averaged over seeds.
      second: that of the other arm.
    """
    if not first or not second:
        return None
    level = max(first[0], second[0]) + 0.1
    found = iterations_to(first, level), iterations_to(second, level)
    ratio = None if found[0] is None else found[0] / (found[1] or len(second))
    return Speed(
        level=level,
        first=found[0],
        second=found[1],
        ratio=ratio,
        at_most=ratio is not None and found[1] is None,
    )
