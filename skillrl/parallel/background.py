"""Runs device work off the main thread, so that Ctrl-C and a progress line need not wait for it.

A call into the device cannot be interrupted, and on a laptop one can take minutes. Here it
runs on a daemon thread while the main thread waits in small steps. A process that is told to
end does not wait for the call either: see `leave`.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from skillrl.io.threads import DaemonPool

T = TypeVar("T")

BEAT = 0.5
"""Seconds between two looks at whether anybody wants to say or stop something."""

_running: set[concurrent.futures.Future] = set()


class Workers(DaemonPool):
    """Runs device work on threads that `leave` knows of."""

    def submit(self, do: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future:
        """Starts ``do(*arguments)``; returns the future result."""
        future = super().submit(do, *arguments)
        _running.add(future)
        future.add_done_callback(_running.discard)
        return future


def wait_for(work: Callable[..., T], *arguments: Any, beat: Callable[[], None] | None = None) -> T:
    """Computes ``work(*arguments)`` on another thread while this one can be interrupted.

    Args:
      work: what to do; it must not use signals, nor depend on the thread it runs on.
      *arguments: of `work`.
      beat: called about every `BEAT` seconds until it is done.
    """
    future = _single().submit(work, *arguments)
    while not concurrent.futures.wait([future], BEAT).done:
        if beat is not None:
            beat()
    return future.result()


def leave(status: int) -> None:
    """Ends the process with `status` if device work is going on; else returns.

    To be called when everything is written and said: the interpreter's own way out would take
    the runtime from under a thread that is inside a device call.
    """
    if _running:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@atexit.register
def _settle() -> None:
    """Waits for device work at the interpreter's end: after an error there is time for that."""
    concurrent.futures.wait(list(_running))


_workers: Workers | None = None


def _single() -> Workers:
    global _workers
    if _workers is None:
        _workers = Workers(1, name="device")
    return _workers
