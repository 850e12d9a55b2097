"""Runs commands in processes of their own, as many at once as there is room for.

A job begins when those it waits for are done. One that fails is named with its log, those that
wait for it are left out, and all others go on. Every command of ours can be stopped and started
again, so on the way out all that still run are ended and nothing is lost.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from skillrl.errors import SkillRLError

_POLL = 0.2  # seconds
_PATIENCE = 60.0  # seconds that a command has to end after SIGTERM


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One command.

    Attributes:
      name: unique among the jobs.
      command: makes its words when it begins, what it needs beside them, and None if there is
        nothing left to do.
      after: names of the jobs it waits for.
      log: the file at whose end it writes all that it says.
    """

    name: str
    command: Callable[[], Sequence[str] | None]
    after: tuple[str, ...] = ()
    log: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that did not end well.

    Attributes:
      name: of the job.
      why: in words, with its log.
    """

    name: str
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    place: int
    log: IO[bytes]
    since: float


def _say(text: str) -> None:
    print(text, flush=True)


def run_jobs(
    jobs: Sequence[Job],
    *,
    places: Sequence[Mapping[str, str]],
    say: Callable[[str], None] = _say,
) -> list[Failure]:
    """Runs jobs until each is done, has failed, or waits for one that has.

    Args:
      jobs: in the order in which they begin where there is a choice.
      places: the environment variables of each process that there is room for.
      say: told when a job begins and ends.

    Returns:
      What failed, in the order in which it did.
    """
    waiting, running = list(jobs), list[_Running]()
    done, failures = set[str](), list[Failure]()
    try:
        while waiting or running:
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                one.log.close()
                spent = time.monotonic() - one.since
                if one.process.returncode == 0:
                    done.add(one.job.name)
                    say(f"{one.job.name}: done in {spent:.0f} s")
                else:
                    why = f"ended with status {one.process.returncode}, see {one.job.log}"
                    failures.append(Failure(name=one.job.name, why=why))
                    say(f"{one.job.name}: {why}")
            failures += _left_out(waiting, failures)
            begun = _begin_next(waiting, done, running, places=places, failures=failures, say=say)
            if not begun and running:
                time.sleep(_POLL)
    finally:
        _end([one.process for one in running])
    return failures


def _left_out(waiting: list[Job], failures: Sequence[Failure]) -> list[Failure]:
    """Takes out of `waiting` what waits for a failed job, one link of a chain at a time."""
    failed = {failure.name for failure in failures}
    lost = [job for job in waiting if failed & set(job.after)]
    for job in lost:
        waiting.remove(job)
    return [
        Failure(name=job.name, why=f"left out, as it needs {', '.join(failed & set(job.after))}")
        for job in lost
    ]


def _begin_next(
    waiting: list[Job],
    done: set[str],
    running: list[_Running],
    *,
    places: Sequence[Mapping[str, str]],
    failures: list[Failure],
    say: Callable[[str], None],
) -> bool:
    """Begins the first job that may, if there is room.

    Args:
      waiting: jobs that have not begun; this one is taken out.
      done: names of those that are done; one with nothing to do is added.
      running: those at work; this one is added.
      places: the environment variables of each process that there is room for.
      failures: where one that cannot begin is added.
      say: told what begins.

    Returns:
      Whether one was taken out of `waiting`.
    """
    free = [at for at in range(len(places)) if at not in {one.place for one in running}]
    ready = [job for job in waiting if done.issuperset(job.after)]
    if not free or not ready:
        return False
    job = ready[0]
    waiting.remove(job)
    try:
        command = job.command()
    except SkillRLError as error:
        failures.append(Failure(name=job.name, why=str(error)))
        say(f"{job.name}: {error}")
        return True
    if command is None:
        done.add(job.name)
        return True
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = job.log.open("ab")
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **places[free[0]]},
    )
    running.append(
        _Running(job=job, process=process, place=free[0], log=log, since=time.monotonic())
    )
    say(f"{job.name}: begins, says what it does in {job.log}")
    return True


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes as Ctrl-C would, and those that do not listen for good."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + _PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
