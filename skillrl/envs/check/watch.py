"""Limits the time of a check: for every call into the environment, and for all of them together.

On the main thread a signal ends a call that takes too long, in the middle of it. Calls on
other threads cannot be ended: `on_threads` stops waiting for them. Where there are no such
signals (Windows, or a check that does not run on the main thread) calls are not timed.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AGAIN = 1.0  # seconds until an environment that swallows the signal gets it once more
_TICK = 0.02
_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARY = sysconfig.get_path("stdlib")


class Overdue(BaseException):
    """A call has taken too long. No `Exception`, so that an environment does not catch it.

    Attributes:
      seconds: the limit that it passed.
      place: where the environment was, like ``mine.py line 7``, or "".
      whole: it is the limit of the whole check.
    """

    def __init__(self, seconds: float, place: str, *, whole: bool):
        super().__init__(f"{seconds:g} s")
        self.seconds, self.place, self.whole = seconds, place, whole


@dataclasses.dataclass
class Call:
    """Describes a call into the environment that is under way.

    Attributes:
      name: as a finding names it, e.g. ``reset(task)``.
      task: id of its task, or "".
      until: when it is overdue, in seconds of the monotonic clock.
      whole: it is the limit of the whole check that comes first.
    """

    name: str
    task: str
    until: float
    whole: bool


class Watchdog:
    """Knows what a check is doing, and until when it may.

    Attributes:
      stage: name of the check that is under way.
      count: calls so far.
      running: thread -> its call.
    """

    def __init__(self, per_call: float, overall: float):
        self.per_call, self.overall = per_call, overall
        self.stage, self.count = "", 0
        self.running: dict[int, Call] = {}
        self.end = time.monotonic() + overall

    def late(self, call: Call, place: str) -> Overdue:
        """Returns what is raised for a call that is overdue."""
        return Overdue(self.overall if call.whole else self.per_call, place, whole=call.whole)


_current: Watchdog | None = None


@contextmanager
def limits(per_call: float, overall: float) -> Iterator[Watchdog]:
    """Limits the seconds that each `watched` call in the block, and all together, may take."""
    global _current
    before, _current = _current, Watchdog(per_call, overall)
    try:
        yield _current
    finally:
        _current = before


def current() -> Watchdog | None:
    """Returns what is being checked now, if anything is."""
    return _current


def time_left() -> tuple[float, float] | None:
    """Seconds for a call, and for all that is left; None where there is no limit."""
    if _current is None:
        return None
    return _current.per_call, max(0.0, _current.end - time.monotonic())


def enter(stage: str) -> None:
    """Says which check comes now."""
    if _current is not None:
        _current.stage = stage


def can_interrupt() -> bool:
    """Returns whether calls of this thread can be ended in the middle."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextmanager
def watched(name: str, task: str = "") -> Iterator[None]:
    """Times what is called within.

    Raises:
      Overdue: it took too long (on the main thread), or there is no time left for it.
    """
    watch = _current
    if watch is None:
        yield
        return
    now = time.monotonic()
    until = min(now + watch.per_call, watch.end)
    call = Call(name, task, until, until == watch.end)
    if until <= now:
        raise watch.late(call, "")
    watch.count += 1
    thread = threading.get_ident()
    outer = watch.running.get(thread)
    watch.running[thread] = call
    try:
        if can_interrupt() and outer is None:
            with _alarm(until - now, lambda frame: watch.late(call, place_of(frame))):
                yield
        else:
            yield
    finally:
        if outer is None:
            watch.running.pop(thread, None)
        else:
            watch.running[thread] = outer


def on_threads(function: Callable[[T], R], items: Sequence[T], count: int) -> list[R]:
    """Returns `function` of every item in order, computed on `count` threads at once.

    Raises:
      Left: one of the calls on them takes too long; its thread is left behind.
    """
    waiting: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    for pair in enumerate(items):
        waiting.put(pair)
    results: dict[int, R] = {}
    problems: list[BaseException] = []

    def work() -> None:
        while not problems:
            try:
                number, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[number] = function(item)
            except BaseException as error:  # raised where somebody waits for it
                problems.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not problems:
        time.sleep(_TICK)
        _look_at(threads)
    if problems:
        raise problems[0]
    return [results[number] for number in range(len(items))]


class Left(Exception):
    """Says that a call on another thread is overdue: the call, and what is to be said of it."""

    def __init__(self, call: Call, overdue: Overdue):
        super().__init__(call.name)
        self.call, self.overdue = call, overdue


def _look_at(threads: Sequence[threading.Thread]) -> None:
    if _current is None:
        return
    now = time.monotonic()
    for thread in threads:
        call = _current.running.get(thread.ident or 0)
        if call is not None and call.until < now:
            frame = sys._current_frames().get(thread.ident or 0)
            raise Left(call, _current.late(call, place_of(frame)))


def place_of(frame: FrameType | None) -> str:
    """Finds where in the environment a thread is, not in Python's library or here."""
    innermost, at = frame, frame
    while at is not None and not at.f_code.co_filename.startswith(_HERE):
        if not at.f_code.co_filename.startswith((_LIBRARY, "<")):
            return _line(at)
        at = at.f_back
    return _line(innermost) if innermost is not None else ""


def _line(frame: FrameType) -> str:
    return f"{os.path.basename(frame.f_code.co_filename)} line {frame.f_lineno}"


@contextmanager
def _alarm(seconds: float, late: Callable[[FrameType | None], Overdue]) -> Iterator[None]:
    def ring(_: int, frame: FrameType | None) -> Any:
        raise late(frame)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
