"""What one `skillrl train` does and leaves behind."""

from __future__ import annotations

import json
import math
import re

import jax
import numpy as np
import pytest

from skillrl.evaluation.intervals import wilson
from skillrl.io.files import read_json
from skillrl.models import weights
from skillrl.models.tokenizer import Tokenizer
from skillrl.phases.stages import load_stage
from skillrl.rollouts import store
from skillrl.skills.store import load_bank
from tests.pipeline import tiny

ITERATIONS = tiny.SETTINGS["rl"]["training_epochs"]
MINIBATCHES = tiny.SETTINGS["rl"]["minibatches"]


@pytest.fixture(scope="module")
def summary(whole) -> dict:
    return read_json(whole.path / "summary.json")


@pytest.fixture(scope="module")
def policies(whole) -> dict:
    """Parameters by stage."""
    with tiny.opened(whole.path) as (run, model, _):
        return {stage: load_stage(run, model, stage)[0] for stage in ("base", "sft", "rl")}


def distance(first, second) -> float:
    leaves = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), first, second)
    return max(jax.tree.leaves(leaves))


def test_the_run_directory_holds_what_the_documentation_lists(whole):
    files = tiny.contents(whole.path)
    for name in (
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "phases.json",
        "summary.json",
        "collect/trajectories.jsonl",
        "distill/bank.json",
        "sft/examples.jsonl",
        "evaluation/base-valid_unseen.json",
        "evaluation/sft-valid_unseen.json",
        "evaluation/rl-valid_unseen.json",
        "evaluation/rl-valid_seen.json",
        "policy/config.json",
        "policy/model.safetensors",
        "policy/tokenizer.json",
        *(f"rl/trajectories/{i + 1:05d}.jsonl" for i in range(ITERATIONS)),
    ):
        assert files.get(name), name
    for phase in ("collect", "sft", "rl"):
        assert any(name.startswith(f"tensorboard/{phase}/") for name in files)
    steps = {p.name for p in (whole.path / "checkpoints" / "rl").iterdir()}
    assert steps == {"3", "4"}  # every third iteration and the last
    assert (whole.path / "checkpoints" / "sft" / "2").is_dir()
    assert not [name for name in files if ".tmp" in name]


def test_summary(summary, whole):
    assert {stage: set(splits) for stage, splits in summary["eval"].items()} == {
        "base": {"valid_unseen"},
        "sft": {"valid_unseen"},
        "rl": {"valid_unseen", "valid_seen"},
    }
    for splits in summary["eval"].values():
        for result in splits.values():
            assert result["n"] == tiny.SETTINGS["evaluation"]["max_tasks"]
            won = round(result["success"] * result["n"])
            assert (result["low"], result["high"]) == pytest.approx(wilson(won, result["n"]))
            parts = result["by_category"].values()
            assert len(parts) == 6
            assert sum(part["n"] for part in parts) == result["n"]
            for part in parts:
                assert set(part) == {"success", "n", "low", "high"}
    assert summary["eval"]["base"]["valid_unseen"]["skills"] == 0
    assert summary["eval"]["sft"]["valid_unseen"]["skills"] == summary["bank"]["initial"] > 0
    assert summary["bank"]["final"] == len(load_bank(newest(whole)))
    assert [event["step"] for event in summary["bank"]["events"]] == [2, 4]
    assert set(summary["wall_seconds"]) == {
        *("collect", "distill", "sft", "rl"),
        *("evaluate base", "evaluate sft", "evaluate rl"),
    }
    assert all(seconds >= 0 for seconds in summary["wall_seconds"].values())
    simulated = " ".join(summary["simulated"])
    assert all(part in simulated for part in ("environment", "teacher", "embedder"))
    assert "policy" not in simulated  # it was given by its path


def newest(whole):
    return max((whole.path / "banks").glob("*.json"), key=lambda path: int(path.stem))


def test_the_final_table_is_printed(whole, summary):
    for words in ("base valid_unseen", "sft valid_unseen", "rl valid_seen", "RL - SFT"):
        assert words in whole.out
    bank = summary["bank"]
    assert f"skills: {bank['initial']} -> {bank['final']}" in whole.out
    assert str(whole.path / "policy") in whole.out
    assert whole.out.startswith("real:")
    for phase in ("collect", "sft", "rl"):
        assert f"\n{phase}: " in whole.err


def test_weights_really_change(policies):
    assert distance(policies["base"], policies["sft"]) > 1e-3
    assert distance(policies["sft"], policies["rl"]) > 1e-4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(policies["rl"]))


def test_the_exported_policy_is_the_last_checkpoint(whole, policies):
    directory = whole.path / "policy"
    loaded = weights.load(directory, weights.read_config(directory))
    assert distance(loaded, policies["rl"]) == 0
    assert Tokenizer.load(directory).vocab_size == weights.read_config(directory).vocab_size


def test_rollouts_are_tagged_with_policy_and_bank(whole):
    for iteration in range(ITERATIONS):
        played = list(store.read(whole.path / "rl" / "trajectories" / f"{iteration + 1:05d}.jsonl"))
        assert len(played) == tiny.SETTINGS["rl"]["batch_size"]
        assert {t.policy_version for t in played} == {iteration * MINIBATCHES}
        (version,) = {t.bank_version for t in played}
        known = {s.id for s in load_bank(whole.path / "banks" / f"{version}.json").skills}
        for trajectory in played:
            assert trajectory.skills
            assert set(trajectory.skills) <= known
        groups = [(t.task.id, t.member) for t in played]
        assert [member for _, member in groups] == [0, 1, 0, 1]
        assert groups[0][0] == groups[1][0] != groups[2][0] == groups[3][0]


def test_the_bank_evolves_and_its_new_words_are_read(whole, summary):
    first, second = summary["bank"]["events"]
    changed = [*first["added"], *first["refined"]]
    assert changed
    before = load_bank(whole.path / "banks" / f"{first['bank_before']}.json")
    after = load_bank(whole.path / "banks" / f"{first['bank_after']}.json")
    for name in changed:
        skill = after.get(name)
        assert skill not in before.skills
        assert skill.provenance.step == 2
        assert skill.provenance.sources
        assert all(source.startswith("train/") for source in skill.provenance.sources)
    later = list(store.read(whole.path / "rl" / "trajectories" / "00003.jsonl"))
    assert {t.bank_version for t in later} == {first["bank_after"]}
    assert set(changed) & {name for t in later for name in t.skills}
    assert summary["bank"]["evolved_skills_used"]
    assert second["bank_before"] == first["bank_after"]


def test_metrics(whole):
    table = tiny.rows(whole.path / "metrics.jsonl")
    sft = [row for row in table if row["phase"] == "sft"]
    assert [row["step"] for row in sft] == [1, 2, 3, 4, 5, 6]
    assert sft[-1]["loss"] < sft[0]["loss"]
    rl = [row for row in table if row["phase"] == "rl"]
    assert [row["step"] for row in rl] == list(range(1, ITERATIONS + 1))
    for row in rl:
        assert None not in row.values()
        assert row["sampler_gap_fresh"] < 1e-4
        assert row["kl"] >= 0
        assert 0 <= row["padding"] < 1
        assert row["success"] == 0  # the policy speaks no English yet
        assert row["invalid"] > 0.5
        assert row["episodes"] == tiny.SETTINGS["rl"]["batch_size"]
        assert row["grad_norm"] > 0
        assert row["skipped"] == 0
    assert rl[-1]["kl"] > 0
    assert [("quick_valid_unseen" in row) for row in rl] == [False, True, False, True]


def test_sft_examples_are_of_successes_only(whole):
    examples = tiny.rows(whole.path / "sft" / "examples.jsonl")
    won = {t.id for t in store.read(whole.path / "collect" / "trajectories.jsonl") if t.won}
    assert len(examples) == tiny.SETTINGS["sft"]["num_examples"]
    assert {example["trajectory"] for example in examples} <= won
    assert all("Skills for this task:" in example["prompt"] for example in examples)


def test_no_key_is_printed_or_kept(whole):
    keys = re.compile(rb"sk-(?:policy|teacher|openai)-in-")  # long: a checkpoint is random bytes
    for name, content in tiny.contents(whole.path).items():
        assert not keys.search(content), name
    assert "sk-" not in whole.out + whole.err


def test_a_finished_run_reprints_its_table_and_changes_nothing(whole):
    before = tiny.contents(whole.path)
    status, out, err = tiny.run("train", *whole.flags)
    assert status == 0, err
    assert out == whole.out
    after = tiny.contents(whole.path)
    ours = {".lock", "environment.json"}  # of the latest session
    assert {k: v for k, v in after.items() if k not in ours} == {
        k: v for k, v in before.items() if k not in ours
    }
    assert math.isfinite(json.loads(after["summary.json"])["wall_seconds"]["rl"])
