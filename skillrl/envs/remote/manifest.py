"""Tells which tasks a server has: its own manifest where it is ours, else documented numbers."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from skillrl.errors import SkillRLError
from skillrl.io.text import short_repr
from skillrl.types import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """Holds what one of our servers says about itself at /manifest."""

    environment: str
    role: str
    categories: Mapping[str, str]
    simulated: str
    max_steps: int
    tags: tuple[str, ...]
    instruction: str
    splits: Mapping[str, tuple[int, int]]


def read_header(value: Any, *, where: str = "the server") -> Header | None:
    """Returns the header in the answer of /manifest; None where it is something else.

    Raises:
      SkillRLError: it has all the fields of a header, and one of them is malformed.
    """
    names = {field.name for field in dataclasses.fields(Header)}
    if not isinstance(value, dict) or not names <= set(value):
        return None
    found = {name: value[name] for name in names}
    good = {
        **{name: isinstance(found[name], str) for name in ("environment", "role", "simulated")},
        "instruction": isinstance(found["instruction"], str),
        "max_steps": _is_count(found["max_steps"]) and found["max_steps"] > 0,
        "tags": _is_texts(found["tags"]) and bool(found["tags"]),
        "categories": isinstance(found["categories"], dict)
        and bool(found["categories"])
        and _is_texts(list(found["categories"].values())),
        "splits": isinstance(found["splits"], dict)
        and all(
            isinstance(place, list) and len(place) == 2 and all(map(_is_count, place))
            for place in found["splits"].values()
        ),
    }
    if bad := [name for name in sorted(good) if not good[name]]:
        raise SkillRLError(
            f"{where}: the manifest is not readable: {bad[0]} is "
            f"{short_repr(found[bad[0]], 120)}. Is the server of the same version as this program?"
        )
    found["tags"] = tuple(found["tags"])
    found["splits"] = {split: (place[0], place[1]) for split, place in found["splits"].items()}
    return Header(**found)


def read_split(value: Any, split: str, *, where: str) -> tuple[Task, ...]:
    """Returns the tasks in the answer of /manifest?split=...

    Raises:
      SkillRLError: it is not of that form.
    """
    rows = value.get("tasks") if isinstance(value, dict) else None
    problem = f"it has no list of tasks, but {short_repr(value, 120)}"
    if isinstance(rows, list):
        bad = next((row for row in rows if not _is_row(row)), None)
        if bad is None:
            return tuple(
                Task(id=name, split=split, category=category, goal=goal, payload={"number": number})
                for number, name, category, goal in rows
            )
        problem = f"a task is a number and three texts, not {short_repr(bad, 120)}"
    raise SkillRLError(
        f"{where}: the manifest of {split} is not readable: {problem}. Is the server of the same "
        "version as this program?"
    )


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 4 and _is_count(row[0]) and _is_texts(row[1:])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def numbered_id(split: str, number: int) -> str:
    """Returns the id of the task with this number, where the server has no ids of its own."""
    return f"{split}/{number:05d}"


class NumberedTasks(Sequence[Task]):
    """Makes tasks of numbers, on a server that tells goal and category only at reset.

    A task is asked for when it is first looked at, and remembered.
    """

    def __init__(self, split: str, numbers: Sequence[int], read: Callable[[int], Task]):
        """Lists tasks by number; `read` starts one on the server and returns it."""
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
        """Returns the ids of all tasks, for which the server is not asked."""
        return [numbered_id(self._split, number) for number in self._numbers]

    def _task(self, number: int) -> Task:
        with self._lock:
            if number not in self._known:
                self._known[number] = self._read(number)
            return self._known[number]
