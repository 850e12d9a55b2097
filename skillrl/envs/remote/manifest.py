"""Which tasks a server has: its own manifest where it is ours, else documented numbers."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from skillrl.errors import SkillRLError
from skillrl.types import Task


@dataclasses.dataclass(frozen=True)
class Header:
    """What one of our servers says about itself at /manifest."""

    environment: str
    role: str
    categories: Mapping[str, str]
    simulated: str
    max_steps: int
    tags: tuple[str, ...]
    instruction: str
    splits: Mapping[str, tuple[int, int]]


def read_header(value: Any) -> Header | None:
    """The header in the answer of /manifest; None where it is something else."""
    names = {field.name for field in dataclasses.fields(Header)}
    if not isinstance(value, dict) or not names <= set(value):
        return None
    known = {name: value[name] for name in names}
    known["tags"] = tuple(known["tags"])
    known["splits"] = {split: (place[0], place[1]) for split, place in known["splits"].items()}
    return Header(**known)


def read_split(value: Any, split: str, *, where: str) -> tuple[Task, ...]:
    """The tasks in the answer of /manifest?split=...

    Raises:
      SkillRLError: it is not of that form.
    """
    try:
        return tuple(
            Task(str(name), split, str(category), str(goal), {"number": int(number)})
            for number, name, category, goal in value["tasks"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SkillRLError(
            f"{where}: the manifest of {split} is not readable ({type(error).__name__}: {error}). "
            "Is the server of the same version as this program?"
        ) from error


def numbered_id(split: str, number: int) -> str:
    """The id of the task with this number, where the server has no ids of its own."""
    return f"{split}/{number:05d}"


class NumberedTasks(Sequence[Task]):
    """The tasks behind some numbers of a server that tells goal and category only at reset.

    A task is asked for when it is first looked at, and remembered.
    """

    def __init__(self, split: str, numbers: Sequence[int], read: Callable[[int], Task]):
        """`read` starts the task with a number on the server and returns it."""
        self._split, self._numbers, self._read = split, numbers, read
        self._known: dict[int, Task] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Task: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Task, ...]: ...

    def __getitem__(self, at: int | slice) -> Task | tuple[Task, ...]:
        if isinstance(at, slice):
            return tuple(map(self._task, self._numbers[at]))
        return self._task(self._numbers[at])

    def ids(self) -> list[str]:
        """The ids of all tasks, for which the server is not asked."""
        return [numbered_id(self._split, number) for number in self._numbers]

    def _task(self, number: int) -> Task:
        with self._lock:
            if number not in self._known:
                self._known[number] = self._read(number)
            return self._known[number]
