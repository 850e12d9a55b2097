"""Trajectories as JSON lines, one episode a line: readable, appendable, exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.files import append_sealed, atomic_write, read_jsonl, sealed_line
from skillrl.types import Step, Task, Trajectory


def to_json(trajectory: Trajectory) -> dict[str, Any]:
    """Plain values; `from_json` gives an equal trajectory back."""
    return {**dataclasses.asdict(trajectory), "id": trajectory.id}


def from_json(data: Mapping[str, Any]) -> Trajectory:
    """The trajectory of a line.

    Raises:
      SkillRLError: a field is missing or unknown.
    """
    try:
        fields = {key: value for key, value in data.items() if key != "id"}
        task = Task(**fields.pop("task"))
        steps = tuple(Step(**_tuples(step)) for step in fields.pop("steps"))
        return Trajectory(task=task, steps=steps, **_tuples(fields))
    except (KeyError, TypeError, AttributeError) as error:
        raise SkillRLError(
            f"not a trajectory of this version ({type(error).__name__}: {error}); collect again"
        ) from error


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def append(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Adds lines at the end of `path`, all of them or none."""
    append_sealed(path, *map(to_json, trajectories))


def write(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Replaces `path`, atomically."""
    atomic_write(path, "".join(sealed_line(to_json(t)) for t in trajectories))


def read(path: str | Path) -> Iterator[Trajectory]:
    """The trajectories of `path`, in order.

    Raises:
      SkillRLError: the file is missing or a line is not a trajectory; names file and line.
    """
    if not Path(path).is_file():
        raise SkillRLError(f"{path}: no such file of trajectories. Run collect first.")
    for number, line in enumerate(read_jsonl(path), 1):
        try:
            yield from_json(line)
        except SkillRLError as error:
            raise SkillRLError(f"{path}, line {number}: {error}") from error
