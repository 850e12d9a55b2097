"""Runs threads that do not keep the process alive.

Those of `concurrent.futures.ThreadPoolExecutor` are waited for at exit: after Ctrl-C, as long as
a server that does not answer is asked again and again, or a device is at a call.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class DaemonPool:
    """Runs what is submitted on up to `size` threads, which end with this object."""

    def __init__(self, size: int, *, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future, Callable[..., Any], tuple] | None]
        self._work = queue.SimpleQueue()
        self._size, self._name, self._started = size, name, 0

    def __del__(self) -> None:
        self.close()

    def submit(self, do: Callable[..., Any], *arguments: Any) -> Future:
        """Lets a thread call ``do(*arguments)``, and returns the future result."""
        if self._started < self._size:
            # A thread holds the queue and not this object, which could else never go.
            name = f"{self._name}-{self._started}"
            threading.Thread(target=_serve, args=(self._work,), name=name, daemon=True).start()
            self._started += 1
        future: Future = Future()
        self._work.put((future, do, arguments))
        return future

    def close(self) -> None:
        """Lets the threads end when what was submitted is done; may be called twice."""
        for _ in range(self._started):
            self._work.put(None)
        self._started = 0


def _serve(work: queue.SimpleQueue[Any]) -> None:
    while (item := work.get()) is not None:
        future, do, arguments = item
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(do(*arguments))
            except BaseException as error:  # told to whoever asks for the result
                future.set_exception(error)
        item = future = do = arguments = None  # who waits must not keep arrays alive
