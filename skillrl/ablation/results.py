"""Reads what the runs and evaluations of an ablation left on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.ablation.arms import FINAL, Played
from skillrl.ablation.statistics import Outcomes
from skillrl.errors import SkillRLError
from skillrl.io.files import read_json, read_jsonl, read_sealed
from skillrl.rollouts import store

_NAMES = ("none", "own", "initial", "shuffled", "neutral")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A policy with a bank, as ``evaluate --output`` wrote it.

    Attributes:
      results: split -> result.
      episodes: split -> file of the trajectories.
    """

    results: Mapping[str, Mapping[str, Any]]
    episodes: Mapping[str, Path]

    def outcomes(self, split: str) -> Outcomes:
        """Reads who was won, by task and repeat; episodes that errored are left out."""
        return {
            (t.task.id, t.repeat): t.won for t in store.read(self.episodes[split]) if not t.error
        }


def result_stem(run: str, checkpoint: str, epochs: Sequence[int]) -> str:
    """Names the results of a policy: those of a run that trained on are others.

    Args:
      run: the arm that trained it.
      checkpoint: base, sft or rl.
      epochs: iterations of RL of that arm, and of others whose bank is played.
    """
    return ".".join([run, checkpoint, *map(str, epochs)])


def read_evaluated(
    folder: Path, *, run: str, checkpoint: str, epochs: Sequence[int]
) -> dict[Played, Evaluated]:
    """Reads the results of a policy, with whatever banks there are.

    Args:
      folder: the evaluations of a seed.
      run: the arm that trained it.
      checkpoint: base, sft or rl.
      epochs: as in `result_stem`.

    Raises:
      SkillRLError: a file there is no result of an evaluation.
    """
    found: dict[Played, Evaluated] = {}
    for path in sorted(folder.glob(f"{result_stem(run, checkpoint, epochs)}.[!0-9]*.json")):
        try:
            whole = read_json(path)
            for name, splits in whole["arms"].items():
                played = Played(run=run, checkpoint=checkpoint, bank=_label(name))
                files = {s: folder / file for s, file in whole["trajectories"][name].items()}
                found.setdefault(played, Evaluated(results=splits, episodes=files))
        except (LookupError, TypeError, AttributeError) as error:
            raise SkillRLError(
                f"{path}: not a result of evaluate ({type(error).__name__}: {error}). Delete it, "
                "and the same command plays it again."
            ) from None
    return found


def _label(name: str) -> str:
    """Returns the name of a bank as the table of arms has it: that of a file is `FINAL`."""
    if name in _NAMES:
        return name
    control, colon, _ = name.partition(":")
    return f"{control}:{FINAL}" if colon and control in _NAMES else FINAL


def read_curve(run: Path) -> list[float]:
    """Reads the success of the rollouts of each iteration of RL; empty before the first."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    rows = [row for row in read_jsonl(path, required=True) if row["phase"] == "rl"]
    return [row["success"] for row in sorted(rows, key=lambda row: row["step"])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What an arm has taken so far.

    Attributes:
      seconds: of its own phases and evaluations within the run, in one process.
      shared_seconds: of the phases that it took from its parent.
      teacher_requests: of distillation, the shared one included, and of evolution.
      episodes: of RL, trained on.
      exam_episodes: in which skills were examined beside them.
      skills: of its newest bank.
    """

    seconds: float
    shared_seconds: float
    teacher_requests: int
    episodes: int
    exam_episodes: int
    skills: int | None


def read_cost(run: Path, *, parent: Path | None, shares: Sequence[str]) -> Cost:
    """Adds up what a run took.

    Args:
      run: its directory.
      parent: that of the run whose phases it shares, or None.
      shares: those phases.
    """
    events = run / "rl" / "evolution.jsonl"
    rows = list(read_jsonl(events, required=True)) if events.exists() else []
    metrics = run / "metrics.jsonl"
    trained = list(read_jsonl(metrics, required=True)) if metrics.exists() else []
    report = run / "distill" / "bank-report.json"
    distilled = read_sealed(report)["counts"]["asked"] if report.exists() else 0
    shared = _seconds(parent) if parent is not None else {}
    bank = newest_bank(run)
    return Cost(
        seconds=sum(_seconds(run).values()),
        shared_seconds=sum(shared.get(phase, 0.0) for phase in shares),
        teacher_requests=int(distilled + sum(row.get("requests", 0) for row in rows)),
        episodes=int(sum(row.get("episodes", 0) for row in trained if row["phase"] == "rl")),
        exam_episodes=int(sum(row.get("exams", {}).get("episodes", 0) for row in rows)),
        skills=len(read_json(bank)["skills"]) if bank is not None else None,
    )


def newest_bank(run: Path) -> Path | None:
    """Finds the file of the newest bank of a run that has come to RL, or None."""
    versions = [path for path in (run / "banks").glob("*.json") if path.stem.isdecimal()]
    return max(versions, key=lambda path: int(path.stem), default=None)


def _seconds(run: Path) -> dict[str, float]:
    path = run / "wall_seconds.json"
    return read_sealed(path) if path.exists() else {}
