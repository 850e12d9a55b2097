"""Episodes in their turn and ahead of the updates: which policy plays what, and what is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skillrl.agent.agent import make_agent
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.inference.base import Generated
from skillrl.parallel import processes
from skillrl.phases import ahead
from skillrl.phases.ahead import Rollouts, episodes_file
from skillrl.phases.rl_files import cut_off
from skillrl.phases.session import Session, open_session
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import Retriever
from skillrl.teacher.hashing_embedder import HashingEmbedder


class Server:
    """An engine of which versions are staged, switched to and played with."""

    slots, tokens = 4, 0

    def __init__(self) -> None:
        self.version, self.staged, self.switched = -1, [], []
        self.hold = threading.Event()  # what holds answers back
        self.hold.set()
        self.broken = False
        self._hand: dict[Any, Any] = {}

    def stage(self, params: Any, version: int) -> Any:
        self.staged.append(version)
        return SimpleNamespace(version=version)

    def switch(self, export: Any) -> None:
        assert not self._hand, "a policy comes while episodes are played with another"
        self.switched.append(export.version)
        self.version = export.version

    def publish(self, params: Any, version: int) -> None:
        self.switch(self.stage(params, version))

    def submit(self, waiting: Any, sampling: Any) -> list[Any]:
        self._hand |= waiting
        return list(waiting)

    def step(self) -> dict[Any, Generated]:
        if self.broken:
            raise SkillRLError("the rollout server is gone")
        if not self.hold.wait(0.05):
            return {}
        done, self._hand = self._hand, {}
        text = "<think>x</think><action>yes</action>"
        return {key: Generated((1,), (-0.5,), True, text) for key in done}

    def reset(self) -> None:
        self._hand = {}


@pytest.fixture
def opened(toy_env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a session that plays so far ahead; it may be opened again."""
    for name in ("stage", "switch"):
        monkeypatch.setattr(
            ahead,
            name,
            lambda player, *given, _do=name, **named: getattr(player.engine, _do)(*given, **named),
        )
    monkeypatch.setattr(
        ahead, "publish", lambda config, player, **named: player.engine.publish(**named)
    )

    @contextlib.contextmanager
    def open_one(staleness: int, **rl: Any) -> Iterator[tuple[Session, Rollouts, Server]]:
        config = Config.from_dict(
            {
                "env": {"name": toy_env},
                "rl": {
                    "batch_size": 4,
                    "group_size": 2,
                    "minibatches": 2,
                    "training_epochs": 5,
                    **rl,
                },
                "rollout": {"engine": "vllm", "max_staleness": staleness},
                "model": {"policy_path": str(tmp_path), "embedder": "hashing"},
                "logging": {"tensorboard": False, "progress": False},
            }
        )
        with open_session(config, tmp_path / f"run{staleness}") as session:
            server = Server()
            player = Player(
                suite=session.suite,
                agent=make_agent(config, session.suite, None),
                engine=server,
                retriever=Retriever(HashingEmbedder(), config.skill_retrieval),
                max_response_length=8,
            )
            with Rollouts(session, player) as rollouts:
                yield session, rollouts, server

    return open_one


def take(rollouts: Rollouts, iteration: int, bank: SkillBank | None = None) -> list[Any]:
    """The episodes of an iteration, before which there were two updates for each before it."""
    bank = SkillBank() if bank is None else bank
    return rollouts.take(iteration, bank, params={}, version=2 * iteration)


def until(what: Any) -> None:
    """Waits until something is so."""
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("staleness", "played"),
    [(0, [0, 2, 4, 6, 8]), (1, [0, 0, 2, 4, 6]), (3, [0, 0, 0, 0, 2])],
)
def test_which_policy_plays_is_so_many_iterations_behind(opened: Any, staleness: int, played: Any):
    with opened(staleness) as (session, rollouts, server):
        found = [take(rollouts, iteration) for iteration in range(5)]
        versions = [{t.policy_version for t in trajectories} for trajectories in found]
        assert versions == [{version} for version in played]
        assert all(len(trajectories) == 4 for trajectories in found)
        assert server.switched == sorted(server.switched)
        for iteration, trajectories in enumerate(found):
            assert list(ahead.store.read(episodes_file(session, iteration))) == trajectories
        assert not episodes_file(session, 5).exists()  # none beyond the last


def test_the_same_tasks_are_played_however_far_ahead(opened: Any):
    tasks = []
    for staleness in (0, 2):
        with opened(staleness) as (_, rollouts, _):
            tasks.append([[t.task.id for t in take(rollouts, n)] for n in range(5)])
    assert tasks[0] == tasks[1]


def test_the_next_iteration_is_played_while_this_one_learns(opened: Any):
    with opened(1) as (session, rollouts, server):
        take(rollouts, 0)
        until(lambda: episodes_file(session, 1).exists())  # nobody has asked for it
        server.hold.clear()
        take(rollouts, 1)  # comes at once, although the server now holds the one after it back
        assert not episodes_file(session, 2).exists()
        server.hold.set()
        assert {t.policy_version for t in take(rollouts, 2)} == {2}


def test_the_bank_is_that_of_the_moment_they_were_begun(opened: Any):
    with opened(1) as (_, rollouts, _):
        later = dataclasses.replace(SkillBank(), version=7)
        take(rollouts, 0)
        assert {t.bank_version for t in take(rollouts, 1, later)} == {0}
        assert {t.bank_version for t in take(rollouts, 2, later)} == {7}


def test_another_policy_waits_until_nothing_is_played(opened: Any):
    """For an examination or an evaluation in between; the server says it if one does not."""
    with opened(2) as (session, rollouts, server):
        take(rollouts, 0)
        rollouts.publish({}, 2)
        assert server.version == 2
        assert episodes_file(session, 1).exists()
        assert episodes_file(session, 2).exists()
        take(rollouts, 1)


def test_a_run_goes_on_with_what_was_played_ahead(opened: Any):
    with opened(2) as (_, rollouts, _):
        first = [take(rollouts, n) for n in range(2)]
        rollouts.drain()  # as before a checkpoint
        before = [take(rollouts, n) for n in range(2, 4)]
    with opened(2) as (session, rollouts, server):
        cut_off(session, iteration=2, ahead=2, bank_version=0)
        assert not episodes_file(session, 4).exists()  # begun after the checkpoint
        assert [take(rollouts, n) for n in range(2, 4)] == before
        assert server.staged == [4]  # for iteration 4, which nobody has played yet
        assert {t.policy_version for t in take(rollouts, 4)} == {4}
    assert {t.policy_version for t in first[1]} == {0}


def test_what_is_not_there_is_played_by_the_policy_of_now(opened: Any):
    with opened(1, training_epochs=2) as (_, rollouts, _):
        for n in range(2):
            take(rollouts, n)
    with opened(1, training_epochs=4) as (_, rollouts, _):  # more than it was begun with
        assert {t.policy_version for t in take(rollouts, 2)} == {4}
        assert {t.policy_version for t in take(rollouts, 3)} == {4}


def test_a_failure_ahead_is_told_when_its_episodes_are_wanted(opened: Any):
    with opened(1) as (session, rollouts, server):
        take(rollouts, 0)
        until(lambda: episodes_file(session, 1).exists())
        server.broken = True
        take(rollouts, 1)
        with pytest.raises(SkillRLError, match="server is gone"):
            take(rollouts, 2)


def test_an_end_in_between_ends_what_is_being_played(opened: Any):
    def begin_and_stop() -> None:
        with opened(1) as (_, rollouts, server):
            take(rollouts, 0)
            server.hold.clear()
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        begin_and_stop()
    assert time.monotonic() - start < ahead._ENDING
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("rollouts")])


def test_several_processes_do_not_play_ahead(opened: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with (
        pytest.raises(SkillRLError, match=r"max_staleness is 1 and the run has 2 processes"),
        opened(1),
    ):
        pass
