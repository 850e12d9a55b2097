"""What repeats of the same tasks say: pass@1 and pass@k, the units being tasks.

Episodes of one task are not independent, so an interval over episodes is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.evaluation.intervals import mean_interval, wilson
from skillrl.types import Trajectory


def pass_at_k(n: int, won: int, *, k: int) -> float:
    """Estimates without bias how likely one of k episodes of a task is won.

        pass@k = 1 - C(n - c, k) / C(n, k)    (equation 1)

    Examples:
      >>> print(f"{pass_at_k(4, 1, k=2):.2f}")
      0.50

    Args:
      n: episodes of the task that were played.
      won: how many of them were won, c.
      k: size of the draw, at most `n`.

    Raises:
      SkillRLError: not 0 <= won <= n, or not 1 <= k <= n.

    References:
      Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    if not (0 <= won <= n and 1 <= k <= n):
        raise SkillRLError(f"pass@{k} of {won} won in {n} episodes: need won <= n and 1 <= k <= n")
    return 1.0 - math.comb(n - won, k) / math.comb(n, k)


def pass_rates(trajectories: Sequence[Trajectory], k: int) -> dict[str, dict[str, Any]]:
    """Averages pass@1 and pass@k over tasks, each with its 95 % interval.

    Episodes whose environment failed are left out; a task of which fewer than k are left has no
    pass@k, and ``tasks`` counts those that have.

    Args:
      trajectories: several of each task.
      k: how often each task was played.

    Returns:
      "1" and str(k), each with ``rate``, ``tasks``, ``low`` and ``high``; rate and interval are
      None where no task is left.
    """
    found: dict[str, list[bool]] = {}
    for trajectory in trajectories:
        if not trajectory.error:
            found.setdefault(trajectory.task.id, []).append(trajectory.won)
    return {
        str(draw): _rate(
            [pass_at_k(len(w), sum(w), k=draw) for w in found.values() if len(w) >= draw]
        )
        for draw in sorted({1, k})
    }


def _rate(shares: Sequence[float]) -> dict[str, Any]:
    """Averages shares of tasks; Wilson's interval where each is 0 or 1, else Student's."""
    n = len(shares)
    if not n:
        return {"rate": None, "tasks": 0, "low": None, "high": None}
    whole = all(share in (0, 1) for share in shares)
    low, high = wilson(round(sum(shares)), n) if whole else mean_interval(shares, low=0.0, high=1.0)
    return {"rate": math.fsum(shares) / n, "tasks": n, "low": low, "high": high}
