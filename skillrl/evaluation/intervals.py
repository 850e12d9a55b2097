"""Computes confidence intervals for success rates. Needs no JAX."""

from __future__ import annotations

import math

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
