"""Plays the episodes of RL, in their turn or ahead of the updates that learn from them.

With ``rollout.max_staleness`` 0 an iteration's episodes are played when it begins, by the policy
that it will update. With s above 0 the episodes of iteration n + s are begun when iteration n
begins, by the policy of that moment, on a thread: while this one learns, the server plays. So the
policy that plays is s iterations behind the one that learns (fewer at the beginning), always:
which policy plays an episode depends on no clock, and a run is as reproducible as its server.

Episodes that are played in their turn are kept as they go (`phases.unfinished`), so that a run
which was killed, or told to end, goes on within them. Those played ahead are on disk as soon as all
of their iteration are played. A checkpoint waits for all that
were begun before it, so a run that goes on from it finds them there, of the older policies that
nobody has any more, and learns from the same as if it had not ended. What is not there (a run that
is given more iterations than it was begun with) is played by the policy of the checkpoint.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import logging
import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from skillrl.errors import SkillRLError
from skillrl.inference.exports import Export
from skillrl.io.threads import DaemonPool
from skillrl.models.transformer import Params
from skillrl.parallel import background, processes, random_keys
from skillrl.phases import unfinished
from skillrl.phases.build import publication, publish, stage, switch
from skillrl.phases.session import Session
from skillrl.rollouts import store
from skillrl.rollouts.collector import Job
from skillrl.rollouts.player import Player, make_job, play
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import bank_to_json
from skillrl.training.bare import is_bare
from skillrl.training.rollouts import choose_tasks
from skillrl.types import Trajectory

_LOG = logging.getLogger(__name__)

_ENDING = 10.0  # seconds that episodes have to end when the phase does


class _Over(BaseException):
    """Ends episodes that nobody waits for any more."""


class Rollouts:
    """Plays the episodes of iterations; a context manager, which ends what is being played.

    Attributes:
      report: metrics of the publication with which the episodes taken last were played, by name;
        empty where a session before this one has played them, or these devices.
    """

    def __init__(self, session: Session, player: Player):
        """Plays nothing yet.

        Args:
          session: of the run, on whose disk episodes are kept.
          player: plays them.

        Raises:
          SkillRLError: a run of several processes shall play ahead.
        """
        self.report: dict[str, float] = {}
        self._session, self._player = session, player
        self._ahead = session.config.rollout.max_staleness
        self._begun: dict[int, concurrent.futures.Future] = {}
        self._pool = DaemonPool(1, name="rollouts")
        self._over = threading.Event()
        self._doing = ""
        if self._ahead and processes.count() > 1:
            raise SkillRLError(
                f"rollout.max_staleness is {self._ahead} and the run has {processes.count()} "
                "processes: episodes are played ahead by one process alone. Use "
                "rollout.max_staleness=0, or one process."
            )

    def __enter__(self) -> Rollouts:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for future in self._begun.values():
            future.cancel()
        concurrent.futures.wait(self._begun.values(), _ENDING)
        self._pool.close()

    def take(
        self, iteration: int, bank: SkillBank, *, params: Params, version: int
    ) -> list[Trajectory]:
        """Returns the episodes of an iteration, in canonical order; they are also on disk.

        Args:
          iteration: from 0; it is about to begin.
          bank: the skills of this moment.
          params: the policy of this moment; used until this returns, and may change then.
          version: the number of this policy.

        Raises:
          SkillRLError: they could not be played.
        """
        if not self._ahead:
            publish(self._session.config, self._player, params=params, version=version)
            self.report = publication(self._player)
            header = {"policy": _fingerprint(params), "bank": _digest(bank)}
            return self._play(self._player, iteration, self._jobs(iteration, bank), header)
        staged: Export | None = None
        last = min(iteration + self._ahead, self._session.config.rl.training_epochs - 1)
        for number in range(iteration, last + 1):
            if number not in self._begun and (found := self._read(number)) is not None:
                self._begun[number] = concurrent.futures.Future()
                self._begun[number].set_result((found, {}))
            if number not in self._begun:
                staged = staged or stage(self._player, params=params, version=version)
                work = (number, self._jobs(number, bank), staged)
                self._begun[number] = self._pool.submit(self._play_ahead, *work)
        trajectories, self.report = self._wait(self._begun[iteration])
        del self._begun[iteration]  # not before: who ends the phase waits for what is there
        return trajectories

    def publish(self, params: Params, version: int) -> None:
        """Publishes a policy for others to play with, once nothing is being played."""
        self.drain()
        publish(self._session.config, self._player, params=params, version=version)

    def drain(self) -> None:
        """Waits until all episodes that were begun are on disk."""
        for future in list(self._begun.values()):
            self._wait(future)

    def _wait(self, future: concurrent.futures.Future) -> tuple[list[Trajectory], dict[str, float]]:
        while not concurrent.futures.wait([future], background.BEAT).done:
            self._session.display.note(self._doing or "waiting for episodes")
        return future.result()

    def _jobs(self, iteration: int, bank: SkillBank) -> list[Job]:
        """Plans G episodes of each of the iteration's tasks."""
        config = self._session.config.rl
        tasks = choose_tasks(
            self._session.suite.tasks("train"),
            config.batch_size // config.group_size,
            iteration=iteration,
            seed=self._session.seed,
        )
        return [
            make_job(
                self._player,
                task,
                bank,
                phase=random_keys.RL,
                iteration=iteration,
                member=member,
                repeat=tasks[:at].count(task),  # above 0 only where tasks are fewer than groups
                skills=() if is_bare(member, config) else None,
            )
            for at, task in enumerate(tasks)
            for member in range(config.group_size)
        ]

    def _play_ahead(
        self, iteration: int, jobs: list[Job], staged: Export
    ) -> tuple[list[Trajectory], dict[str, float]]:
        def note(doing: str) -> None:
            if self._over.is_set():
                raise _Over
            self._doing = f"iteration {iteration + 1}: {doing}"

        note("giving the server its policy")
        switch(self._player, staged)
        report = publication(self._player)
        return self._play(dataclasses.replace(self._player, note=note), iteration, jobs), report

    def _play(
        self,
        player: Player,
        iteration: int,
        jobs: list[Job],
        header: Mapping[str, Any] | None = None,
    ) -> list[Trajectory]:
        """Plays episodes and puts them on disk.

        Args:
          player: who plays.
          iteration: from 0.
          jobs: the episodes.
          header: of a journal; None keeps none, where an older policy plays, which is gone after a
            kill.
        """
        temperature = self._session.config.rl.temperature
        with contextlib.ExitStack() as stack:
            journal = None
            if header is not None:
                journal = stack.enter_context(unfinished.journal(self._session, iteration, header))
                if journal.answers:
                    _LOG.warning(
                        "rl: iteration %d goes on: %d answers are there, and %d of its %d episodes",
                        iteration + 1, journal.answers, journal.finished, len(jobs),
                    )  # fmt: skip
            trajectories = play(player, jobs, temperature=temperature, journal=journal)
            store.write(episodes_file(self._session, iteration), trajectories)
        processes.on_first("finished episodes", lambda: unfinished.remove(self._session))
        return trajectories

    def _read(self, iteration: int) -> list[Trajectory] | None:
        """Reads episodes that a session before this one has played ahead."""
        path = episodes_file(self._session, iteration)
        if not path.exists():
            return None
        found = list(store.read(path))
        return found if len(found) == self._session.config.rl.batch_size else None


def _digest(bank: SkillBank) -> int:
    """Makes a number of all that a bank says."""
    return zlib.crc32(json.dumps(bank_to_json(bank), sort_keys=True).encode())


def _fingerprint(params: Params) -> list[float]:
    """Makes a few numbers of a policy, by which another one is told from it."""
    return [float(total) for total in _sums(params)]


@jax.jit
def _sums(params: Params) -> tuple[jax.Array, jax.Array]:
    leaves = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(params)]
    return sum(map(jnp.sum, leaves), jnp.float32(0)), sum(
        (jnp.sum(jnp.square(leaf)) for leaf in leaves), jnp.float32(0)
    )


def episodes_file(session: Session, iteration: int) -> Path:
    """Returns the file of an iteration's episodes; its name counts from 1."""
    return session.run.file("rl", "trajectories", f"{iteration + 1:05d}.jsonl")


def read_episodes(session: Session, iterations: range) -> list[Trajectory]:
    """Reads the episodes of iterations; all processes get what the first one reads.

    Raises:
      SkillRLError: a file is missing or corrupt.
    """
    paths = [episodes_file(session, iteration) for iteration in iterations]
    encode: Callable[[list[Trajectory]], Any] = lambda found: list(map(store.to_json, found))  # noqa: E731
    return processes.on_first(
        "episodes since the last event",
        lambda: [trajectory for path in paths for trajectory in store.read(path)],
        encode=encode,
        decode=lambda rows: [store.from_json(row) for row in rows],
    )
