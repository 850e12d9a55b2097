"""Plays an episode on a server that may fail: what is lost is played again from the beginning.

A step is never sent twice to the same session, since nobody knows whether a request
without an answer was carried out. The episode is replayed on a fresh session instead,
from its task and its actions so far; every answer must be the one that came before.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Protocol

from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.types import Observation, StepResult, Task

_LOG = logging.getLogger(__name__)
MAX_WAIT = 30.0
"""Longest pause before a replay, in seconds."""


class SessionLost(Exception):
    """This session cannot be used any more; its message says what happened.

    Attributes:
      answered: the server is there, and answered something that is no use.
    """

    def __init__(self, message: str, *, answered: bool = False):
        super().__init__(message)
        self.answered = answered


class Rejected(SessionLost):
    """The server is there, and answered that it cannot do this."""

    def __init__(self, message: str):
        super().__init__(message, answered=True)


@dataclasses.dataclass(frozen=True, slots=True)
class EpisodeStart:
    """Holds what a server shows when an episode starts.

    Attributes:
      observation: what the agent sees.
      goal: the task in words, "" where the server does not say it.
      category: what kind of task the server says it is, or "".
    """

    observation: Observation
    goal: str = ""
    category: str = ""


class Wire(Protocol):
    """Speaks to one session of one server, in one dialect. Every failure is a `SessionLost`."""

    def start(self, number: int) -> EpisodeStart:
        """Starts the task with this number, opening a session if there is none."""

    def act(self, action: str) -> StepResult:
        """Plays one action."""

    def drop(self) -> None:
        """Forgets the session, and closes it on the server if that is still possible."""


def pause(attempt: int, backoff: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Waits before attempt 1, 2, ...: `backoff` seconds, doubled each time."""
    sleep(min(MAX_WAIT, backoff * 2.0 ** min(attempt - 1, 60)))


class RemoteEnvironment:
    """Plays one task at a time over a `Wire`."""

    def __init__(
        self,
        wire: Wire,
        *,
        max_steps: int,
        retries: int,
        backoff: float,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Plays over `wire`, with at most `retries` fresh sessions per episode after the first."""
        self._wire = wire
        self._max_steps, self._retries, self._backoff = max_steps, retries, backoff
        self._sleep = sleep
        self._task: Task | None = None
        self._left = 0
        self._first = Observation("")
        self._played: list[tuple[str, StepResult]] = []

    def reset(self, task: Task) -> Observation:
        """Starts `task`.

        Raises:
          EnvironmentLost: the server does not start it, or has another task by this number.
        """
        if reason := task.payload.get("unreadable"):
            raise EnvironmentLost(f"task {task.id} could not be read: {reason}", rejected=True)
        self._task, self._played, self._left = task, [], self._retries
        while True:
            try:
                self._first = self._start(task)
                return self._first
            except SessionLost as error:
                self._wait(error)

    def step(self, action: str) -> StepResult:
        """Plays one action; where the session is lost, all actions once more.

        Raises:
          EnvironmentLost: no answer after as many replays as allowed, the replay differs, or the
            action is rejected again after a replay: another one would change nothing.
          SkillRLError: there is no running episode.
        """
        if self._task is None:
            raise SkillRLError("the episode is over or was never started: call reset(task) first")
        try:
            result = self._wire.act(action)
        except SessionLost as error:
            result = self._replay(action, error)
        self._played.append((action, result))
        if len(self._played) >= self._max_steps:
            result = dataclasses.replace(result, done=True)
        if result.done:
            self._task = None
        return result

    def close(self) -> None:
        """Gives the session back. May be called twice."""
        self._task = None
        self._wire.drop()

    def _start(self, task: Task) -> Observation:
        start = self._wire.start(task.payload["number"])
        if start.goal and _plain(start.goal) != _plain(task.goal):
            raise EnvironmentLost(
                f"task {task.id} was {task.goal!r} when the run asked for it, and the server now "
                f"says {start.goal!r}: it serves other tasks than before"
            )
        return start.observation

    def _replay(self, action: str, error: SessionLost) -> StepResult:
        task = self._task
        assert task is not None
        rejected = isinstance(error, Rejected)
        while True:
            self._wait(error)
            replayed = False
            try:
                self._same(0, self._first, self._start(task))
                for number, (past, before) in enumerate(self._played, 1):
                    again = self._wire.act(past)
                    self._same(number, before, again)
                replayed = True
                return self._wire.act(action)
            except SessionLost as problem:
                error = problem
            if replayed and isinstance(error, Rejected):
                if rejected:
                    self.close()
                    raise EnvironmentLost(
                        f"task {task.id}: {action!r} was rejected on two sessions: {error}",
                        rejected=True,
                    ) from error
                rejected = True

    def _wait(self, error: SessionLost) -> None:
        """Leaves the session; raises EnvironmentLost when no replay is left."""
        task = self._task
        assert task is not None
        self._wire.drop()
        if self._left == 0:
            self._task = None
            raise EnvironmentLost(
                f"task {task.id} was given up at step {len(self._played)} after "
                f"{self._retries + 1} session(s): {error}"
            ) from error
        attempt = self._retries - self._left + 1
        self._left -= 1
        _LOG.warning(
            "task %s: %s; playing its %d actions again on a fresh session (%d of %d)",
            task.id, error, len(self._played), attempt, self._retries,
        )  # fmt: skip
        pause(attempt, self._backoff, self._sleep)

    def _same(self, number: int, before: object, again: object) -> None:
        if before != again:
            task, self._task = self._task, None
            raise EnvironmentLost(
                f"task {task.id if task else ''} was replayed on a fresh session, and the answer "
                f"to action {number} is another one than before: {again} instead of {before}. The "
                "server is not deterministic, or it serves other tasks than before"
            )


def _plain(goal: str) -> str:
    return " ".join(goal.split()).rstrip(". ")
