"""Device work off the main thread, so that Ctrl-C and a progress line need not wait for it.

A call into the device cannot be interrupted, and on a laptop one can take minutes. Here it
runs on a daemon thread while the main thread waits in small steps. A process that is told to
end does not wait for the call either: see `leave`.
"""

from __future__ import annotations

import concurrent.futures
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

BEAT = 0.5
"""Seconds between two looks at whether anybody wants to say or stop something."""

_running: set[concurrent.futures.Future] = set()
_lock = threading.Lock()


class Workers:
    """Daemon threads that do what they are given, in order.

    `concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter ends, which
    would make Ctrl-C wait for the device after all.
    """

    def __init__(self, count: int, name: str):
        """Starts `count` threads called `name`-0, ...; they end with this object."""
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._count = count
        for number in range(count):
            # The thread holds the queue and not this object, which could else never go.
            threading.Thread(
                target=_serve, args=(self._work,), name=f"{name}-{number}", daemon=True
            ).start()

    def __del__(self) -> None:
        for _ in range(self._count):
            self._work.put(None)

    def submit(self, work: Callable[..., T], *arguments: Any) -> concurrent.futures.Future[T]:
        """Puts `work(*arguments)` in the queue; its future."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        with _lock:
            _running.add(future)
        self._work.put((future, work, arguments))
        return future


def _serve(asked: queue.SimpleQueue[Any]) -> None:
    while (item := asked.get()) is not None:
        future, work, arguments = item
        try:
            result = work(*arguments)
        except BaseException as error:
            _done(future)
            future.set_exception(error)
        else:
            _done(future)
            future.set_result(result)
        # A thread that waits must not keep arrays alive.
        item = future = work = arguments = result = None


def wait_for(work: Callable[..., T], *arguments: Any, beat: Callable[[], None] | None = None) -> T:
    """``work(*arguments)``, computed on another thread while this one can be interrupted.

    Args:
      work: what to do; it must not use signals, nor depend on the thread it runs on.
      *arguments: of `work`.
      beat: called about every `BEAT` seconds until it is done.
    """
    future = _single().submit(work, *arguments)
    while True:
        try:
            return future.result(timeout=BEAT)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise  # that of the work itself
            if beat is not None:
                beat()


def leave(status: int) -> None:
    """Ends the process with `status` if device work is going on; else returns.

    To be called when everything is written and said: the interpreter's own way out would take
    the runtime from under a thread that is inside a device call.
    """
    with _lock:
        busy = bool(_running)
    if busy:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


_workers: Workers | None = None


def _single() -> Workers:
    global _workers
    if _workers is None:
        _workers = Workers(1, "device")
    return _workers


def _done(future: concurrent.futures.Future) -> None:
    with _lock:
        _running.discard(future)
