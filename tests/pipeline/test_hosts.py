"""A run on two processes is the run of one: the same episodes, the same bank, the same policy."""

from __future__ import annotations

import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from skillrl.io.files import read_json
from tests import hosts
from tests.pipeline import tiny

SHORT: dict[str, Any] = {
    "collect": {"expert_episodes": 12},
    "sft": {"num_examples": 24},
    "rl": {"training_epochs": 2},
    "evolution": {"validation_interval": 1},
    "checkpoint": {"interval": 10},  # at the end of RL, and where it is told to end
}

LONGER = tiny.merged(SHORT, {"rl": {"training_epochs": 4}})

SKILLRL = """
import os, signal, sys
from skillrl.cli import main
from skillrl.parallel import joining
from skillrl.phases.ahead import Rollouts
from skillrl.rollouts import player

joining.HEARTBEAT = 100  # JAX's own; a machine that runs other tests may starve all processes

preempted = os.environ.get("TEST_PREEMPTED_AFTER")  # in the episodes after this iteration
if preempted and "--process_id=1" in sys.argv:
    take, collect = Rollouts.take, player.collect

    def stop(*arguments, on_turn, **others):
        due = [signal.SIGTERM]

        def turn(done):
            while due:
                os.kill(os.getpid(), due.pop())

        return collect(*arguments, on_turn=turn, **others)

    def taken(self, iteration, *arguments, **others):
        if iteration == int(preempted):
            player.collect = stop
        return take(self, iteration, *arguments, **others)

    Rollouts.take = taken

sys.exit(main.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def pair(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """Starts a command on two processes in a folder."""
    script = tmp_path_factory.mktemp("script") / "start.py"
    script.write_text(SKILLRL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield lambda folder, *arguments: hosts.started([script, *arguments], folder)


@pytest.fixture(scope="module")
def one(flags: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    path = tmp_path_factory.mktemp("one") / "run"
    status, _, err = tiny.run("train", *flags(path, **SHORT))
    assert status == 0, err
    return path


@pytest.fixture(scope="module")
def two(flags: Callable, pair: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes; what they said lies beside it."""
    folder = tmp_path_factory.mktemp("two")
    with pair(folder, "train", *flags(folder / "run", **SHORT)) as running:
        statuses = hosts.ends(running, 1500)
    assert statuses == [0, 0], (hosts.said(folder, 0)[-4000:], hosts.said(folder, 1)[-4000:])
    return folder / "run"


@pytest.mark.slow
def test_two_processes_make_the_run_of_one(one: Path, two: Path):
    for name in ("collect/trajectories.jsonl", "distill/bank.json", "sft/examples.jsonl"):
        assert (two / name).read_bytes() == (one / name).read_bytes()
    for number in (1, 2):
        name = f"rl/trajectories/{number:05d}.jsonl"
        assert tiny.played(two / name) == tiny.played(one / name)
    banks = sorted(path.name for path in (one / "banks").iterdir())
    assert len(banks) > 1  # the bank evolved
    assert sorted(path.name for path in (two / "banks").iterdir()) == banks
    for name in banks:
        assert (two / "banks" / name).read_bytes() == (one / "banks" / name).read_bytes()
    assert 0 < tiny.gap(one, two) <= 1e-5  # sums of two halves are other sums
    rows = [tiny.rows(path / "metrics.jsonl") for path in (one, two)]
    for row, other in zip(*rows, strict=True):
        assert (row["phase"], row["step"]) == (other["phase"], other["step"])
        for name in row.keys() & {"success", "invalid", "zero_variance_groups", "bank_version"}:
            assert row[name] == other[name]
    results = [sorted((path / "evaluation").iterdir()) for path in (one, two)]
    assert [read_json(path) for path in results[0]] == [read_json(path) for path in results[1]]
    assert read_json(two / "environment.json")["processes"] == 2
    first, second = hosts.said(two.parent, 0), hosts.said(two.parent, 1)
    assert "mesh.data=2 on 2 processes" in first
    assert first.count("evolution fired") == 1
    ours = ("real:", "mesh.", "warning:", "collect:", "sft:", "rl:", "evaluate", "skills:")
    assert not [line for line in second.splitlines() if line.startswith(ours)]


@pytest.mark.slow
def test_two_processes_evaluate_as_one(one: Path, two: Path, pair: Callable, tmp_path: Path):
    def command(name: str) -> list[str]:
        return ["evaluate", f"--workdir={one}", "--split=valid_seen", f"--output={tmp_path / name}"]

    assert tiny.run(*command("one.json"))[0] == 0
    with pair(tmp_path, *command("two.json")) as running:
        assert hosts.ends(running, 600) == [0, 0], hosts.said(tmp_path, 0)[-4000:]
    found = [read_json(tmp_path / f"{name}.json") for name in ("one", "two")]
    assert found[0]["eval"] == found[1]["eval"]
    names = [f"{name}.valid_seen.jsonl" for name in ("one", "two")]
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes()


@pytest.fixture(scope="module")
def longer(flags: Callable, one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, after two more iterations."""
    path = tmp_path_factory.mktemp("longer") / "run"
    shutil.copytree(one, path)
    status, _, err = tiny.run("train", *flags(path, **LONGER))
    assert status == 0, err
    return path


def wait_for_iteration(number: int, path: Path, running: Sequence[subprocess.Popen]) -> None:
    """Returns half a second into the iteration after `number`."""
    until = time.monotonic() + 900
    while tiny.rows(path / "metrics.jsonl")[-1]["step"] != number:
        assert [process.poll() for process in running] == [None, None], hosts.said(path.parent, 0)
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(0.5)


def is_the_run_of(path: Path, longer: Path) -> None:
    """Checks that a run that changed hosts is the one that did not."""
    steps = [row["step"] for row in tiny.rows(path / "metrics.jsonl") if row["phase"] == "rl"]
    assert steps == [1, 2, 3, 4]
    names = [f"{number:05d}.jsonl" for number in steps]
    assert sorted(file.name for file in (path / "rl" / "trajectories").iterdir()) == names
    for name in names:
        place = Path("rl", "trajectories", name)
        assert tiny.played(path / place) == tiny.played(longer / place)
    banks = sorted(file.name for file in (longer / "banks").iterdir())
    assert sorted(file.name for file in (path / "banks").iterdir()) == banks
    for name in banks:
        assert (path / "banks" / name).read_bytes() == (longer / "banks" / name).read_bytes()
    assert tiny.gap(longer, path) <= 1e-5


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_one_goes_on(
    flags: Callable, two: Path, longer: Path, pair: Callable, tmp_path: Path
):
    path = tmp_path / "run"
    shutil.copytree(two, path)
    command = ["train", *flags(path, **LONGER)]
    with pair(tmp_path, *command) as running:
        wait_for_iteration(3, path, running)
        running[1].send_signal(signal.SIGKILL)
        first, second = hosts.ends(running, 120)
    assert (first != 0, second) == (True, -signal.SIGKILL)
    assert f"error: process 1 on {platform.node()}" in hosts.said(tmp_path, 0)
    status, _, err = tiny.run(*command)
    assert status == 0, err
    is_the_run_of(path, longer)


@pytest.mark.slow
def test_a_preempted_process_ends_both_with_a_checkpoint_and_one_goes_on(
    flags: Callable,
    two: Path,
    longer: Path,
    pair: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    path = tmp_path / "run"
    shutil.copytree(two, path)
    command = ["train", *flags(path, **LONGER)]
    monkeypatch.setenv("TEST_PREEMPTED_AFTER", "3")
    with pair(tmp_path, *command) as running:
        assert hosts.ends(running, 900) == [143, 143]
    words = rf"process 1 on {re.escape(platform.node())}:? was terminated"
    assert re.search(words, hosts.said(tmp_path, 0))
    assert (path / "checkpoints" / "rl" / "3" / "SHA256SUMS").is_file()
    assert not (path / "checkpoints" / "rl" / "4").exists()
    status, _, err = tiny.run(*command)
    assert status == 0, err
    is_the_run_of(path, longer)


@pytest.mark.slow
def test_two_processes_go_on_with_the_run_of_one_and_split_the_policy(
    flags: Callable, one: Path, longer: Path, pair: Callable, tmp_path: Path
):
    path = tmp_path / "run"
    shutil.copytree(one, path)
    with pair(tmp_path, "train", *flags(path, **LONGER), "--set=mesh.fsdp=2") as running:
        statuses = hosts.ends(running, 1500)
    assert statuses == [0, 0], hosts.said(tmp_path, 0)[-4000:]
    is_the_run_of(path, longer)
