"""What a run wrote is what it reads: corrupt, lost or broken things are said, never used."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.io.checksums import unseal
from skillrl.io.files import read_json
from skillrl.phases import health, sft
from skillrl.phases.build import export, load_policy, publish
from skillrl.phases.session import open_session
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank
from skillrl.training.checkpoint import Checkpoints
from tests.pipeline import tiny

QUIET = "--set=logging.tensorboard=false"


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes: the kernel refuses, whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def flip(path: Path) -> None:
    """Changes the lowest bit of the byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def arrays(checkpoint: Path) -> Path:
    """The largest file of a checkpoint."""
    return max(checkpoint.rglob("*"), key=lambda path: path.is_file() * path.stat().st_size)


@pytest.fixture
def copy(whole, tmp_path):
    """The whole run, to be broken."""
    return Path(shutil.copytree(whole.path, tmp_path / "run"))


def test_everything_that_is_read_again_carries_its_checksum(whole):
    sealed = set()
    for path in whole.path.rglob("*.json*"):
        place = path.relative_to(whole.path)
        if place.parts[0] in ("policy", "checkpoints"):
            continue  # these are sealed as directories
        text = path.read_text("utf-8")
        for row in text.splitlines() if path.suffix == ".jsonl" else [text]:
            unseal(json.loads(row), path, required=True)
        sealed.add(place.as_posix())
    assert sealed >= {
        *("config.json", "phases.json", "summary.json", "wall_seconds.json", "metrics.jsonl"),
        *("collect/trajectories.jsonl", "distill/bank.json", "sft/examples.jsonl"),
        *("rl/evolution.jsonl", "rl/trajectories/00001.jsonl", "evaluation/rl-valid_seen.json"),
    }
    for checkpoint in whole.path.glob("checkpoints/*/*"):
        Checkpoints(checkpoint.parent).check(int(checkpoint.name))


def test_the_summary_has_the_alarms_of_all_rows(whole):
    summary = read_json(whole.path / "summary.json")
    rows = tiny.rows(whole.path / "metrics.jsonl")
    wanted = []
    for phase in ("sft", "rl"):
        wanted += health.alarms(phase, [row for row in rows if row["phase"] == phase])
    assert summary["alarms"] == wanted
    assert whole.out.count("\nalarm: ") == len(wanted)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("phases.json", "[]"),
        ("phases.json", '{"train": "yes"}'),
        ("summary.json", '{"eval": []}'),
        ("summary.json", "null"),
        ("config.json", "[]"),
    ],
)
def test_run_files_of_another_shape_are_one_message(copy, flags, name, content):
    (copy / name).write_text(content)
    status, _, err = tiny.run("train", *flags(copy))
    assert status == 2
    assert name in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_corrupt_checkpoint_is_refused_by_evaluate_and_passed_by_training(
    whole, copy, flags, capfd
):
    bad = [arrays(copy / "checkpoints" / name) for name in ("rl/4", "sft/2")]
    for path in bad:
        flip(path)
    for stage, path in zip(("rl", "sft"), bad, strict=True):
        before = tiny.contents(copy)
        status, _, err = tiny.run(
            "evaluate", *flags(copy), f"--checkpoint={stage}", "--set=evaluation.max_tasks=1"
        )
        assert status == 2
        assert f"{path}: is corrupt" in err
        assert len(err.splitlines()) == 1
        assert tiny.contents(copy) == before
    (copy / "summary.json").unlink()  # so that there is something left to do
    status, _, err = tiny.run("train", *flags(copy), QUIET)
    assert status == 0, err
    kept = {path.relative_to(copy).as_posix() for path in (copy / "checkpoints").glob("*/*")}
    assert kept == {
        *("checkpoints/rl/3", "checkpoints/rl/4", "checkpoints/rl/4.corrupt"),
        *("checkpoints/sft/1", "checkpoints/sft/2", "checkpoints/sft/2.corrupt"),
    }
    now, wanted = tiny.contents(copy), tiny.contents(whole.path)
    same = ("policy/", "rl/", "banks/", "evaluation/", "sft/")
    for name in (name for name in wanted if name.startswith(same)):
        assert now[name] == wanted[name], name  # trained again to the same bits


def test_rl_without_a_whole_checkpoint_begins_nothing(copy, flags):
    for step in (3, 4):
        flip(arrays(copy / "checkpoints" / "rl" / str(step)))
    kept = ("rl/", "banks/", "checkpoints/", "metrics.jsonl", "policy/", "evaluation/")

    def works():
        return {n: d for n, d in tiny.contents(copy).items() if n.startswith(kept)}

    before = works()
    status, _, err = tiny.run("rl", *flags(copy), QUIET)
    assert status == 2
    assert "is corrupt" in err
    assert "No whole checkpoint is left" in err
    assert works() == before
    shutil.rmtree(copy / "checkpoints" / "rl")  # as a copy that left the large files out
    before = works()
    status, _, err = tiny.run("rl", *flags(copy), QUIET)
    assert status == 2
    assert "RL has come to iteration 4 here, but" in err
    assert works() == before


def test_a_policy_that_breaks_ends_rl_and_is_neither_saved_nor_exported(whole, flags, tmp_path):
    broken = {
        "learning_rate": 3e38,
        "training_epochs": 3,
        "max_skipped_updates": 1,
    }
    status, _, err = tiny.run(
        "rl",
        *flags(tmp_path / "run", rl=broken, model={"policy_path": str(whole.path / "policy")}),
        f"--skill_bank={whole.path / 'distill' / 'bank.json'}",
        QUIET,
    )
    assert status == 2
    assert "not finite" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "policy").exists()
    for checkpoint in (tmp_path / "run").glob("checkpoints/rl/*"):
        Checkpoints(checkpoint.parent).check(int(checkpoint.name))


def test_an_alarm_ends_the_run_after_a_checkpoint(whole, flags, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "KL_LIMIT", -1.0)
    path = tmp_path / "run"

    def run(stop):
        return tiny.run(
            "rl",
            *flags(
                path,
                rl={"training_epochs": 2},
                model={"policy_path": str(whole.path / "policy")},
                logging={"stop_on_alarm": stop},
                checkpoint={"interval": 9},
            ),
            f"--skill_bank={whole.path / 'distill' / 'bank.json'}",
            QUIET,
        )

    status, _, err = run(True)
    assert status == 3
    assert "rl step 1: the policy has left its reference" in err.splitlines()[-1]
    assert "Checkpoint 1 is just saved" in err
    assert "stop_on_alarm=false" in err.splitlines()[-1]
    assert Checkpoints(path / "checkpoints" / "rl").steps() == [1]
    status, _, err = run(True)
    assert status == 3
    assert "has come to iteration 1" in err
    status, out, err = run(False)
    assert status == 0, err
    assert "alarm: rl step 1" in out + err
    steps = [row["step"] for row in tiny.rows(path / "metrics.jsonl") if "kl" in row]
    assert steps == [1, 2]


def test_an_alarm_ends_the_cold_start(whole, flags, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_LOSS", 0.0)
    monkeypatch.setattr(health, "_LOSS_FACTOR", 0.0)
    monkeypatch.setattr(health, "_LOSS_ROWS", 3)
    path = tmp_path / "run"
    status, _, err = tiny.run(
        "sft",
        *flags(path, logging={"stop_on_alarm": True}, sft={"epochs": 2, "num_examples": 24}),
        f"--trajectories={whole.path / 'collect' / 'trajectories.jsonl'}",
        f"--skill_bank={whole.path / 'distill' / 'bank.json'}",
        QUIET,
    )
    assert status == 3
    assert "sft step 4: the loss is far above" in err.splitlines()[-1]
    assert "The last good state is that after epoch 1" in err
    assert Checkpoints(path / "checkpoints" / "sft").steps() == [1]


def test_sessions_neither_play_nor_export_what_is_not_finite_or_has_no_room(whole, tmp_path):
    with tiny.opened(whole.path) as (run, model, player):
        config = run.config
        policy = load_policy(run, model)
        leaves, tree = jax.tree.flatten(policy)
        broken = jax.tree.unflatten(tree, [*leaves[:-1], leaves[-1].at[0].set(np.nan)])
        with pytest.raises(SkillRLError, match=r"the policy cannot act: its parameter \w+"):
            publish(config, player, params=broken, version=0)
        target = tmp_path / "policy"
        with pytest.raises(SkillRLError, match=r"is not written: the parameter \w+"):
            export(config, model, params=broken, directory=target)
        assert not target.exists()
        export(config, model, params=policy, directory=target)
        before = tiny.contents(tmp_path)
        with full_disk(5_000), pytest.raises(SkillRLError, match=r"cannot be written .*too large"):
            export(config, model, params=policy, directory=target)
        assert tiny.contents(tmp_path) == before


def test_a_cold_start_goes_on_with_the_examples_that_it_began_with(whole):
    """Whatever the teacher would say now: made of the same, they are read back; else made anew."""
    run_of = lambda: open_session(  # noqa: E731
        Config.from_dict(read_json(whole.path / "config.json")), whole.path, lock=False
    )
    bank = load_bank(whole.path / "distill" / "bank.json")
    trajectories = whole.path / "collect" / "trajectories.jsonl"
    with run_of() as run:
        limit = run.config.sft.num_examples
        inputs = sft._fingerprint(bank, trajectories, limit)
        before = sft._examples_before(run, inputs)
        assert before
        rows = tiny.rows(whole.path / "sft" / "examples.jsonl")
        assert [(e.trajectory, e.step) for e in before] == [
            (row["trajectory"], row["step"]) for row in rows
        ]
        assert sft._examples_before(run, sft._fingerprint(bank, trajectories, limit + 1)) is None
        assert sft._examples_before(run, sft._fingerprint(SkillBank(), trajectories, limit)) is None
