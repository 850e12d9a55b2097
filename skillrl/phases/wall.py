"""Counts seconds per phase over all sessions of a run, those that were killed included."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from skillrl.errors import SkillRLError, finally_do
from skillrl.io.files import read_sealed, write_sealed

_EVERY = 15.0
"""Seconds between two notes: the most that a kill takes from the record, beside one update."""


class WallClock:
    """Times phases and keeps the sums in a file; one process at a time."""

    def __init__(self, path: Path | None):
        """`path` is the file, e.g. ``<run>/wall_seconds.json``; it need not exist. None: no file.

        (Another process of the run keeps the times.)
        """
        self._path = path
        self._phase: str | None = None
        self._since = 0.0

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the seconds that the block takes to those of `phase`; does not nest.

        Raises:
          SkillRLError: the file is not as a run wrote it, or cannot be written; what the block
            raises goes first.
        """
        self.read()  # what is wrong with it shows before hours of work
        self._phase, self._since = phase, time.monotonic()
        try:
            with finally_do(lambda: self._add(time.monotonic())):  # on a full disk it fails, too
                yield
        finally:
            self._phase = None

    def note(self) -> None:
        """Writes down the time so far, if it is not written already; cheap to call often."""
        now = time.monotonic()
        if self._phase is not None and now - self._since >= _EVERY:
            self._add(now)

    def read(self) -> dict[str, float]:
        """Reads the seconds that each phase has taken so far, in all sessions of the run.

        Raises:
          SkillRLError: the file exists and is not as a run wrote it.
        """
        if self._path is None or not self._path.exists():
            return {}
        found = read_sealed(self._path)
        for phase, seconds in found.items():
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise SkillRLError(
                    f"{self._path}: {phase!r} is {seconds!r}, which is no time in seconds. "
                    "Correct it, or delete the file: the times begin at 0 again."
                )
        return found

    def _add(self, now: float) -> None:
        assert self._phase is not None
        if self._path is None:
            return
        spent = self.read()
        spent[self._phase] = round(spent.get(self._phase, 0.0) + now - self._since, 2)
        write_sealed(self._path, spent)
        self._since = now
