"""How hard are the generated ALFWorld games? Success per category and mean steps.

    python benchmarks/alfworld_world.py [--train 240] [--json PATH]

Rows are policies that never read the task (see controls/alfworld.py) and the
text-only expert, with and without knowledge of where things are kept; columns are categories. An
environment worth training in shows wide gaps: controls near zero, the expert at 100 %, and between
them one who knows the game and not this household.
"""

from __future__ import annotations

import argparse
import json
import time
import types
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from controls.alfworld import CONTROLS, Played, play_task

from skillrl.envs.alfworld.expert import TemplateExpert
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.base import SPLITS
from skillrl.types import Observation, Task


def measure(
    suite: AlfworldSuite, tasks: list[Task], make: Callable[[Task, int], Callable]
) -> dict[str, object]:
    """Success in percent per category and in all, mean and quantiles of the steps taken."""
    environment = suite.make()
    episodes: dict[str, list[Played]] = defaultdict(list)
    begin = time.perf_counter()
    for index, task in enumerate(tasks):
        episodes[task.category].append(play_task(environment, task, make(task, index)))
    seconds = time.perf_counter() - begin
    every = [episode for group in episodes.values() for episode in group]
    steps = sorted(episode.steps for episode in every)
    return {
        "n": len(every),
        "success": _percent(every),
        "categories": {key: _percent(episodes[key]) for key in suite.categories},
        "mean_steps": sum(steps) / len(steps),
        "median_steps": steps[len(steps) // 2],
        "p90_steps": steps[int(0.9 * len(steps))],
        "all_admissible": all(episode.admissible for episode in every),
        "steps_per_second": sum(steps) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=240, help="training games to play")
    parser.add_argument("--max_steps", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    args = parser.parse_args()
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=args.max_steps))
    report: dict[str, dict[str, object]] = {}
    for split in SPLITS:
        tasks = list(suite.tasks(split))[: args.train if split == "train" else None]
        report[split] = rows = {
            name: measure(suite, tasks, lambda _, seed, make=make: make(seed).act)
            for name, make in CONTROLS.items()
        }
        rows["expert, a stranger"] = measure(suite, tasks, lambda task, _: _play(_stranger(task)))
        rows["expert"] = measure(suite, tasks, lambda task, _: _play(suite.expert(task)))
        print(_table(suite, f"{split}: {len(tasks)} games, {args.max_steps} steps", rows))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _stranger(task: Task) -> TemplateExpert:
    """Makes an expert that knows the game and not where this household keeps things."""
    return TemplateExpert(task.goal)


def _play(expert: TemplateExpert) -> Callable[[Observation], str]:
    return lambda observation: expert.act(observation).action


def _percent(episodes: list[Played]) -> float:
    return 100 * sum(episode.won for episode in episodes) / max(1, len(episodes))


def _table(suite: AlfworldSuite, title: str, rows: dict) -> str:
    names = list(suite.categories.values())
    lines = ["", title, f"{'success %':26}" + "".join(f"{n:>9}" for n in [*names, "all"])]
    lines[-1] += f"{'steps':>8}{'median':>8}{'p90':>5}{'steps/s':>9}"
    for name, row in rows.items():
        cells = "".join(f"{row['categories'][key]:9.1f}" for key in suite.categories)
        lines.append(
            f"{name:26}{cells}{row['success']:9.1f}{row['mean_steps']:8.1f}"
            f"{row['median_steps']:8}{row['p90_steps']:5}{row['steps_per_second']:9.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
