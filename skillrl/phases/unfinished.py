"""Says where the journals of an iteration's episodes lie, and which of them are still of use.

Each process of each session writes a file of its own, ``rl/unfinished/<iteration>-*.jsonl``, and
reads all of them. They go when the iteration's episodes are complete, and where a run goes on from
an earlier point than the beginning of that iteration: then its policy is made anew first.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.parallel import processes
from skillrl.phases.session import Session
from skillrl.rollouts.journal import Journal


def journal(session: Session, iteration: int, header: Mapping[str, Any]) -> Journal:
    """Opens the journal of this process for an iteration's episodes.

    Args:
      session: of the run.
      iteration: from 0.
      header: what the episodes depend on; see `Journal`.
    """
    name = f"{iteration + 1:05d}-{processes.index()}-{uuid.uuid4().hex[:8]}.jsonl"
    earlier = processes.on_first(  # before any of them writes
        "journals", lambda: [path.name for path in _files(session, iteration)]
    )
    folder = _folder(session)
    return Journal(folder / name, header, earlier=[folder / before for before in earlier])


def remove(session: Session, *, but: int | None = None) -> None:
    """Removes journals; those of iteration `but`, from 0, stay."""
    kept = [] if but is None else _files(session, but)
    for path in _folder(session).glob("*.jsonl"):
        if path not in kept:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not there, or not empty
        _folder(session).rmdir()


def _folder(session: Session) -> Path:
    return session.run.file("rl", "unfinished")


def _files(session: Session, iteration: int) -> list[Path]:
    return sorted(_folder(session).glob(f"{iteration + 1:05d}-*.jsonl"))
