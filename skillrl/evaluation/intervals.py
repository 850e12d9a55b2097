"""Computes confidence intervals for success rates and their differences. Needs no JAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from skillrl.errors import SkillRLError

Z95 = 1.959964
"""The two-sided 95 % quantile of the normal distribution."""


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Computes the Wilson score interval of a success rate.

        centre = (p + z^2 / 2n) / (1 + z^2 / n)
        half   = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2)

    It stays inside [0, 1] and has a width at 0 and n successes, unlike p +- z s.e.

    Examples:
      >>> low, high = wilson(9, 10)
      >>> print(f"{low:.3f} {high:.3f}")
      0.596 0.982

    Args:
      successes: number of successes, from 0 to `n`.
      n: number of independent episodes.
      z: normal quantile of the interval; the default is 95 %.

    Returns:
      (low, high); (0, 1), i.e. nothing is known, for n = 0.

    Raises:
      SkillRLError: not 0 <= successes <= n.

    References:
      Wilson 1927, Journal of the American Statistical Association 22, 209-212.
    """
    if not 0 <= successes <= n:
        raise SkillRLError(f"{successes} successes of {n}: need 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # takes seconds to import, and few commands need it

    level = math.erf(z / math.sqrt(2))  # probability within z standard deviations
    found = binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def difference(
    first: tuple[int, int], second: tuple[int, int], *, z: float = Z95
) -> tuple[float, float]:
    """Computes an interval of ``p_1 - p_2``, e.g. RL - SFT, from two Wilson intervals.

        low  = d - sqrt((p_1 - low_1)^2 + (high_2 - p_2)^2)
        high = d + sqrt((high_1 - p_1)^2 + (p_2 - low_2)^2)

    with the `wilson` intervals of both rates. It takes the two samples as
    independent: for two policies on the same tasks it is on the wide side.

    Examples:
      >>> low, high = difference((9, 10), (3, 10))
      >>> print(f"{low:.3f} {high:.3f}")
      0.171 0.809

    Args:
      first: (successes, episodes) of the first policy.
      second: (successes, episodes) of the second policy.
      z: normal quantile of the interval; the default is 95 %.

    Returns:
      (low, high) within [-1, 1]; (-1, 1) if either has no episodes.

    Raises:
      SkillRLError: more successes than episodes, or negative ones.

    References:
      Newcombe 1998, Statistics in Medicine 17, 873-890, method 10.
    """
    (successes_1, n_1), (successes_2, n_2) = first, second
    low_1, high_1 = wilson(successes_1, n_1, z)
    low_2, high_2 = wilson(successes_2, n_2, z)
    if n_1 == 0 or n_2 == 0:
        return -1.0, 1.0
    p_1, p_2 = successes_1 / n_1, successes_2 / n_2
    low = p_1 - p_2 - math.hypot(p_1 - low_1, high_2 - p_2)
    high = p_1 - p_2 + math.hypot(high_1 - p_1, p_2 - low_2)
    return max(-1.0, low), min(1.0, high)


def paired_difference(gained: int, lost: int, *, n: int, z: float = Z95) -> tuple[float, float]:
    """Computes Tango's score interval of a difference of success on the same tasks.

    The difference is ``p = (gained - lost) / n``. The limits are where the score statistic

        T(d) = (gained - lost - n d) / sqrt(n (2 q(d) + d (1 - d)))

    is z and -z, with q(d) the most likely share of lost tasks under the difference d:

        q(d) = (sqrt(B^2 - 8 n C) - B) / 4n,
        B = -gained - lost + (2n - gained + lost) d,    C = -lost d (1 - d)

    Unlike the interval of two independent samples (`difference`) it uses that the tasks are the
    same; unlike a normal interval it has a width where no task changed, and stays in [-1, 1].

    Examples:
      >>> low, high = paired_difference(6, 16, n=161)
      >>> print(f"{low:.3f} {high:.3f}")
      -0.124 -0.005

    Args:
      gained: tasks that the second policy fails and the first wins.
      lost: tasks that the second policy wins and the first fails.
      n: all tasks, those with the same outcome included.
      z: normal quantile of the interval; the default is 95 %.

    Returns:
      (low, high) within [-1, 1]; (-1, 1), i.e. nothing is known, for n = 0.

    Raises:
      SkillRLError: a count is negative, or more tasks changed than there are.

    References:
      Tango 1998, Statistics in Medicine 17, 891-908, equations 24-26.
    """
    if min(gained, lost) < 0 or gained + lost > n:
        raise SkillRLError(f"{gained} gained and {lost} lost of {n} tasks: they cannot be more")
    if n == 0:
        return -1.0, 1.0
    found = (gained - lost) / n

    def score(delta: float) -> float:
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        return (gained - lost - n * delta) / math.sqrt(variance) if variance > 0 else 0.0

    low = -1.0 if found == -1 else _falls_to(z, score, low=-1.0, high=found)
    high = 1.0 if found == 1 else _falls_to(-z, score, low=found, high=1.0)
    return low, high


def _falls_to(
    value: float, function: Callable[[float], float], *, low: float, high: float
) -> float:
    """Finds by bisection where a falling function takes `value` between `low` and `high`."""
    for _ in range(60):
        middle = (low + high) / 2
        if function(middle) > value:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def mean_interval(values: Sequence[float], *, low: float, high: float) -> tuple[float, float]:
    """Computes Student's 95 % interval of a mean, the units being tasks (or seeds).

        mean +- t_{n-1} * s / sqrt(n)

    Examples:
      >>> low, high = mean_interval([0.0, 0.5, 1.0], low=0.0, high=1.0)
      >>> print(f"{low:.3f} {high:.3f}")
      0.000 1.000
      >>> low, high = mean_interval([0.25, 0.5, 0.5, 0.75], low=0.0, high=1.0)
      >>> print(f"{low:.3f} {high:.3f}")
      0.175 0.825

    Args:
      values: one number per task.
      low: the least that a mean can be.
      high: the most that it can be.

    Returns:
      The interval, cut at `low` and `high`; both of these, i.e. nothing is known, below two tasks.
    """
    n = len(values)
    if n < 2:
        return low, high
    from scipy.special import stdtrit  # like binomtest, wanted by few commands

    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return max(low, mean - half), min(high, mean + half)
