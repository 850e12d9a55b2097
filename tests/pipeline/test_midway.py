"""A run that is killed while RL plays goes on within the episodes of that iteration."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from skillrl.rollouts.journal import Journal
from skillrl.rollouts.store import read
from tests.pipeline import tiny

pytestmark = pytest.mark.slow  # a run, and most of another

KILLED = """
import os, signal, sys
from skillrl.cli import main
from skillrl.rollouts.journal import Journal

limit, *arguments = sys.argv[1:]
keep, kept = Journal.keep_answer, 0

def keep_and_die(self, *what):
    global kept
    keep(self, *what)
    kept += 1
    if kept == int(limit):
        os.kill(os.getpid(), signal.SIGKILL)

Journal.keep_answer = keep_and_die
sys.exit(main.main(arguments))
"""


def answers(path, iterations):
    """How many the engine gave in some iterations of a run."""
    files = (path / "rl" / "trajectories" / f"{number:05d}.jsonl" for number in iterations)
    return sum(len(trajectory.steps) for file in files for trajectory in read(file))


def test_answers_before_the_kill_are_not_asked_for_again(
    compiled, flags, whole, tmp_path, monkeypatch, caplog
):
    path = tmp_path / "run"
    arguments = ["train", *flags(path, checkpoint={"interval": 1, "asynchronous": False})]
    before, second = answers(whole.path, [1]), answers(whole.path, [2])
    limit = before + 2 * second // 3
    environment = {
        **os.environ,
        "PYTHONPATH": str(tiny.ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-c", KILLED, str(limit), *arguments]
    killed = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [file.name[:5] for file in (path / "rl" / "unfinished").iterdir()] == ["00002"]
    asked, keep = 0, Journal.keep_answer

    def count(self, *what):
        nonlocal asked
        asked += 1
        keep(self, *what)

    monkeypatch.setattr(Journal, "keep_answer", count)
    status, _, err = tiny.run(*arguments)
    assert status == 0, err
    assert asked == answers(whole.path, [1, 2, 3, 4]) - limit
    assert f"iteration 2 goes on: {limit - before} answers are there" in caplog.text
    found, wanted = tiny.contents(path), tiny.contents(whole.path)
    same = ("collect/", "distill/", "sft/", "rl/", "banks/", "evaluation/", "policy/")
    for name in sorted({n for n in found | wanted if n.startswith(same)}):
        assert found.get(name) == wanted.get(name), name


def test_what_belongs_to_a_later_policy_goes_where_a_run_goes_further_back(flags, whole, tmp_path):
    """It goes on from iteration 3; a journal of iteration 5 is of a policy made anew."""
    from skillrl.phases import rl_files, unfinished

    path = tmp_path / "run"
    shutil.copytree(whole.path, path)
    with tiny.opened(path) as (run, _, _):
        folder = unfinished._folder(run)
        folder.mkdir()
        try:
            for name in ("00004-0-a.jsonl", "00004-1-b.jsonl", "00005-0-a.jsonl"):
                (folder / name).touch()
            version = max(int(bank.stem) for bank in (path / "banks").iterdir())
            rl_files.cut_off(run, iteration=3, ahead=9, bank_version=version)
            assert sorted(f.name for f in folder.iterdir()) == [
                "00004-0-a.jsonl",
                "00004-1-b.jsonl",
            ]
        finally:
            unfinished.remove(run)
        assert not folder.exists()
