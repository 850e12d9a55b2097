"""Finds a task by its id, and plays a list of actions in it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from skillrl.envs.answers import open_handle
from skillrl.envs.base import SPLITS, Suite
from skillrl.errors import SkillRLError, finally_do
from skillrl.types import Observation, StepResult, Task


@runtime_checkable
class Lazy(Protocol):
    """Holds tasks each of which costs a request to look at, but not its id."""

    def ids(self) -> Sequence[str]:
        """Returns the ids, in the order of the tasks."""


def find_task(suite: Suite, task_id: str = "", split: str = "") -> Task:
    """Finds the task with this id, or the first of `split` (or of the first with tasks).

    Args:
      suite: where to look.
      task_id: as trajectories have it, like ``valid_unseen/0007``.
      split: looks in this one only.

    Raises:
      SkillRLError: there is none; the message names the nearest id.
    """
    known: list[str] = []
    for name in [split] if split else SPLITS:
        tasks = _tasks(suite, name, split)
        ids = tasks.ids() if isinstance(tasks, Lazy) else (task.id for task in tasks)
        for at, found in enumerate(ids):
            if task_id in ("", found):
                return tasks[at]
            known.append(found)
    if not known:
        where = f"in the split {split!r}" if split else f"in any of {', '.join(SPLITS)}"
        raise SkillRLError(f"{suite.name} has no tasks {where}. Name another with --split.")
    near = difflib.get_close_matches(task_id, known, n=1, cutoff=0.0)[0]
    raise SkillRLError(
        f"--task={task_id}: {suite.name} has no task of this id"
        + (f" in {split}" if split else "")
        + f"; the nearest of {len(known)} is {near}."
    )


def entry(action: str | None, result: StepResult | Observation) -> dict[str, Any]:
    """Returns an answer as plain JSON: what was said (None for the reset) and what came back."""
    if isinstance(result, Observation):
        result = StepResult(observation=result, done=False, won=False)
    return {
        "action": action,
        "observation": result.observation.text,
        "admissible": list(result.observation.admissible),
        "reward": result.reward,
        "score": result.score,
        "done": result.done,
        "won": result.won,
    }


def replay_task(suite: Suite, task: Task, actions: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the answers to a reset (entry 0) and to `actions`, as an agent gets them.

    Raises:
      SkillRLError: the episode is over before the last action.
    """
    environment = open_handle(suite)
    with finally_do(environment.close):
        entries = [entry(None, environment.reset(task))]
        for action in actions:
            if entries[-1]["done"]:
                end = "won" if entries[-1]["won"] else "not won"
                raise SkillRLError(
                    f"task {task.id} was over after {len(entries) - 1} actions ({end}), but there "
                    f"are {len(actions)}: remove the rest, or raise env.max_steps."
                )
            entries.append(entry(action, environment.step(action)))
    return entries


def actions_of(value: Any) -> list[str] | None:
    """Reads actions from a JSON list of them or of `entry` records; None if it is neither."""
    if not isinstance(value, list):
        return None
    if all(isinstance(item, str) for item in value):
        return value
    if not all(isinstance(item, dict) and "action" in item for item in value):
        return None
    said = [item["action"] for item in value if item["action"] is not None]
    return said if all(isinstance(action, str) for action in said) else None


def _tasks(suite: Suite, name: str, wanted: str) -> Sequence[Task]:
    try:
        return suite.tasks(name)
    except SkillRLError:
        if wanted:
            raise
        return ()  # a suite's answer for a split that it does not know
