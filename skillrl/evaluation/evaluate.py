"""Evaluates on a fixed manifest: every task of a split exactly once, times repeats.

The number does not depend on batch sizes, concurrency or the order of episodes, and
nothing of it feeds back into training: skills are only read, trajectories only counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skillrl.envs import Suite
from skillrl.errors import SkillRLError
from skillrl.evaluation.intervals import wilson
from skillrl.evaluation.repeats import pass_rates
from skillrl.io.console import table
from skillrl.parallel import random_keys
from skillrl.rollouts.player import Player, make_job, play
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import Retrieve
from skillrl.types import Task, Trajectory


def manifest(suite: Suite, split: str, *, limit: int = 0) -> Sequence[Task]:
    """Lists the tasks of a split, the first `limit` of them if not 0.

    Raises:
      SkillRLError: the split has no tasks.
    """
    tasks = suite.tasks(split)
    if not tasks:
        raise SkillRLError(f"split {split!r} of {suite.name} has no tasks; choose another --split")
    return tasks[:limit] if limit else tasks


def manifest_hash(tasks: Sequence[Task]) -> str:
    """Names a manifest by its content: two results are of the same tasks if their hashes agree.

    Returns:
      The first 16 hexadecimal digits of the SHA-256 over ids, goals and categories in order.
    """
    rows = [[task.id, task.goal, task.category] for task in tasks]
    return hashlib.sha256(json.dumps(rows).encode("ascii")).hexdigest()[:16]


def evaluate(
    player: Player,
    bank: SkillBank,
    *,
    tasks: Sequence[Task],
    temperature: float = 0.0,
    repeats: int = 1,
    concurrency: int = 0,
    on_done: Callable[[Trajectory], None] | None = None,
    retrieve: Retrieve | None = None,
) -> tuple[dict[str, Any], list[Trajectory]]:
    """Measures the success of the published policy with the skills of `bank`.

    Args:
      player: its engine has parameters.
      bank: the skills, which are only read; may be empty.
      tasks: a `manifest`.
      temperature: of sampling; 0 is greedy.
      repeats: how often each task is played.
      concurrency: episodes alive at once, 0 for as many as is fast; changes speed alone.
      on_done: called with each trajectory as it ends.
      retrieve: chooses the skills of a prompt; None for the player's own way.

    Returns:
      The result (see `summarise`) and the trajectories in manifest order. The result also has
      ``manifest``, the hash of the tasks; ``skill_tokens``, how many tokens of a prompt are
      skills; and with repeats ``pass_at``, see `skillrl.evaluation.repeats.pass_rates`.
    """
    jobs = (
        make_job(player, task, bank, phase=random_keys.EVAL, repeat=repeat, retrieve=retrieve)
        for task in tasks
        for repeat in range(repeats)
    )
    played = play(player, jobs, temperature=temperature, on_done=on_done, width=concurrency)
    result = summarise(played, player.suite.categories)
    result |= {"temperature": temperature, "repeats": repeats, "skills": len(bank)}
    result |= {
        "manifest": manifest_hash(tasks),
        "skill_tokens": _skill_tokens(player, bank, played),
    }
    if repeats > 1:
        result["pass_at"] = pass_rates(played, repeats)
    return result, played


def _skill_tokens(player: Player, bank: SkillBank, played: Sequence[Trajectory]) -> float | None:
    """Averages over tasks the prompt tokens that skills take; None where a server counts them."""
    once = {t.task.id: t for t in played if not t.error and t.steps}
    counts = []
    for trajectory in once.values():
        bare, *_ = player.agent.prefix(trajectory.task, ())
        late, _ = player.agent.late([bank.get(name) for name in trajectory.skills])
        counts.append(len(trajectory.prefix_ids) - len(bare) + len(late))
    counted = any(t.prefix_ids for t in once.values())
    return sum(counts) / len(counts) if counted else None


def summarise(trajectories: Sequence[Trajectory], categories: Mapping[str, str]) -> dict[str, Any]:
    """Success with n and the 95 % Wilson interval, overall and by category.

    Where tasks name the data set they are from (``payload["dataset"]``), the result has
    ``by_dataset``, too, and ``dataset_mean``, in which every set counts the same. Episodes whose
    environment failed are excluded and counted in ``errored``. Where none is left, success, score
    and the interval are None; a data set of which none is left stays with n = 0, and then the
    mean, which would be one of fewer sets, is None, too. Of the means, ``prompt_tokens`` is over
    steps (None where a server counts them), ``skills_per_task`` over episodes and
    ``steps_on_wins`` over episodes that were won; each is None where there are none.
    """
    usable = [t for t in trajectories if not t.error]

    def rate(members: Sequence[Trajectory]) -> dict[str, Any]:
        n, won = len(members), sum(t.won for t in members)
        low, high = wilson(won, n) if n else (None, None)
        return {"success": won / n if n else None, "n": n, "low": low, "high": high}

    steps = [step for t in usable for step in t.steps]
    read = [len(t.prefix_ids) + len(step.suffix_ids) for t in usable for step in t.steps]
    return {
        **rate(usable),
        "score": sum(t.score for t in usable) / len(usable) if usable else None,
        "errored": len(trajectories) - len(usable),
        "invalid_actions": sum(bool(s.invalid) for s in steps) / max(1, len(steps)),
        "mean_steps": len(steps) / max(1, len(usable)),
        "steps_on_wins": _mean([len(t.steps) for t in usable if t.won]),
        "prompt_tokens": _mean(read) if any(read) else None,
        "skills_per_task": _mean([len(t.skills) for t in usable]),
        "by_category": {
            key: rate([t for t in usable if t.task.category == key]) for key in categories
        },
        **_by_dataset(trajectories, rate),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _by_dataset(
    trajectories: Sequence[Trajectory], rate: Callable[[Sequence[Trajectory]], dict[str, Any]]
) -> dict[str, Any]:
    """Rates of the data sets, in the order of their first task; nothing where none is named."""
    members: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        if dataset := trajectory.task.payload.get("dataset"):
            usable = members.setdefault(dataset, [])
            if not trajectory.error:
                usable.append(trajectory)
    if not members:
        return {}
    rates = {
        dataset: rate(usable) if usable else {**rate(usable), "success": None}
        for dataset, usable in members.items()
    }
    known = [found["success"] for found in rates.values() if found["n"]]
    mean = sum(known) / len(known) if len(known) == len(rates) else None
    return {"by_dataset": rates, "dataset_mean": mean}


def outcome(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Averages success, score, steps, invalid actions and errors over episodes, for metrics."""
    usable = [t for t in trajectories if not t.error]
    steps = [step for t in usable for step in t.steps]
    return {
        "episodes": len(usable),
        "success": sum(t.won for t in usable) / max(1, len(usable)),
        "score": sum(t.score for t in usable) / max(1, len(usable)),
        "steps": len(steps) / max(1, len(usable)),
        "invalid": sum(bool(s.invalid) for s in steps) / max(1, len(steps)),
        "errored": len(trajectories) - len(usable),
    }


def results_table(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], categories: Mapping[str, str]
) -> str:
    """Stages and splits as rows, categories as columns, in percent with intervals.

    Where there is more than one data set, a second table has these as columns. Episodes that
    errored have a column where there are any. With repeats the interval is over tasks, and a
    table shows pass@1 and pass@k.
    """
    rows = []
    failures = any(r.get("errored") for splits in results.values() for r in splits.values())
    for stage, splits in results.items():
        for split, result in splits.items():
            parts = result["by_category"]
            # Repeats of a task are not independent: then the interval is that over tasks.
            over = result["pass_at"]["1"] if "pass_at" in result else result
            rows.append(
                [
                    f"{stage} {split}",
                    result["n"],
                    *([result.get("errored", 0)] if failures else []),
                    f"{100 * result['success']:.1f}" if result["n"] else None,
                    _range(over["low"], over["high"]),
                    *(
                        f"{100 * parts[key]['success']:.0f}" if parts[key]["n"] else None
                        for key in categories
                    ),
                    f"{100 * result['invalid_actions']:.1f}",
                    result["skills"],
                ]
            )
    counts = ["n", "errored"] if failures else ["n"]
    headers = ["success %", *counts, "all", "95 %", *categories.values(), "invalid", "skills"]
    tables = table(rows, headers), _repeats_table(results), _dataset_table(results)
    return "\n\n".join(filter(None, tables))


def _repeats_table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Lays out pass@1 and pass@k with intervals over tasks; "" where nothing was repeated."""
    rows = [
        [
            f"{stage} {split}",
            f"pass@{k}",
            found["tasks"],
            _percent(found["rate"]),
            _range(found["low"], found["high"]),
        ]
        for stage, splits in results.items()
        for split, result in splits.items()
        for k, found in result.get("pass_at", {}).items()
    ]
    return table(rows, ["repeats", "", "tasks", "%", "95 %"]) if rows else ""


def _dataset_table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    found = {
        f"{stage} {split}": result
        for stage, splits in results.items()
        for split, result in splits.items()
        if "by_dataset" in result
    }
    names = list(dict.fromkeys(name for result in found.values() for name in result["by_dataset"]))
    if len(names) < 2:
        return ""
    rows = []
    for label, result in found.items():
        parts = result["by_dataset"]
        shown = [_percent(parts[name]["success"]) if name in parts else None for name in names]
        rows.append([label, *shown, _percent(result["dataset_mean"])])
    return table(rows, ["success %", *names, "mean"])


def _range(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{100 * low:.1f}-{100 * high:.1f}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"
