"""Checks closing: twice, early, and that nothing stays behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from skillrl.envs.base import Environment, Suite
from skillrl.envs.check.findings import Broken, Finding, blamed
from skillrl.envs.check.play import Played, advance, start

_CYCLES = 4
_PATIENCE = 2.0  # seconds that threads and processes get to end after close


def check_closing(suite: Suite, episodes: Sequence[Played]) -> list[Finding]:
    """Checks that `close` may be called twice, amid an episode and first, and releases all."""
    found = []
    for actions, when in (
        (None, "of a handle that was never reset"),
        (0, "after reset"),
        (1, "in an episode"),
    ):
        try:
            environment = _opened(suite, episodes[0], actions)
            for time_ in ("first", "second"):
                with blamed(f"the {time_} close() {when}"):
                    environment.close()
        except Broken as broken:
            found.append(broken.finding)
    return found or _check_released(suite, episodes)


def _check_released(suite: Suite, episodes: Sequence[Played]) -> list[Finding]:
    """Checks that some handles leave no threads, processes and open files behind.

    A first handle is not counted: what a suite opens once and shares is its own. All are
    kept until the end, so that it is `close` that releases and not the garbage collector.
    """
    kept = [_closed(suite, episodes[0])]
    before = held()
    kept += [_closed(suite, episodes[i % len(episodes)]) for i in range(_CYCLES)]
    until = time.monotonic() + _PATIENCE
    while _grown(before, held()) and time.monotonic() < until:
        time.sleep(0.02)
    after = held()
    assert len(kept) == _CYCLES + 1
    return [
        Finding(
            "close() releases what a handle holds",
            f"{_CYCLES} handles that were played and closed left {after[what] - before[what]} "
            f"{what} behind",
            "stop threads, end and wait for processes, and close files and connections in close",
        )
        for what in _grown(before, after)
    ]


def held() -> dict[str, int]:
    """Returns how many threads, child processes and open files this process has."""
    return {
        "threads": threading.active_count(),
        "processes": len(_children()),
        "open files": _open_files(),
    }


def _grown(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Returns what grew with every handle; one more of something may be a lazy start."""
    return [what for what in before if after[what] - before[what] >= _CYCLES]


def _opened(suite: Suite, played: Played, actions: int | None) -> Environment:
    with blamed("make()"):
        environment = suite.make()
    if actions is not None:
        episode = start(environment, played.task)
        for action in played.actions[:actions]:
            advance(environment, episode, action)
    return environment


def _closed(suite: Suite, played: Played) -> Environment:
    environment = _opened(suite, played, len(played.actions))
    with blamed("close()"):
        environment.close()
    return environment


def _children() -> list[str]:
    """Returns ids of child processes, where the system tells (Linux), zombies included."""
    found: list[str] = []
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found += path.read_text().split()
        except OSError:
            continue  # that thread has ended
    return found


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return 0  # not on this system
