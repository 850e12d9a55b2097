"""Drives many episodes against one engine; never waits for a slow environment.

Episodes are coroutines. The driver keeps `width` of them going: those that want tokens are
handed to the engine as it has room, those that wait for an environment are on worker threads
(or answered in place with ``workers=0``), and a finished one makes room for the next. Which
order all this happens in changes no result (docs/architecture.md, contract 5).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from skillrl.agent.agent import Act, Episode, Reset
from skillrl.envs.answers import open_handle
from skillrl.envs.base import Environment, Suite
from skillrl.errors import DoesNotFit, EnvironmentLost, SkillRLError
from skillrl.inference.base import Engine, Generate, Sampling, Unanswered
from skillrl.io.text import printable
from skillrl.io.threads import DaemonPool
from skillrl.rollouts.journal import Journal, Key, key_of
from skillrl.types import Task, Trajectory

_LOG = logging.getLogger(__name__)

LOST_IN_A_ROW = 16
"""Episodes with `EnvironmentLost`, none ending well in between, after which a run stops.

By then its server is gone for good, and playing on would only record failures.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Describes an episode to play: how to start its coroutine, and what to record if it fails."""

    task: Task
    start: Callable[[], Episode]
    member: int = 0
    repeat: int = 0
    skills: tuple[str, ...] = ()
    bank_version: int = 0


@dataclasses.dataclass(kw_only=True)
class _Live:
    index: int
    job: Job
    episode: Episode
    environment: Environment
    request: Generate | None = None
    answered: int = 0  # steps
    key: Key


class _Handles:
    """Keeps environment handles for later episodes; `close` also closes those in use."""

    def __init__(self, suite: Suite):
        self._suite = suite
        self._idle: list[Environment] = []
        self._open: dict[int, Environment] = {}

    def take(self) -> Environment:
        if self._idle:
            return self._idle.pop()
        handle = open_handle(self._suite)
        self._open[id(handle)] = handle
        return handle

    def give(self, handle: Environment) -> None:
        self._idle.append(handle)

    def drop(self, handle: Environment) -> None:
        del self._open[id(handle)]
        handle.close()

    def close(self) -> None:
        for handle in self._open.values():
            handle.close()


def collect(
    jobs: Iterable[Job],
    *,
    suite: Suite,
    engine: Engine,
    sampling: Sampling,
    workers: int = 0,
    width: int = 0,
    on_done: Callable[[Trajectory], None] | None = None,
    on_turn: Callable[[int], None] | None = None,
    may_all_fail: bool = False,
    journal: Journal | None = None,
) -> list[Trajectory]:
    """Plays all jobs and returns their trajectories in the order of the jobs.

    Args:
      jobs: episodes to play; started lazily.
      suite: makes the environments.
      engine: answers `Generate` requests.
      sampling: how tokens are chosen, for all of them.
      workers: environment threads; 0 steps environments in this thread.
      width: episodes alive at once; 0 takes twice the engine's slots, so that somebody is
        usually waiting for a slot that becomes free.
      on_done: called with each trajectory as it ends.
      on_turn: called about twice a second or more often, with how many have ended.
      may_all_fail: others were played before, so that these may all end with an error.
      journal: has what these episodes were answered before a kill, and keeps what they are now.

    Returns:
      One trajectory per job. An environment that raises or answers something malformed, a
      prompt that cannot be made of it and a request that the engine does not answer end their
      episode with ``error`` set; whoever uses the trajectories excludes and counts these.

    Raises:
      SkillRLError: an environment or the engine raised it, `LOST_IN_A_ROW` episodes in a
        row lost their environment or were not answered, or all jobs ended with an error: there is
        nothing to go on with then, and a success of 0 would be wrong.
    """
    pending = enumerate(jobs)
    width = width or 2 * engine.slots
    results: dict[int, Trajectory] = {}
    waiting: dict[int, _Live] = {}
    playing: dict[int, _Live] = {}
    busy: dict[concurrent.futures.Future, _Live] = {}
    handles = _Handles(suite)
    pool = DaemonPool(workers, name="environment") if workers else None
    interrupted = False

    lost, failed = 0, 0  # in a row, in all

    def finish(live: _Live, trajectory: Trajectory) -> None:
        nonlocal lost
        results[live.index] = trajectory
        if trajectory.error:
            handles.drop(live.environment)
        else:
            lost = 0
            handles.give(live.environment)
            if journal is not None:
                journal.keep_ended(live.key, trajectory)
        if on_done:
            on_done(trajectory)

    def fail(live: _Live, error: Exception) -> None:
        nonlocal lost, failed
        live.episode.close()
        failed += 1
        if str(failed).strip("0") == "1":  # the first, tenth, hundredth, ...
            _LOG.warning(
                "%d episode(s) errored so far, %s the newest: %s",
                failed, live.job.task.id, printable(f"{type(error).__name__}: {error}"),
            )  # fmt: skip
        if not isinstance(error, EnvironmentLost):
            lost = 0
        elif not error.rejected:
            lost += 1
        if lost == LOST_IN_A_ROW:
            what = f"the last {lost} episodes all lost their environment or were not answered"
            raise _stopped(what, error) from error
        job = live.job
        message = f"{type(error).__name__}: {error}"
        finish(
            live,
            Trajectory(
                task=job.task,
                prefix_ids=(),
                steps=(),
                won=False,
                member=job.member,
                repeat=job.repeat,
                skills=job.skills,
                policy_version=engine.version,
                bank_version=job.bank_version,
                error=message,
            ),
        )

    def ask(live: _Live, wants: Reset | Act) -> object:
        if isinstance(wants, Reset):
            return live.environment.reset(wants.task)
        return live.environment.step(wants.action)

    def advance(live: _Live, answer: object) -> None:
        """Runs an episode until it waits for tokens or for a thread, or ends."""
        while True:
            try:
                wants = live.episode.send(answer)
            except StopIteration as stop:
                finish(live, stop.value)
                return
            except DoesNotFit:
                raise  # nor will others
            except SkillRLError as error:  # what it was sent cannot be made a prompt
                fail(live, error)
                return
            if isinstance(wants, Generate):
                if journal is not None:
                    kept = journal.answer(live.key, live.answered, wants)
                    if kept is not None:
                        live.answered, answer = live.answered + 1, kept
                        continue
                live.request = wants
                waiting[live.index] = live
                return
            if pool is not None:
                busy[pool.submit(ask, live, wants)] = live
                return
            try:
                answer = ask(live, wants)
            except SkillRLError:
                raise
            except Exception as error:
                fail(live, error)
                return

    def start() -> Iterator[_Live]:
        for index, job in pending:
            key = key_of(job.task, job.member, job.repeat)
            if journal is not None and (before := journal.ended(key)) is not None:
                results[index] = before
                if on_done:
                    on_done(before)
                continue
            yield _Live(
                index=index, job=job, episode=job.start(), environment=handles.take(), key=key
            )

    upcoming = start()
    try:
        while True:
            alive = len(waiting) + len(playing) + len(busy)
            if alive < width and (live := next(upcoming, None)):
                advance(live, None)
                continue
            if not alive:
                break
            if waiting:
                requests = {i: live.request for i, live in waiting.items() if live.request}
                for index in engine.submit(requests, sampling):
                    playing[index] = waiting.pop(index)
            if on_turn:
                on_turn(len(results))
            if busy:
                timeout = 0.0 if playing else 0.5
                done, _ = concurrent.futures.wait(busy, timeout, concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    live = busy.pop(future)
                    error = future.exception()
                    if isinstance(error, SkillRLError):
                        raise error
                    if isinstance(error, Exception):
                        fail(live, error)
                    elif error is not None:
                        raise error
                    else:
                        advance(live, future.result())
                if done:
                    continue
            if playing:
                for index, answer in engine.step().items():
                    live = playing.pop(index)
                    request, live.request = live.request, None
                    if isinstance(answer, Unanswered):
                        fail(live, answer)
                        continue
                    if journal is not None and request is not None:
                        journal.keep_answer(live.key, live.answered, request, answer)
                    live.answered += 1
                    advance(live, answer)
    except BaseException as error:
        interrupted = not isinstance(error, Exception)
        raise
    finally:
        engine.reset()
        if pool is not None:
            pool.close()
            for future in busy:
                future.cancel()
            if not interrupted:  # else an environment may be waiting for a server that is gone
                concurrent.futures.wait(busy)
        handles.close()
    found = [results[i] for i in sorted(results)]
    if not may_all_fail:
        check_some_ended(found)
    return found


def check_some_ended(found: Sequence[Trajectory]) -> None:
    """Checks that not all episodes ended with an error.

    Raises:
      SkillRLError: they did; quotes the newest.
    """
    if found and all(trajectory.error for trajectory in found):
        raise _stopped(f"all {len(found)} episodes ended with an error", found[-1].error)


def _stopped(what: str, newest: object) -> SkillRLError:
    return SkillRLError(
        f"{what}, the newest with: {newest}. Repair what they run on, then start the same command "
        "again: it continues where it stopped, and nothing that was finished is lost"
    )
