"""Shows people how the check of an environment goes, and ends a check that is stuck."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, TextIO

from skillrl.envs.check import watch
from skillrl.envs.check.findings import Check, describe, hung, line_of
from skillrl.io.numbers import duration
from skillrl.io.text import printable

CHECKS = 12
"""How many checks there are, where none ends the play."""

_TICK = 0.2
_BEAT = 30.0  # seconds between two lines where there is no bar
_GRACE = 5.0  # seconds after which a call that could not be interrupted ends the process


class ProgressReport:
    """Prints checks as they end; between them a bar, or now and then a line, on `err`.

    A call that no signal ends (one that never leaves compiled code) is told of as well: its
    finding is printed, and the process ends with status 1.
    """

    def __init__(self, out: TextIO, err: TextIO):
        self._out, self._err = out, err
        self._done = threading.Event()
        self._start = self._beat = time.monotonic()
        self._bar: Any = None
        if err.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=CHECKS, desc="check", unit="check", file=err, leave=False)
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> ProgressReport:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """Prints a line or a paragraph."""
        if self._bar is not None:
            self._bar.clear()
        print(printable(text), file=self._out, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def ended(self, check: Check) -> None:
        """Prints a check that has ended."""
        self.say(line_of(check))
        if self._bar is not None:
            self._bar.update(1)

    def _look_on(self) -> None:
        while not self._done.wait(_TICK):
            now, current = time.monotonic(), watch.current()
            if current is None:
                continue
            call = next(iter(list(current.running.values())), None)
            if call is not None and call.until + _GRACE < now:
                self._give_up(current, call)
            doing = f"{current.stage}, {current.count} calls" + (f", {call.name}" if call else "")
            if self._bar is not None:
                self._bar.set_postfix_str(printable(doing))
            elif now - self._beat > _BEAT:
                self._beat = now
                spent = duration(now - self._start)
                print(printable(f"check: {doing}, {spent} spent"), file=self._err, flush=True)

    def _give_up(self, current: watch.Watchdog, call: watch.Call) -> None:
        main = threading.main_thread().ident or 0
        place = watch.place_of(sys._current_frames().get(main))
        finding = hung(call.name, call.task, current.late(call, place)).finding
        stuck = Check(current.stage, "ended here: nothing interrupts this call", (finding,))
        self.say(f"{line_of(stuck)}\n\n{describe([stuck])}")
        os._exit(1)
