"""Threads that do not keep the process alive.

Those of `concurrent.futures.ThreadPoolExecutor` are waited for at exit: after Ctrl-C, as long as
a server that does not answer is asked again and again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class DaemonPool:
    """Up to `size` threads that do what is submitted, in order."""

    def __init__(self, size: int, *, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future, Callable[..., Any], tuple] | None]
        self._work = queue.SimpleQueue()
        self._size, self._name = size, name
        self._threads: list[threading.Thread] = []

    def submit(self, do: Callable[..., Any], *arguments: Any) -> Future:
        """The future result of ``do(*arguments)``."""
        if len(self._threads) < self._size:
            name = f"{self._name}-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
            self._threads[-1].start()
        future: Future = Future()
        self._work.put((future, do, arguments))
        return future

    def close(self) -> None:
        """Lets the threads end when what was submitted is done; may be called twice."""
        for _ in self._threads:
            self._work.put(None)
        self._threads = []

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, do, arguments = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(do(*arguments))
            except BaseException as error:  # told to whoever asks for the result
                future.set_exception(error)
