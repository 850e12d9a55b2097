"""RL on a server that stands in for vLLM: in its turn, ahead, and on one that dies in between."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skillrl.skills.bank import SkillBank
from skillrl.skills.store import save_bank
from skillrl.types import Skill
from tests.inference.stand_in import StandIn
from tests.pipeline import tiny

pytestmark = pytest.mark.slow  # whole phases

SETTINGS: dict[str, Any] = {
    "env": {"max_steps": 4},
    "model": {"dtype": "float32"},
    "evaluation": {"quick_interval": 3},  # which takes the server from what is played ahead
    "checkpoint": {"interval": 2},
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of one skill."""
    path = tmp_path_factory.mktemp("bank") / "bank.json"
    skill = Skill(id="gen_001", title="Look", principle="Look around first.")
    save_bank(SkillBank((skill,)), path)
    return path


@pytest.fixture(scope="module")
def server(policy: Path) -> Iterator[StandIn]:
    """One server for all runs; each finds it as it was started."""
    with StandIn(policy) as running:
        yield running


@pytest.fixture(scope="module")
def command(flags: Callable[..., list[str]], bank: Path, server: StandIn) -> Callable[..., Any]:
    """Makes the arguments of a run on the server."""

    def make(path: Path, **changes: Any) -> list[str]:
        rollout = {"engine": "vllm", "api_base": server.url, **changes.pop("rollout", {})}
        sections = tiny.merged(tiny.merged(SETTINGS, {"rollout": rollout}), changes)
        return ["rl", *flags(path, **sections), f"--skill_bank={bank}"]

    return make


@pytest.fixture(scope="module")
def in_turn(command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose episodes are played in their turn."""
    path = tmp_path_factory.mktemp("turn") / "run"
    status, _, err = tiny.run(*command(path))
    assert status == 0, err
    return path


@pytest.fixture(scope="module")
def ahead(command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose episodes are played one iteration ahead."""
    path = tmp_path_factory.mktemp("ahead") / "run"
    status, _, err = tiny.run(*command(path, rollout={"max_staleness": 1}))
    assert status == 0, err
    return path


def rl_rows(path: Path) -> list[dict[str, Any]]:
    """Metrics of RL."""
    return [row for row in tiny.rows(path / "metrics.jsonl") if row["phase"] == "rl"]


def without_times(path: Path) -> list[dict[str, Any]]:
    """Metrics of RL but those of publications (times; none where episodes were on disk)."""
    timed = ("publish_seconds", "publish_gap", "checksum")
    return [{k: v for k, v in row.items() if k not in timed} for row in rl_rows(path)]


def results(path: Path) -> dict[str, bytes]:
    """All that a run has learned and played."""
    same = ("rl/trajectories", "rl/evolution", "banks/", "policy/")
    return {name: data for name, data in tiny.contents(path).items() if name.startswith(same)}


def test_it_trains_on_tokens_of_the_server(in_turn: Path):
    rows = rl_rows(in_turn)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert row["publish_gap"] < 1e-4
        assert row["sampler_gap_fresh"] < 1e-4  # of the tokens that it is trained on
        assert "staleness" not in row
        assert "importance" not in row
    labels = set()
    for number in range(1, 5):
        for episode in tiny.rows(in_turn / "rl" / "trajectories" / f"{number:05d}.jsonl"):
            assert episode["policy_version"] == 2 * (number - 1)
            for step in episode["steps"]:
                (span,) = step["versions"]
                assert (span["start"], span["end"]) == (0, len(step["response_ids"]))
                assert span["version"].startswith(f"{episode['policy_version']}-")
                assert len(step["logprobs"]) == len(step["response_ids"]) > 0
                labels.add(span["version"])
    assert len(labels) == 4
    assert len(list((in_turn / "rl" / "published").iterdir())) == 1


def test_in_turn_no_rule_of_importance_matters(
    in_turn: Path, command: Callable[..., Any], tmp_path: Path
):
    """Bit for bit: with rollout.max_staleness=0 the update is the one that there was before."""
    path = tmp_path / "run"
    status, _, err = tiny.run(*command(path, rl={"importance": "masked"}))
    assert status == 0, err
    assert results(path) == results(in_turn)
    assert without_times(path) == without_times(in_turn)


def test_a_server_that_dies_and_returns_changes_nothing(
    in_turn: Path,
    command: Callable[..., Any],
    server: StandIn,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    """No episode is lost: the run is, bit for bit, the one of a server that did not die."""
    path = tmp_path / "run"
    deaths = []

    def playing() -> int:
        asked = server.asked("/inference/v1/generate")
        return sum(body["sampling_params"]["max_tokens"] > 1 for body in asked)

    def kill() -> None:
        played = path / "rl" / "trajectories"
        until = time.monotonic() + 600
        for number in (1, 3):
            while not (played / f"{number:05d}.jsonl").exists() and time.monotonic() < until:
                time.sleep(0.02)
            before, server.slow = playing(), 0.3
            while playing() < before + 3 and time.monotonic() < until:
                time.sleep(0.002)
            server.die()
            deaths.append(number)
            server.slow = 0.0
            time.sleep(0.5)
            server.revive()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    status, _, err = tiny.run(*command(path))
    killer.join(30)
    assert status == 0, err
    assert deaths == [1, 3]
    assert "asked again when the server has policy" in caplog.text + err
    assert results(path) == results(in_turn)


def test_one_iteration_ahead(ahead: Path):
    rows = rl_rows(ahead)
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1]
    for row in rows:
        assert 0 < row["importance"] <= 2
        assert 0 <= row["importance_bounded"] <= 1
        assert row["importance_dropped"] == 0  # the rule `token` drops nothing
        assert row["publish_gap"] < 1e-4
    assert rows[0]["stale_gap"] < 1e-4
    assert min(row["stale_gap"] for row in rows[1:]) > 1e-4  # another policy has sampled
    for number, version in zip(range(1, 5), (0, 0, 2, 4), strict=True):
        for episode in tiny.rows(ahead / "rl" / "trajectories" / f"{number:05d}.jsonl"):
            assert episode["policy_version"] == version
            spans = {span["version"] for step in episode["steps"] for span in step["versions"]}
            assert {span.partition("-")[0] for span in spans} == {str(version)}


def test_a_killed_run_goes_on_with_the_episodes_played_ahead(
    ahead: Path, command: Callable[..., Any], server: StandIn, compiled: Path, tmp_path: Path
):
    path = tmp_path / "run"
    arguments = command(path, rollout={"max_staleness": 1})
    killed = tiny.run_until("rl", 3, signal.SIGKILL, *arguments, cache=compiled)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(p.name for p in (path / "checkpoints" / "rl").iterdir()) == ["2"]
    third = (path / "rl" / "trajectories" / "00003.jsonl").read_bytes()
    server.die()
    server.revive()  # with the policy that it was started with
    status, _, err = tiny.run(*arguments)
    assert status == 0, err
    assert (path / "rl" / "trajectories" / "00003.jsonl").read_bytes() == third
    assert results(path) == results(ahead)
    assert without_times(path) == without_times(ahead)


def test_sigterm_while_ahead_leaves_the_last_checkpoint(
    ahead: Path, command: Callable[..., Any], compiled: Path, tmp_path: Path
):
    path = tmp_path / "run"
    arguments = command(path, rollout={"max_staleness": 1})
    ended = tiny.run_until("rl", 3, signal.SIGTERM, *arguments, cache=compiled)
    assert ended.returncode == 143, ended.stderr
    assert sorted(p.name for p in (path / "checkpoints" / "rl").iterdir()) == ["2"]
    assert tiny.run(*arguments)[0] == 0
    assert results(path) == results(ahead)


def test_an_adapter_is_trained_on_the_server(
    command: Callable[..., Any], server: StandIn, tmp_path: Path
):
    path = tmp_path / "run"
    lora = {"lora": {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "down_proj"]}}
    status, _, err = tiny.run(*command(path, rollout={"max_staleness": 1}, **lora))
    assert status == 0, err
    rows = rl_rows(path)
    assert max(row["publish_gap"] for row in rows) < 1e-4
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1]
    assert len(server.adapters) == 1
    (name,) = server.adapters
    assert name.partition("-")[0] == "6"  # before the last iteration


@pytest.fixture(autouse=True)
def _as_new(server: StandIn) -> Iterator[None]:
    yield
    with contextlib.suppress(OSError):
        server.die()
    server.revive()


def test_a_run_may_go_on_with_another_server(
    in_turn: Path, command: Callable[..., Any], policy: Path, tmp_path: Path
):
    """The address is no part of what a run is."""
    path = tmp_path / "run"
    shutil.copytree(in_turn, path)
    with StandIn(policy) as other:
        arguments = command(path, rollout={"api_base": other.url}, rl={"training_epochs": 5})
        status, _, err = tiny.run(*arguments)
    assert status == 0, err
    assert [row["step"] for row in rl_rows(path)] == [1, 2, 3, 4, 5]
