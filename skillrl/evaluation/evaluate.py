"""Evaluation on a fixed manifest: every task of a split exactly once, times repeats.

The number does not depend on batch sizes, concurrency or the order of episodes, and
nothing of it feeds back into training: skills are only read, trajectories only counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.console import table
from skillrl.errors import SkillRLError
from skillrl.evaluation.intervals import wilson
from skillrl.parallel import addresses
from skillrl.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.types import Task, Trajectory


def manifest(session: Session, split: str, *, limit: int = 0) -> Sequence[Task]:
    """Tasks of a split, the first `limit` of them if not 0.

    Raises:
      SkillRLError: the split has no tasks.
    """
    tasks = session.suite.tasks(split)
    if not tasks:
        raise SkillRLError(
            f"split {split!r} of {session.suite.name} has no tasks; choose another --split"
        )
    return tasks[:limit] if limit else tasks


def evaluate(
    session: Session,
    bank: SkillBank,
    split: str,
    *,
    label: str,
    temperature: float | None = None,
    repeats: int | None = None,
    limit: int | None = None,
    concurrency: int = 0,
) -> tuple[dict[str, Any], list[Trajectory]]:
    """Success of the published policy with `bank` on `split`.

    Args:
      session: of the run; its engine has parameters.
      bank: read only; may be empty.
      split: a manifest.
      label: for the progress bar.
      temperature: 0 is greedy; the config's by default.
      repeats: times each task is played; the config's by default.
      limit: first so many tasks; the config's by default, 0 is all.
      concurrency: episodes alive at once; changes speed alone.

    Returns:
      The result (see `summarise`) and the trajectories in manifest order.
    """
    config = session.config.evaluation
    temperature = config.temperature if temperature is None else temperature
    repeats = repeats or config.repeats
    tasks = manifest(session, split, limit=config.max_tasks if limit is None else limit)
    jobs = (
        session.job(task, bank, phase=addresses.EVAL, repeat=repeat)
        for task in tasks
        for repeat in range(repeats)
    )
    with session.progress(label, len(tasks) * repeats, unit="episode") as bar:
        won: list[bool] = []

        def on_done(trajectory: Trajectory) -> None:
            won.append(trajectory.won)
            bar.update(success=sum(won) / len(won))

        played = session.play(jobs, temperature=temperature, on_done=on_done, width=concurrency)
    result = summarise(played, session.suite.categories)
    result |= {"temperature": temperature, "repeats": repeats, "skills": len(bank)}
    return result, played


def summarise(trajectories: Sequence[Trajectory], categories: Mapping[str, str]) -> dict[str, Any]:
    """Success with n and the 95 % Wilson interval, overall and by category.

    Episodes whose environment failed are excluded and counted in ``errored``.
    """
    usable = [t for t in trajectories if not t.error]

    def rate(members: Sequence[Trajectory]) -> dict[str, Any]:
        n, won = len(members), sum(t.won for t in members)
        low, high = wilson(won, n)
        return {"success": won / n if n else 0.0, "n": n, "low": low, "high": high}

    steps = [step for t in usable for step in t.steps]
    return {
        **rate(usable),
        "score": sum(t.score for t in usable) / max(1, len(usable)),
        "errored": len(trajectories) - len(usable),
        "invalid_actions": sum(bool(s.invalid) for s in steps) / max(1, len(steps)),
        "mean_steps": len(steps) / max(1, len(usable)),
        "by_category": {
            key: rate([t for t in usable if t.task.category == key]) for key in categories
        },
    }


def results_table(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], categories: Mapping[str, str]
) -> str:
    """Stages and splits as rows, categories as columns, in percent with intervals."""
    rows = []
    for stage, splits in results.items():
        for split, result in splits.items():
            parts = result["by_category"]
            rows.append(
                [
                    f"{stage} {split}",
                    result["n"],
                    f"{100 * result['success']:.1f}",
                    f"{100 * result['low']:.1f}-{100 * result['high']:.1f}",
                    *(
                        f"{100 * parts[key]['success']:.0f}" if parts[key]["n"] else None
                        for key in categories
                    ),
                    f"{100 * result['invalid_actions']:.1f}",
                    result["skills"],
                ]
            )
    headers = ["success %", "n", "all", "95 %", *categories.values(), "invalid", "skills"]
    return table(rows, headers)
