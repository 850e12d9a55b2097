"""Keeps the episodes that clients play at the same time: bounded in number, closed when idle.

Everything here runs on the event loop; only the environments' own work is done on
threads, one call per session at a time. So the registry needs no locks of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from skillrl.envs.answers import open_handle
from skillrl.envs.base import Environment, Suite
from skillrl.types import Observation, StepResult, Task

_LOG = logging.getLogger(__name__)
_KEY_RANGE = 2**53  # the integers that every JSON reader keeps
_NOTHING = Observation("")
T = TypeVar("T")


class SessionsFull(Exception):
    """As many sessions as allowed are open and none has been idle for long enough."""


class UnknownSession(Exception):
    """No session has this key: never opened, closed, expired, or of an earlier server."""


class EpisodeOver(Exception):
    """There is no running episode on this session."""


@dataclasses.dataclass(eq=False, kw_only=True)
class ClientSession:
    """Holds one client's environment, and where its episode stands.

    Attributes:
      key: a random integer that nobody can guess: whoever has it may act on the session.
        Counting from zero would even let a client that outlived a restart of the server do so.
      environment: the handle.
      used: when a client last asked for it, in seconds of the registry's clock.
      pinned: lives as long as its connection; never swept.
      task: what is played; None before the first reset.
      observation: the newest one.
      result: of the newest step; None right after a reset.
      steps: taken since the reset.
    """

    key: int
    environment: Environment
    used: float
    pinned: bool = False
    task: Task | None = None
    observation: Observation = _NOTHING
    result: StepResult | None = None
    steps: int = 0
    running: bool = False
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)

    @property
    def done(self) -> bool:
        """The episode is over."""
        return self.result is not None and self.result.done


class Sessions:
    """Holds the open sessions of a server."""

    def __init__(
        self,
        suite: Suite,
        *,
        limit: int,
        ttl: float,
        workers: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Holds up to `limit` sessions; one that is unused for `ttl` seconds is closed."""
        self.suite, self.limit, self.ttl = suite, limit, ttl
        self.expired = 0
        self._clock = clock
        self._open: dict[int, ClientSession] = {}
        self._opening = 0
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="episode")

    def __len__(self) -> int:
        return len(self._open) + self._opening

    def keys(self) -> list[int]:
        """Lists the keys of all open sessions, oldest first."""
        return list(self._open)

    async def open(self, *, pinned: bool = False) -> ClientSession:
        """Returns a new session.

        Raises:
          SessionsFull: no room.
        """
        if len(self) >= self.limit:
            await self.sweep()
        if len(self) >= self.limit:
            raise SessionsFull(
                f"all {self.limit} sessions of this server are in use; close one, wait until one "
                f"has been idle for {self.ttl:g} s, or start the server with more (--max_sessions)"
            )
        self._opening += 1
        try:
            environment = await self._run(open_handle, self.suite)
            session = ClientSession(
                key=self.new_key(), environment=environment, used=self._clock(), pinned=pinned
            )
            self._open[session.key] = session
        finally:
            self._opening -= 1
        return session

    def new_key(self) -> int:
        """Returns a key that no open session has."""
        key = secrets.randbelow(_KEY_RANGE)
        return key if key not in self._open else self.new_key()

    def get(self, key: int) -> ClientSession:
        """Returns the session, counted as used now.

        Raises:
          UnknownSession: there is none.
        """
        session = self._open.get(key)
        if session is None:
            raise UnknownSession(
                f"the session {key} is not open on this server: it was closed, had been idle for "
                f"{self.ttl:g} s, or the server was restarted"
            )
        session.used = self._clock()
        return session

    async def reset(self, session: ClientSession, task: Task) -> Observation:
        """Starts an episode of `task`; what the environment raises is raised here."""
        async with session.lock:
            self._check_open(session)
            session.running = False
            session.observation = await self._run(session.environment.reset, task)
            session.task, session.result, session.steps = task, None, 0
            session.running = True
            session.used = self._clock()
            return session.observation

    async def step(self, session: ClientSession, action: str) -> StepResult:
        """Plays one action.

        Raises:
          EpisodeOver: reset comes first.
        """
        async with session.lock:
            self._check_open(session)
            if not session.running:
                what = "has finished" if session.done else "was not started"
                raise EpisodeOver(f"the episode of session {session.key} {what}; reset it first")
            session.running = False  # stays so if the environment raises: its state is unknown
            result = await self._run(session.environment.step, action)
            session.result, session.observation = result, result.observation
            session.steps += 1
            session.running = not result.done
            session.used = self._clock()
            return result

    async def close(self, key: int) -> bool:
        """Closes a session, after the call it is in; False where there is none."""
        session = self._open.pop(key, None)
        if session is None:
            return False
        async with session.lock:
            try:
                await self._run(session.environment.close)
            except Exception:
                _LOG.exception("closing the environment of session %d failed", key)
        return True

    async def sweep(self) -> int:
        """Closes what has been idle for longer than the time to live; returns how many."""
        limit = self._clock() - self.ttl
        idle = [
            session.key
            for session in self._open.values()
            if not session.pinned and not session.lock.locked() and session.used < limit
        ]
        self.expired += len(idle)  # before they are closed, which others may see happen
        for key in idle:
            await self.close(key)
        return len(idle)

    async def keep_sweeping(self) -> None:
        """Sweeps for as long as the server runs."""
        while True:
            await asyncio.sleep(max(0.05, min(10.0, self.ttl / 4)))
            await self.sweep()

    async def shutdown(self) -> None:
        """Closes everything."""
        for key in self.keys():
            await self.close(key)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs any other blocking call on the same threads."""
        return await self._run(function, *arguments)

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, function, *arguments)

    def _check_open(self, session: ClientSession) -> None:
        if self._open.get(session.key) is not session:
            raise UnknownSession(f"the session {session.key} was closed meanwhile")
