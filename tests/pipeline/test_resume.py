"""Interrupted runs end where an uninterrupted one ends; changed settings are refused."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import signal

import pytest

from skillrl.io.files import read_json
from skillrl.phases.rl_files import _unlink_later
from skillrl.skills.store import load_bank, save_bank
from skillrl.training.checkpoint import Checkpoints
from tests.pipeline import tiny

PER_EPOCH = 3  # updates of SFT: 36 examples in batches of 12


@pytest.fixture(scope="module")
def interrupted(compiled, flags, whole, tmp_path_factory):
    """Stopped by Ctrl-C in SFT and killed in RL, then left to finish in this process."""
    path = tmp_path_factory.mktemp("interrupted") / "run"
    arguments = ["train", *flags(path)]
    ctrl_c = tiny.run_until("sft", PER_EPOCH + 1, signal.SIGINT, *arguments, cache=compiled)
    stopped = tiny.contents(path)
    killed = tiny.run_until("rl", 4, signal.SIGKILL, *arguments, cache=compiled)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = tiny.contents(path)
    with open(path / "metrics.jsonl", "a") as metrics:
        metrics.write('{"phase": "rl", "st')  # what a kill in the middle of a write leaves
    status, out, err = tiny.run(*arguments)
    assert status == 0, err
    return {"path": path, "ctrl_c": ctrl_c, "stopped": stopped, "left": left, "out": out}


@pytest.mark.slow
def test_ctrl_c_says_how_to_continue_and_leaves_nothing_half_written(interrupted):
    done, files = interrupted["ctrl_c"], interrupted["stopped"]
    assert done.returncode == 130
    last = done.stderr.strip().splitlines()[-2:]
    assert "interrupted; nothing is half written" in last[0]
    assert shlex.split(last[1])[:2] == ["skillrl", "train"]
    assert f"--workdir={interrupted['path']}" in last[1]
    assert "Traceback" not in done.stderr
    assert any(name.startswith("checkpoints/sft/1/") for name in files)
    assert not any(name.startswith("checkpoints/sft/2") for name in files)
    assert not [name for name in files if "tmp" in name.lower()]
    assert files["metrics.jsonl"].endswith(b"\n")


@pytest.mark.slow
def test_the_kill_was_after_the_last_checkpoint(interrupted):
    files = interrupted["left"]
    assert any(name.startswith("checkpoints/rl/3/") for name in files)
    assert not any(name.startswith("checkpoints/rl/4") for name in files)
    assert "rl/trajectories/00004.jsonl" in files
    assert b'"step": 4' in files["rl/evolution.jsonl"]


@pytest.mark.slow
def test_an_interrupted_run_ends_like_an_uninterrupted_one(interrupted, whole):
    found, wanted = tiny.contents(interrupted["path"]), tiny.contents(whole.path)
    same = ("collect/", "distill/", "sft/", "rl/", "banks/", "evaluation/", "policy/")
    for name in sorted({n for n in found | wanted if n.startswith(same)}):
        assert found.get(name) == wanted.get(name), name  # the parameters too, bit for bit
    for phase in ("collect", "sft", "rl"):
        rows = [
            [row for row in tiny.rows(path / "metrics.jsonl") if row["phase"] == phase]
            for path in (interrupted["path"], whole.path)
        ]
        assert rows[0] == rows[1]
    first, second = (
        Checkpoints(path / "checkpoints" / "rl").extra(4)
        for path in (interrupted["path"], whole.path)
    )
    assert first == second
    summaries = [read_json(path / "summary.json") for path in (interrupted["path"], whole.path)]
    for key in ("eval", "bank", "curve"):
        assert summaries[0][key] == summaries[1][key]


def test_files_of_ones_own_beside_numbered_ones_stay(tmp_path):
    for name in ("1", "2", "10", "final"):
        (tmp_path / f"{name}.json").touch()
    _unlink_later(tmp_path.glob("*.json"), 1)
    assert set(tiny.contents(tmp_path)) == {"1.json", "final.json"}


def test_settings_that_may_not_change_are_refused_by_name(whole, flags):
    before = tiny.contents(whole.path)
    other = flags(whole.path, rl={**tiny.SETTINGS["rl"], "kl_coeff": 0.5}, seed=6)
    for command in ("train", "rl", "collect"):
        status, _, err = tiny.run(command, *other)
        assert status == 2
        assert "rl.kl_coeff was 0.01, now 0.5" in err
        assert "seed was 5, now 6" in err
        assert "--workdir" in err
    assert tiny.contents(whole.path) == before


def test_another_skill_bank_is_refused_once_rl_has_begun(whole, flags, tmp_path):
    path = tmp_path / "again"
    shutil.copytree(whole.path, path)
    other = tmp_path / "bank.json"
    bank = load_bank(path / "distill" / "bank.json")
    save_bank(dataclasses.replace(bank, skills=bank.skills[1:]), other)
    status, _, err = tiny.run("rl", *flags(path), f"--skill_bank={other}")
    assert status == 2
    assert "began here with another skill bank" in err
    assert "--skill_bank" in err
    same = path / "distill" / "bank.json"
    assert tiny.run("rl", *flags(path), f"--skill_bank={same}")[0] == 0


def test_more_iterations_go_on_from_the_end(whole, flags, tmp_path):
    path = tmp_path / "longer"
    shutil.copytree(whole.path, path)
    longer = flags(path, rl={"training_epochs": 5})
    status, _, err = tiny.run("train", *longer, "--set=logging.tensorboard=false")
    assert status == 0, err
    rows = [
        [row for row in tiny.rows(run / "metrics.jsonl") if row["phase"] == "rl"]
        for run in (path, whole.path)
    ]
    assert rows[0][:4] == rows[1]
    assert [row["step"] for row in rows[0]] == [1, 2, 3, 4, 5]
    old, new = (
        read_json(run / "evaluation" / "rl-valid_unseen.json") for run in (whole.path, path)
    )
    assert (old["policy_version"], new["policy_version"]) == (8, 10)  # evaluated again
    before, after = (tiny.contents(run) for run in (whole.path, path))
    assert before["policy/model.safetensors"] != after["policy/model.safetensors"]
    assert before["evaluation/sft-valid_unseen.json"] == after["evaluation/sft-valid_unseen.json"]
    status, _, err = tiny.run("train", *flags(path))
    assert status == 2
    assert "rl.training_epochs was 5, now 4 (it may only grow)" in err
