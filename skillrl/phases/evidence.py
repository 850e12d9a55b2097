"""The trajectories of a run that its bank names as evidence, found again on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from skillrl.io.text import truncate
from skillrl.phases import prerequisites
from skillrl.phases.run_directory import RunDirectory
from skillrl.rollouts import store
from skillrl.types import Trajectory

_GOAL = 60  # characters


def find(run: RunDirectory, ids: Collection[str]) -> dict[str, str]:
    """Looks for trajectories in the files of a run.

    An id names task, policy version and member; where two iterations have the same, both are said.

    Args:
      run: the run directory; only read.
      ids: of trajectories.

    Returns:
      id -> task, outcome, number of steps and file, in one line; those that are nowhere are absent.

    Raises:
      SkillRLError: a file of trajectories is malformed.
    """
    wanted, found = set(ids), dict[str, list[str]]()
    for path in _files(run) if wanted else ():
        for trajectory in store.read(path, given=True):
            if trajectory.id in wanted:
                said = f"{summary(trajectory)}; {_shown(path, run.path)}"
                found.setdefault(trajectory.id, []).append(said)
    return {name: " / ".join(lines) for name, lines in found.items()}


def summary(trajectory: Trajectory) -> str:
    """Says task, outcome and number of steps of an episode in one line."""
    if trajectory.error:
        outcome = "environment failed"
    else:
        outcome = "won" if trajectory.won else "lost"
    goal = truncate(" ".join(trajectory.task.goal.split()), _GOAL)
    return f"{goal!r} ({trajectory.task.category}): {outcome} in {len(trajectory.steps)} steps"


def _files(run: RunDirectory) -> Iterator[Path]:
    collected = prerequisites.collected(run)
    if collected is not None:
        yield collected
    for folder in ("trajectories", "exams"):
        yield from _numbered(run.file("rl", folder).glob("*.jsonl"))


def _numbered(paths: Iterable[Path]) -> list[Path]:
    return sorted((p for p in paths if p.stem.isdecimal()), key=lambda p: int(p.stem))


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
