"""Sessions: bounded, expired when idle, one call at a time, and never somebody else's."""

from __future__ import annotations

import asyncio
import threading

import pytest

from skillrl.envs.answers import BadAnswer
from skillrl.envs.serve.sessions import EpisodeOver, Sessions, SessionsFull, UnknownSession
from skillrl.types import Observation, StepResult, Task

TASK = Task(id="t", split="train", category="pick", goal="count")


class Counting:
    """Counts its steps; done at 3. ``gate`` holds a step up, ``break`` raises."""

    def __init__(self):
        self.closed, self.busy, self.gate = 0, 0, threading.Event()

    def reset(self, task):
        self.count = 0
        return Observation("0")

    def step(self, action):
        self.busy += 1
        assert self.busy == 1, "two calls at once"
        if action == "gate":
            assert self.gate.wait(10)
        if action == "break":
            self.busy = 0
            raise ValueError("broken")
        self.count += 1
        self.busy -= 1
        return StepResult(observation=Observation(str(self.count)), done=self.count == 3, won=False)

    def close(self):
        self.closed += 1


class Suite:
    def __init__(self):
        self.made = []

    def make(self):
        self.made.append(Counting())
        return self.made[-1]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run(test, *, limit=2, ttl=10.0):
    """Runs `test(sessions, suite, clock)`, a coroutine function."""
    suite, clock = Suite(), Clock()

    async def body():
        sessions = Sessions(suite, limit=limit, ttl=ttl, workers=4, clock=clock)
        await test(sessions, suite, clock)
        await sessions.shutdown()
        assert all(handle.closed == 1 for handle in suite.made)

    asyncio.run(body())


def test_an_episode_ends_and_may_be_reset():
    async def test(sessions, suite, clock):
        session = await sessions.open()
        with pytest.raises(EpisodeOver, match="was not started"):
            await sessions.step(session, "a")
        for _ in range(2):
            assert (await sessions.reset(session, TASK)).text == "0"
            assert [(await sessions.step(session, "a")).done for _ in "abc"] == [
                False,
                False,
                True,
            ]
            with pytest.raises(EpisodeOver, match="has finished"):
                await sessions.step(session, "a")

    run(test)


def test_there_is_room_for_so_many_and_no_more():
    async def test(sessions, suite, clock):
        first, _ = await asyncio.gather(sessions.open(), sessions.open())
        with pytest.raises(SessionsFull, match="--max_sessions"):
            await sessions.open()
        assert await sessions.close(first.key)
        assert not await sessions.close(first.key)
        await sessions.open()
        assert len(suite.made) == 3

    run(test)


def test_openings_under_way_count():
    async def test(sessions, suite, clock):
        found = await asyncio.gather(*(sessions.open() for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, SessionsFull) for one in found) == 3

    run(test)


def test_an_idle_session_expires_and_a_used_one_does_not():
    async def test(sessions, suite, clock):
        idle, used, held = await sessions.open(), await sessions.open(), None
        held = await sessions.open(pinned=True)
        clock.now = 6.0
        sessions.get(used.key)
        clock.now = 11.0
        assert await sessions.sweep() == 1
        assert sessions.keys() == [used.key, held.key]
        assert sessions.expired == 1
        with pytest.raises(UnknownSession, match="idle for 10 s"):
            sessions.get(idle.key)
        with pytest.raises(UnknownSession):
            await sessions.step(idle, "a")

    run(test, limit=3)


def test_a_full_server_makes_room_from_what_has_expired():
    async def test(sessions, suite, clock):
        await sessions.open()
        await sessions.open()
        clock.now = 11.0
        await sessions.open()
        assert len(sessions) == 1

    run(test)


def test_a_session_at_work_does_not_expire_and_works_on_one_call_at_a_time():
    async def test(sessions, suite, clock):
        session = await sessions.open()
        await sessions.reset(session, TASK)
        slow = asyncio.create_task(sessions.step(session, "gate"))
        quick = asyncio.create_task(sessions.step(session, "a"))
        while not suite.made[0].busy:
            await asyncio.sleep(0.001)
        clock.now = 99.0
        assert await sessions.sweep() == 0
        suite.made[0].gate.set()
        assert ((await slow).observation.text, (await quick).observation.text) == ("1", "2")
        assert await sessions.sweep() == 0  # used a moment ago, by the clock of its end

    run(test)


def test_after_an_exception_the_episode_is_over():
    async def test(sessions, suite, clock):
        session = await sessions.open()
        await sessions.reset(session, TASK)
        with pytest.raises(BadAnswer, match="ValueError: broken"):
            await sessions.step(session, "break")
        with pytest.raises(EpisodeOver):
            await sessions.step(session, "a")
        assert (await sessions.reset(session, TASK)).text == "0"

    run(test)


def test_keys_of_another_server_are_unknown():
    async def test(sessions, suite, clock):
        keys = {(await sessions.open()).key for _ in range(50)}
        other = Sessions(suite, limit=50, ttl=1.0)
        assert len(keys | {(await other.open()).key for _ in range(50)}) == 100
        await other.shutdown()

    run(test, limit=50)
