"""Checks that another process sees the same tasks and the same answers.

Run as a program it is that other process: settings come in on stdin, digests go out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.config.settings import Config, EnvConfig
from skillrl.envs.base import SPLITS, Suite, make_suite
from skillrl.envs.check.findings import Broken, Finding, Hung
from skillrl.envs.check.manifest import Manifests, tasks_of
from skillrl.envs.check.play import Played, canonical, canonical_task, digest, follow, handle
from skillrl.envs.check.watch import limits, time_left

_PATIENCE = 600.0  # seconds that the other process gets at most
_GRACE = 10.0  # seconds in which it may start, and say itself that there is no time left


def check_process(
    config: EnvConfig, manifests: Manifests, episodes: Sequence[Played]
) -> list[Finding]:
    """Manifests and episodes are the same in a process with another PYTHONHASHSEED."""
    asked = [(played.task.id, played.actions) for played in episodes]
    allowed = time_left()
    question = {"env": dataclasses.asdict(config), "episodes": asked, "limits": allowed}
    try:
        answer = _ask(question, min(_PATIENCE, allowed[1] + _GRACE) if allowed else _PATIENCE)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return [
            Finding(
                "the environment works in a second process",
                f"{type(error).__name__}: {error}",
                "let importing the module be enough to register and build it",
            )
        ]
    if "broken" in answer:
        there = Finding(**answer["broken"])
        return [dataclasses.replace(there, seen=f"in a second process {there.seen}")]
    return _compare_tasks(manifests, answer["tasks"]) + _compare_episodes(
        episodes, answer["episodes"]
    )


def digests(suite: Suite, asked: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """Returns digests of all tasks by split and of the answers to `asked` (task id, actions)."""
    tasks = {split: tasks_of(suite, split) for split in SPLITS}
    by_id = {task.id: task for group in tasks.values() for task in group}
    answers: list[list[str] | None] = []
    for task_id, actions in asked:
        if task_id not in by_id:
            answers.append(None)
            continue
        with handle(suite) as environment:
            answers.append(_answers(follow(environment, by_id[task_id], actions)))
    return {
        "tasks": {s: [digest(canonical_task(t)) for t in group] for s, group in tasks.items()},
        "episodes": answers,
    }


def _answers(played: Played) -> list[str]:
    return [digest(canonical(answer)) for answer in played.answers]


def _ask(question: Mapping[str, Any], patience: float) -> dict[str, Any]:
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    # -P: a file of the current directory must not hide a module of the library.
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env=environment,
        timeout=patience,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"it ended with status {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _compare_tasks(manifests: Manifests, theirs: Mapping[str, Sequence[str]]) -> list[Finding]:
    found = []
    for split, tasks in manifests.items():
        mine = [digest(canonical_task(task)) for task in tasks]
        if mine == theirs[split]:
            continue
        pairs = zip(tasks, mine, theirs[split], strict=False)
        changed = [task.id for task, a, b in pairs if a != b]
        found.append(
            Finding(
                f"tasks({split!r}) is the same in every process",
                f"{len(changed)} of {len(tasks)} tasks differ in a process with another "
                "PYTHONHASHSEED"
                + (f" ({len(theirs[split])} tasks there)" * (len(theirs[split]) != len(tasks))),
                "use no hash(), no order of a set or of os.listdir, no clock; "
                "random.Random(7) and sorted(...) are the same everywhere",
                changed[0] if changed else "",
            )
        )
    return found


def _compare_episodes(
    episodes: Sequence[Played], theirs: Sequence[Sequence[str] | None]
) -> list[Finding]:
    found = []
    for played, other in zip(episodes, theirs, strict=True):
        mine = _answers(played)
        if other is None or mine == other:  # a task that is not there has been named above
            continue
        pairs = zip(mine, other, strict=False)
        step = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(mine), len(other)))
        found.append(
            Finding(
                "the same actions get the same answers in every process",
                f"answer {step} (0 is the reset) differs in a process with another PYTHONHASHSEED",
                "use no hash(), no order of a set, no clock and no unseeded random numbers",
                played.task.id,
            )
        )
    return found


def main() -> None:
    """Runs the other process."""
    question = json.load(sys.stdin)
    config = Config.from_dict({"env": question["env"]}).env
    timed = limits(*question["limits"]) if question["limits"] else contextlib.nullcontext()
    with contextlib.redirect_stdout(sys.stderr), timed:  # the environment may print
        try:
            answer = digests(make_suite(config.name, config), question["episodes"])
        except (Broken, Hung) as stopped:
            answer = {"broken": dataclasses.asdict(stopped.finding)}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # what a call that hangs has left behind must not hold up the end


if __name__ == "__main__":
    main()
