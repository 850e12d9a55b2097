"""What a bank changes: the same tasks and the same random draws, with its skills and without.

Success alone hides what skills do: tasks won because of them and tasks lost because of them may
cancel out. Recovery and Regression are those of SkillSandbox (Kim et al. 2026), in shares of all
tasks, so that their difference is the difference of success.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.evaluation.intervals import mean_interval, paired_difference
from skillrl.io.console import table
from skillrl.types import Trajectory


def contrast(played: Sequence[Trajectory], without: Sequence[Trajectory]) -> dict[str, Any]:
    """Compares an arm with the one without skills, paired by task and repeat.

    Pairs of which an episode errored are left out. The units are tasks: with repeats, the mean
    over a task's pairs.

    Args:
      played: the episodes of the arm.
      without: those without skills, of the same tasks.

    Returns:
      ``recovery``, the share of tasks that fail without and are won with; ``regression``, the
      reverse; their ``difference``, that of success, with its 95 % interval from ``low`` to
      ``high``: Tango's for one pair per task, Student's over tasks where they have several.
      ``tasks`` counts the tasks; where there are none, all else is None.
    """
    reference = {(t.task.id, t.repeat): t.won for t in without if not t.error}
    found: dict[str, list[tuple[bool, bool]]] = {}
    for trajectory in played:
        key = trajectory.task.id, trajectory.repeat
        if not trajectory.error and key in reference:
            found.setdefault(trajectory.task.id, []).append((trajectory.won, reference[key]))
    if not found:
        empty = dict.fromkeys(("recovery", "regression", "difference", "low", "high"))
        return {"tasks": 0, **empty}
    recovered = [_share([won and not before for won, before in p]) for p in found.values()]
    regressed = [_share([before and not won for won, before in p]) for p in found.values()]
    gains = [up - down for up, down in zip(recovered, regressed, strict=True)]
    n = len(gains)
    if all(gain in (-1, 0, 1) for gain in gains):
        low, high = paired_difference(gains.count(1), gains.count(-1), n=n)
    else:
        low, high = mean_interval(gains, low=-1.0, high=1.0)
    return {
        "tasks": n,
        "recovery": math.fsum(recovered) / n,
        "regression": math.fsum(regressed) / n,
        "difference": math.fsum(gains) / n,
        "low": low,
        "high": high,
    }


def _share(outcomes: Sequence[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def arms_table(arms: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Lays out arms and splits as rows: what skills cost, and what they change against none.

    Args:
      arms: arm -> split -> result, those but ``none`` with ``against_none`` of `contrast`.
    """
    rows = []
    for arm, splits in arms.items():
        for split, result in splits.items():
            found = result.get("against_none", {})
            low, high = found.get("low"), found.get("high")
            rows.append(
                [
                    f"{arm} {split}",
                    _shown(result["skills_per_task"]),
                    _shown(result["skill_tokens"]),
                    _shown(result["prompt_tokens"]),
                    _shown(result["steps_on_wins"]),
                    _shown(found.get("recovery"), 100),
                    _shown(found.get("regression"), 100),
                    _shown(found.get("difference"), 100, sign="+"),
                    None if low is None else f"{100 * low:+.1f} to {100 * high:+.1f}",
                ]
            )
    costs = ["skills/task", "their tokens", "prompt tokens", "steps on wins"]
    return table(rows, ["arm", *costs, "recovery %", "regression %", "- none", "95 %"])


def _shown(value: float | None, scale: float = 1, *, sign: str = "") -> str | None:
    return None if value is None else f"{scale * value:{sign}.1f}"
