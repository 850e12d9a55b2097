"""A real ablation in miniature: stopped, started again, its arms ordinary runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skillrl.ablation.arms import ARMS
from skillrl.ablation.fork import fork
from skillrl.config import presets
from skillrl.errors import SkillRLError
from skillrl.io.files import read_json
from skillrl.skills.store import load_bank
from tests.pipeline import tiny

pytestmark = pytest.mark.examples  # two minutes of processes that compile

SMALL = {
    "collect": {"episodes": 2, "expert_episodes": 6},
    "sft": {"epochs": 1},
    "rl": {"training_epochs": 1, "warmup_iterations": 0},
    "evaluation": {"max_tasks": 1, "quick_tasks": 0, "final_splits": ["valid_unseen"]},
}


@pytest.fixture(scope="module")
def arguments(flags, tmp_path_factory):
    path = tmp_path_factory.mktemp("ablation") / "all"
    config, *_ = flags(path, **SMALL)
    return ["ablate", config, f"--workdir={path}", f"--seeds={tiny.SEED}", "--arms=grpo"]


@pytest.fixture(scope="module")
def finished(arguments, compiled, tmp_path_factory):
    """The arm `grpo` and the cold start whose episodes it shares: stopped by SIGTERM, resumed."""
    path = Path(arguments[2].partition("=")[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tiny.ROOT))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        command = [sys.executable, "-m", "skillrl", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wanted, until = path / f"seed{tiny.SEED}" / "sft" / "collect", time.monotonic() + 200
        while not wanted.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, stopped = process.communicate(timeout=100)
        left = tiny.contents(path)
        status, out, err = tiny.run(*arguments)
        assert status == 0, err
        again = tiny.run(*arguments)
    return {
        "path": path,
        "stopped": (process.returncode, stopped),
        "left": left,
        "out": out,
        "again": again,
    }


def test_a_stopped_ablation_says_how_to_go_on(finished):
    status, said = finished["stopped"]
    assert status == 143
    assert "The same command continues" in said
    assert not any(name.endswith("summary.json") for name in finished["left"])


def test_an_arm_is_a_run_that_shares_what_its_parent_collected(finished):
    seed = finished["path"] / f"seed{tiny.SEED}"
    parent, arm = tiny.contents(seed / "sft"), tiny.contents(seed / "grpo")
    for name in ("collect/trajectories.jsonl", "distill/bank.json"):
        assert arm[name] == parent[name]
    assert any(name.startswith("checkpoints/sft/0/") for name in arm)  # no cold start
    assert "policy/config.json" in arm
    summary = read_json(seed / "grpo" / "summary.json")
    assert summary["eval"]["rl"]["valid_unseen"]["skills_per_task"] == 0
    assert "collect" not in summary["wall_seconds"]
    status, out, err = tiny.run("inspect", seed / "grpo")
    assert status == 0, err
    assert str(seed / "grpo") in out


def test_the_tables_are_printed_and_kept(finished):
    found = read_json(finished["path"] / "ablation.json")
    (row,) = found["success"]
    assert (row["arm"], row["checkpoint"], row["bank"]) == ("grpo", "rl", "none")
    assert row["splits"]["valid_unseen"]["n"] == 1
    assert len(found["curves"]["grpo"][0]) == 1
    assert "grpo: rl, none" in finished["out"]
    assert found["table"] in finished["out"]


def test_what_is_finished_is_not_run_again(finished):
    status, out, _ = finished["again"]
    assert status == 0
    assert "begins" not in out
    assert out.strip() == read_json(finished["path"] / "ablation.json")["table"].strip()


def test_other_settings_are_refused_before_anything_runs(finished, arguments):
    status, _, err = tiny.run(*arguments, "--set=rl.kl_coeff=0.5")
    assert status == 2
    assert "arm sft: " in err
    assert "rl.kl_coeff was 0.01, now 0.5" in err


def config_of(flag, arm):
    """Settings of an arm, with those of the tiny run."""
    return presets.resolve(
        config_path=flag.partition("=")[2],
        overrides=ARMS[arm].settings,
        flags={"seed": tiny.SEED},
    ).config


def test_a_fork_is_all_that_is_shared_or_nothing(whole, tmp_path):
    source = config_of(whole.flags[0], "full")
    for name, phases in (
        ("full", {"collect", "distill", "sft"}),
        ("no_hierarchy", {"collect", "distill"}),
    ):
        target = tmp_path / name
        fork(
            ARMS[name],
            config_of(whole.flags[0], name),
            parent=whole.path,
            parent_config=source,
            target=target,
        )
        found, there = tiny.contents(target), tiny.contents(whole.path)
        assert phases == set(read_json(target / "phases.json"))
        assert any(part.startswith("checkpoints/sft/") for part in found) == (name == "full")
        assert not any(part.startswith(("rl/", "checkpoints/rl/", "banks/")) for part in found)
        assert not any(part.startswith("evaluation/rl-") for part in found)
        same = [part for part in found if part not in ("config.json", "phases.json")]
        assert all(found[part] == there[part] for part in same)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "no_hierarchy"]


def test_a_fork_for_raw_trajectories_has_a_bank_of_them(whole, tmp_path):
    target, config = tmp_path / "raw", config_of(whole.flags[0], "raw_trajectories")
    fork(
        ARMS["raw_trajectories"],
        config,
        parent=whole.path,
        parent_config=config_of(whole.flags[0], "full"),
        target=target,
    )
    bank = load_bank(target / "distill" / "bank.json")
    assert len(bank) > 0
    assert all(skill.id.startswith("raw_") for skill in bank.skills)
    assert "go to" in bank.skills[0].principle


def test_a_fork_of_what_is_not_finished_is_refused(whole, tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / "phases.json").write_bytes((whole.path / "phases.json").read_bytes())
    arm = ARMS["full"]
    with pytest.raises(SkillRLError, match="has not finished later"):
        fork(
            type(arm)(name="x", what="x", parent="sft", shares=("later",), played=()),
            config_of(whole.flags[0], "full"),
            parent=parent,
            parent_config=config_of(whole.flags[0], "full"),
            target=tmp_path / "x",
        )
    assert not (tmp_path / "x").exists()
