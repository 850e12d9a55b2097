"""Checks the files of a checkpoint, and says which checkpoints stay."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import Corrupt, SkillRLError
from skillrl.io.checksums import SUMS, check_directory

_LOG = logging.getLogger(__name__)

STATE, EXTRA = "state", "extra"
"""What a checkpoint holds, by the names of the folders."""

COMMITTED = "commit_success.txt"
"""Orbax's marker. Some copies lose it, and sums say more, so that ours have none."""


_SCORE = "score.json"


def kept(scores: Mapping[int, float | None], *, last: int, every: int, best: int) -> set[int]:
    """Chooses the checkpoints that stay.

    Args:
      scores: of each step there is; None where it has none.
      last: how many of the highest steps stay.
      every: multiples of it stay; 0 for none.
      best: how many of the highest scores stay; of equal ones the later.

    Returns:
      Their steps.

    Examples:
      >>> sorted(kept({2: 0.9, 4: 0.1, 6: 0.5, 8: None, 9: 0.2}, last=1, every=4, best=1))
      [2, 4, 8, 9]
    """
    steps = sorted(scores)
    ranked = sorted((score, step) for step, score in scores.items() if score is not None)
    return {
        *steps[-last:],
        *(step for step in steps if every and step % every == 0),
        *(step for _, step in ranked[len(ranked) - min(best, len(ranked)) :]),
    }


def write_score(path: Path, score: float | None) -> None:
    """Writes the score of the checkpoint that is made at `path`, if it has one."""
    if score is not None:
        (path / _SCORE).write_text(json.dumps({"score": score}))


def read_score(path: Path) -> float | None:
    """Reads the score of a checkpoint; None where there is none, or it cannot be read."""
    try:
        return float(json.loads((path / _SCORE).read_text("utf-8"))["score"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning(
            "%s cannot be read (%s): its checkpoint counts as one without a score",
            path / _SCORE,
            first_line(error),
        )
        return None


def check_whole(path: Path) -> None:
    """Compares all files of the checkpoint `path` with their sums.

    Raises:
      Corrupt: a file was changed, cut off, lost or added; it is named.
    """
    try:
        if check_directory(path):
            _check_all_listed(path)
        elif (path / COMMITTED).is_file() and all((path / p).is_dir() for p in (STATE, EXTRA)):
            _LOG.warning(
                "checkpoint %s is of an older version, without %s: whether it is whole cannot be "
                "told",
                path,
                SUMS,
            )
        else:
            raise Corrupt(
                f"checkpoint {path} is corrupt: it has no {SUMS}, so nothing proves that it is "
                "whole. Restore the file, or the whole directory, from a copy."
            )
    except Corrupt:
        if not path.exists():
            raise SkillRLError(
                f"checkpoint {path} was removed while it was read, as newer ones took its place. "
                "Start the same command again."
            ) from None
        raise


def is_number(name: str) -> bool:
    """Returns whether a directory of this name is taken for a checkpoint."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def _check_all_listed(path: Path) -> None:
    """Refuses files without a sum: sums that were cut off say nothing of those after the cut."""
    lines = (path / SUMS).read_text("utf-8").splitlines()
    listed = {line.partition("  ")[2] for line in lines}
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        # Names with a dot are what file managers and copies leave; Orbax has none.
        if file.is_file() and name != SUMS and name not in listed and file.name[0] != ".":
            raise Corrupt(
                f"{file}: is not in {path / SUMS}, so one of the two is corrupt. Restore {SUMS} "
                "from a copy, or remove the file if you put it there."
            )
    if not listed:
        raise Corrupt(f"{path / SUMS}: is corrupt: it is empty. Restore it from a copy.")


def check_json(extra: dict[str, Any]) -> None:
    """Refuses (SkillRLError) what would not come back equal from JSON."""
    try:
        same = json.loads(json.dumps(extra, allow_nan=False)) == extra
    except (TypeError, ValueError) as error:
        raise SkillRLError(f"checkpoint extra is not JSON ({error}); convert it first") from error
    if not same:
        raise SkillRLError(
            "checkpoint extra would not come back equal from JSON; use lists instead of tuples "
            "and strings as keys"
        )


def first_line(error: BaseException) -> str:
    """Returns the first cause in one line of at most 300 characters."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
