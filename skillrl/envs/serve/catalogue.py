"""Gives every task of a suite a number, so that a client can name a task by an integer."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

from skillrl.envs.base import SPLITS, Suite, answer_form
from skillrl.errors import SkillRLError
from skillrl.types import Task

MANIFEST = "/manifest"
"""Route on which our servers describe their tasks; no other server has it."""


class TaskCatalogue:
    """Numbers the tasks of a suite: train first, then valid_seen, then valid_unseen.

    Attributes:
      suite: whose tasks they are.
      splits: split -> (number of its first task, how many tasks), empty splits left out.
    """

    def __init__(self, suite: Suite):
        """Raises SkillRLError where the suite has no task at all."""
        self.suite = suite
        self._tasks = {split: tasks for split in SPLITS if (tasks := _tasks(suite, split))}
        if not self._tasks:
            raise SkillRLError(f"{suite.name} has no tasks in any split, so there is none to serve")
        sizes = [len(tasks) for tasks in self._tasks.values()]
        starts = [0, *itertools.accumulate(sizes)]
        self._starts = starts[:-1]
        self._size = starts[-1]
        self.splits = dict(zip(self._tasks, zip(starts, sizes, strict=False), strict=True))

    def __len__(self) -> int:
        return self._size

    def task(self, number: int) -> Task:
        """Returns the task with this number.

        Raises:
          LookupError: there is none.
        """
        if not 0 <= number < self._size:
            raise LookupError(f"there is no task {number}; they go from 0 to {self._size - 1}")
        at = bisect.bisect_right(self._starts, number) - 1
        return list(self._tasks.values())[at][number - self._starts[at]]

    def header(self) -> dict[str, Any]:
        """Returns what a client needs to know before it asks for a split."""
        suite, form = self.suite, answer_form(self.suite)
        return {
            "environment": suite.name,
            "role": suite.role,
            "categories": dict(suite.categories),
            "simulated": suite.simulated,
            "max_steps": suite.max_steps,
            "tags": list(form.tags),
            "instruction": form.instruction,
            "splits": {split: list(place) for split, place in self.splits.items()},
        }

    def entries(self, split: str) -> dict[str, Any]:
        """Returns the manifest of a split: [number, id, category, goal] of every task, in order.

        Raises:
          LookupError: the split does not exist or is empty.
        """
        if split not in self.splits:
            raise LookupError(f"no split {split!r}; there are: {', '.join(self.splits)}")
        start, _ = self.splits[split]
        return {
            "split": split,
            "tasks": [
                [start + at, task.id, task.category, task.goal]
                for at, task in enumerate(self._tasks[split])
            ],
        }


def _tasks(suite: Suite, split: str) -> Sequence[Task]:
    try:
        return suite.tasks(split)
    except SkillRLError:
        return ()  # a suite's answer for a split that it does not know
