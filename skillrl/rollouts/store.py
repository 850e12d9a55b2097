"""Stores trajectories as JSON lines, one episode a line: readable, appendable, exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io import records
from skillrl.io.atomic import atomic_write
from skillrl.io.checksums import unseal
from skillrl.io.files import append_sealed, numbered_jsonl, sealed_line
from skillrl.types import Trajectory


def to_json(trajectory: Trajectory) -> dict[str, Any]:
    """Returns plain values, from which `from_json` makes an equal trajectory."""
    plain = dataclasses.asdict(trajectory)
    for step in plain["steps"]:
        if not step["versions"]:  # of episodes that no server sampled
            del step["versions"]
    return {**plain, "id": trajectory.id}


def from_json(data: Any) -> Trajectory:
    """Reads the trajectory of a line, every field checked (`skillrl.io.records`).

    Raises:
      SkillRLError: a field is missing, unknown or not what it should be; names it, the value and
        what to do.
    """
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if key != "id"}  # made of the others
    try:
        trajectory = records.read(Trajectory, data)
        _check(trajectory)
    except SkillRLError as error:
        raise SkillRLError(
            f"not a trajectory of this version ({error}); mend or remove the line, or collect again"
        ) from None
    return trajectory


def _check(trajectory: Trajectory) -> None:
    """Raises `SkillRLError` for fields that are of the right type and do not go together."""
    for name in ("id", "category"):
        if not getattr(trajectory.task, name).strip():
            raise SkillRLError(f"task: field {name!r} is empty; a text is expected")
    for number, step in enumerate(trajectory.steps):
        tokens, scores = len(step.response_ids), len(step.logprobs)
        if tokens and scores and tokens != scores:
            raise SkillRLError(
                f"steps[{number}]: {scores} logprobs for {tokens} response_ids; there is one each"
            )


def append(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Adds lines at the end of `path`, all of them or none."""
    append_sealed(path, *map(to_json, trajectories))


def write(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Replaces `path`, atomically."""
    atomic_write(path, "".join(sealed_line(to_json(t)) for t in trajectories))


def read(path: str | Path, *, given: bool = False) -> Iterator[Trajectory]:
    """Reads the trajectories of `path`, in order.

    Args:
      path: JSON lines.
      given: the file is not this run's own; see `skillrl.io.files.read_jsonl`.

    Raises:
      SkillRLError: the file is missing or a line is not a trajectory; names file and line.
    """
    if not Path(path).is_file():
        raise SkillRLError(f"{path}: no such file of trajectories. Run collect first.")
    for number, line in numbered_jsonl(path, given=given):
        row = unseal(line, f"{path}, line {number}")
        try:
            yield from_json(row)
        except SkillRLError as error:
            raise SkillRLError(f"{path}, line {number}: {error}") from error
