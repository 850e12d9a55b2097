"""Shows people what goes on: one progress line per phase, and plain text tables."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from skillrl.io.numbers import duration
from skillrl.io.text import printable

FIRST_SIGN, SIGN = 5.0, 60.0
"""Seconds without a line until `Progress.note` writes one: the first, and later ones."""


class Progress:
    """Shows how far a phase is, with the time left and running numbers.

    On a terminal it is a bar that rewrites itself; elsewhere (a log file, CI) a line
    about every tenth of the way, or a minute after the last one; with ``enabled=False`` nothing.

        with Progress("collect", total=256, unit="episode") as progress:
            for ...:
                progress.update(success=0.31, ret=0.31)
    """

    def __init__(
        self,
        phase: str,
        total: int,
        *,
        unit: str = "step",
        done: int = 0,
        enabled: bool = True,
        file: TextIO | None = None,
        on_update: Callable[[], None] = lambda: None,
        leave: bool = True,
    ):
        """Starts at `done` of `total`, as a resumed phase does.

        `on_update` follows each step. A bar that does not `leave` vanishes at its end.
        """
        self._phase, self._unit = phase, unit
        self.total, self.done, self.closed = total, done, False
        self._first = done
        self._enabled = enabled
        self._on_update = on_update
        self._file = file if file is not None else sys.stderr
        self._start = time.monotonic()
        self._tenth = self._tenths()
        self._shown = ""
        self._silent = self._start + FIRST_SIGN - SIGN  # when the last line was written
        self._noted = 0.0
        self._bar: Any = None
        if enabled and self._file.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc=phase, unit=unit, file=self._file, smoothing=0.1,
                leave=leave,
            )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, count: int = 1, **numbers: float | int | str) -> None:
        """Moves on by `count` and shows `numbers` (success=, ret=, ...) beside the bar."""
        self.done += count
        self._on_update()
        if not self._enabled:
            return
        shown = ", ".join(f"{name} {_number(value)}" for name, value in numbers.items())
        self._shown = shown
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(count)
        elif self._tenths() > self._tenth:
            self._tenth = self._tenths()
            self._line(shown)

    def note(self, doing: str) -> None:
        """Shows that something goes on within a step; to be called as often as one likes."""
        now = time.monotonic()
        if not self._enabled or now - self._noted < 0.5:
            return
        self._noted = now
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(filter(None, (self._shown, doing))))
        elif now - self._silent >= SIGN:
            self._line(doing)

    def close(self) -> None:
        """Ends the bar. May be called twice."""
        self.closed = True
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tenths(self) -> int:
        return 10 * self.done // self.total if self.total else 10

    def _line(self, shown: str) -> None:
        self._silent = time.monotonic()
        spent = self._silent - self._start
        rate = spent / max(1, self.done - self._first)
        left = max(0, self.total - self.done) * rate
        print(
            f"{self._phase}: {self.done}/{self.total} {self._unit}s, {duration(spent)} spent, "
            + (f"{duration(left)} left" if self.done > self._first else "just begun")
            + (f", {shown}" if shown else ""),
            file=self._file,
            flush=True,
        )


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    """Lays out rows under headers: the first column to the left, the others to the right.

    Floats show three decimals, None shows as a dash.

    Raises:
      ValueError: a row has not as many cells as there are headers.
    """
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"row {list(row)} has {len(row)} cells, the table {len(headers)}")
    shown = [[str(h) for h in headers], *([_number(cell) for cell in row] for row in rows)]
    cells = [[printable(cell) for cell in row] for row in shown]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    if not headers:
        return ""
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


class _Harmless(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def harmless_logs() -> None:
    """Lets no log message reach the terminal raw: it may quote a server or an environment.

    For the handler that Python uses where nobody has configured logging; whoever has, chose.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Harmless())


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2g}"
    return str(value)
