"""Exports: what is loaded from one again, what its card says, and what it never overwrites."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess

import jax
import numpy as np
import pytest
import yaml

import skillrl
from skillrl import SkillRLError
from skillrl.config import presets
from skillrl.config.as_command import flags as flags_of
from skillrl.config.settings import Config, public_dict
from skillrl.io.files import read_json, write_sealed
from skillrl.models import lora, weights
from skillrl.phases import export_source, saved
from skillrl.phases.run_directory import RunDirectory, recorded_config
from skillrl.phases.stages import load_stage
from skillrl.skills.store import load_bank
from tests.pipeline import tiny


@pytest.fixture(scope="module")
def exported(whole, tmp_path_factory):
    """The last policy of a finished run, exported while a process holds its lock."""
    output = tmp_path_factory.mktemp("export") / "agent"
    before = tiny.contents(whole.path)
    with RunDirectory(whole.path, recorded_config(whole.path)):
        locked = tiny.contents(whole.path)
        status, out, err = tiny.run("export", f"--workdir={whole.path}", f"--output={output}")
        assert tiny.contents(whole.path) == locked
    assert status == 0, err
    assert "checkpoint 4 of rl, whole weights" in out
    assert before.keys() == locked.keys()
    return output


@pytest.fixture(scope="module")
def front(exported):
    """The card's front matter, as any YAML reader sees it."""
    start, matter, _ = (exported / "README.md").read_text("utf-8").split("---\n", 2)
    assert start == ""
    return yaml.safe_load(matter)


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_what_is_loaded_again_is_the_policy_bit_for_bit(whole, exported):
    with tiny.opened(whole.path) as (run, model, _):
        policy, bank = load_stage(run, model, "rl")
        again = skillrl.load_policy(exported)
        same(again.params, policy)
        assert again.config.vocab_size == model.config.vocab_size
        assert again.tokenizer.encode("look around") == model.tokenizer.encode("look around")
    assert load_bank(exported / "skill_bank.json") == bank
    skills = load_bank(exported / "skills")
    assert [skill.id for skill in skills.skills] == [skill.id for skill in bank.skills]


def test_the_weights_are_those_that_the_run_left_and_sha256sum_agrees(whole, exported):
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (exported / name).read_bytes() == (whole.path / "policy" / name).read_bytes()
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=exported, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    listed = {line[66:] for line in (exported / "SHA256SUMS").read_text().splitlines()}
    assert listed == tiny.contents(exported).keys() - {"SHA256SUMS"}
    assert not [path for path in exported.parent.iterdir() if path != exported]


def test_the_front_matter_has_the_results_with_their_intervals(whole, front):
    assert front["library_name"] == "transformers"
    assert front["base_model"] == "model"  # a directory of this machine, by its last name
    assert {"skillrl", "grpo", "alfworld"} <= set(front["tags"])
    (entry,) = front["model-index"]
    summary = read_json(whole.path / "summary.json")["eval"]["rl"]
    assert {result["dataset"]["split"] for result in entry["results"]} == summary.keys()
    for result in entry["results"]:
        wanted = summary[result["dataset"]["split"]]
        (metric,) = result["metrics"]
        assert metric["value"] == pytest.approx(wanted["success"], abs=1e-4)
        assert metric["args"]["n"] == wanted["n"] == 3
        assert metric["args"]["low"] == pytest.approx(wanted["low"], abs=1e-4)
        assert metric["args"]["high"] == pytest.approx(wanted["high"], abs=1e-4)
        assert "n = 3, 95 % interval" in metric["name"]


def test_the_hubs_own_reader_takes_the_card(exported):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    card = huggingface_hub.ModelCard((exported / "README.md").read_text("utf-8"))
    results = card.data.eval_results
    assert [result.dataset_split for result in results] == ["valid_seen", "valid_unseen"]
    assert all(result.metric_type == "success_rate" for result in results)


def test_the_card_names_no_place_and_no_key_of_the_machine(whole, exported):
    text = (exported / "README.md").read_text("utf-8") + (
        exported / "skillrl_export.json"
    ).read_text("utf-8")
    for word in (
        str(whole.path),
        str(whole.path.parent),
        str(exported.parent),
        "-in-config",
        "/tmp",
    ):
        assert word not in text
    assert "--set=model.policy_path=PATH/model" in text


def test_the_command_of_the_card_has_the_settings_of_the_run(whole, exported):
    text = (exported / "README.md").read_text("utf-8")
    (line,) = re.findall(r"```bash\n(skillrl train .*)\n```", text)
    config = recorded_config(whole.path)
    shown = shlex.split(line)[2:]
    assert len(shown) < 45  # of more than 150 settings: by a preset
    assert public_dict(parsed(shown).config) == public_dict(
        Config.from_dict({"model": {"policy_path": "PATH/model"}}, base=config)
    )
    assert parsed(flags_of(config)).config == config


def parsed(arguments):
    """What flags of a run resolve to."""
    values = {"--set": [], "--config": []}
    mock = "--mock" in arguments
    for name, _, value in (argument.partition("=") for argument in arguments):
        values.setdefault(name, []).append(value)
    return presets.resolve(
        values["--env"][0],
        mock=mock,
        config_path=values["--config"],
        overrides=values["--set"],
        flags={"seed": int(values["--seed"][0]) if "--seed" in values else None},
    )


def test_the_card_has_the_tables(whole, exported):
    text = (exported / "README.md").read_text("utf-8")
    bank = load_bank(exported / "skill_bank.json")
    summary = read_json(whole.path / "summary.json")
    assert f"version {bank.version} of the bank: {len(bank)} skills" in text
    assert text.count("| **RL, 8 updates** |") == 2  # four iterations of two minibatches
    assert "| base | valid_unseen |" in text
    rows = re.findall(r"^\| (\d+) \| (\d+) \|((?: \d+ \|){5})$", text, re.M)
    counts = [sum(map(int, re.findall(r"\d+", row[2]))) for row in rows]
    assert sum(counts) == len(bank.history) > 0
    assert {int(row[1]) for row in rows} >= {event["step"] for event in summary["bank"]["events"]}
    for words in ('skillrl.load_policy("DIR")', "AutoModelForCausalLM", "vllm serve DIR"):
        assert words in text
    assert "Simulated in this run: environment: alfworld" in text


@pytest.mark.parametrize(("asked", "stage"), [("3", "rl"), ("sft", "sft"), ("base", "base")])
def test_an_earlier_policy_has_its_own_bank_and_no_results_of_another(
    whole, tmp_path, asked, stage
):
    made = skillrl.export(whole.path, tmp_path / "agent", checkpoint=asked)
    assert (made.stage, made.path) == (stage, tmp_path / "agent")
    again = skillrl.load_policy(made.path)
    text = (made.path / "README.md").read_text("utf-8")
    with tiny.opened(whole.path) as (run, model, _):
        if asked == "3":
            same(again.params, saved.read(run.run, model, "rl", step=3).trained)
            assert "model-index" not in text  # only iteration 4 was evaluated
            versions = {event.version for event in load_bank(made.path / "skill_bank.json").history}
            assert max(versions, default=0) < load_bank_version(whole.path)
            return
        policy, bank = load_stage(run, model, stage)
    same(again.params, policy)
    assert load_bank(made.path / "skill_bank.json") == bank
    assert (made.path / "skills").is_dir() == (stage == "sft")
    assert "model-index" in text


def load_bank_version(run):
    return max(int(path.stem) for path in (run / "banks").glob("*.json"))


def test_a_run_that_goes_on_replaces_the_checkpoint_that_is_read(whole, tmp_path, monkeypatch):
    """The latest at first is gone when it is read; the one that took its place is exported."""
    run = tmp_path / "run"
    shutil.copytree(whole.path, run)
    shutil.move(run / "checkpoints" / "rl" / "4", tmp_path / "later")
    read, asked = saved.read, []

    def replaced(directory, model, phase, *, step):
        asked.append(step)
        if step == 3 and (run / "checkpoints" / "rl" / "3").is_dir():
            shutil.rmtree(run / "checkpoints" / "rl" / "3")
            shutil.move(tmp_path / "later", run / "checkpoints" / "rl" / "4")
        return read(directory, model, phase, step=step)

    monkeypatch.setattr(saved, "read", replaced)
    made = skillrl.export(run, tmp_path / "agent")
    assert (made.step, asked) == (4, [3, 4])


def test_a_checkpoint_that_is_asked_for_by_its_number_is_not_another(whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(whole.path, run)
    with pytest.raises(SkillRLError, match=r"no checkpoint 2 in .*there are: 3, 4"):
        skillrl.export(run, tmp_path / "agent", checkpoint="2")
    read = saved.read

    def replaced(directory, model, phase, *, step):
        shutil.rmtree(run / "checkpoints" / "rl" / "3")
        return read(directory, model, phase, step=step)

    monkeypatch.setattr(saved, "read", replaced)
    with pytest.raises(SkillRLError, match="--checkpoint=3: the run has replaced it by newer"):
        skillrl.export(run, tmp_path / "agent", checkpoint="3")
    assert not (tmp_path / "agent").exists()


def test_an_export_replaces_an_earlier_one_and_nothing_else(whole, exported, tmp_path):
    place = tmp_path / "agent"
    shutil.copytree(exported, place)
    assert skillrl.export(whole.path, place, checkpoint="sft").stage == "sft"
    assert "cold start" in (place / "README.md").read_text("utf-8")

    def refused(words):
        before = tiny.contents(tmp_path)
        with pytest.raises(SkillRLError, match=words):
            skillrl.export(whole.path, place)
        assert tiny.contents(tmp_path) == before

    (place / "notes.txt").write_text("mine")
    refused("earlier export and notes.txt, which is not of it; nothing was touched")
    (place / "notes.txt").unlink()
    card = (place / "README.md").read_text("utf-8")
    (place / "README.md").write_text(card + "\nMy words.\n")
    refused("changed since .*README.md: is corrupt")
    shutil.rmtree(place)
    shutil.copytree(whole.path / "policy", place)
    refused(r"is no earlier export \(it has no skillrl_export.json\)")
    shutil.rmtree(place)
    place.write_text("a file")
    refused("is a file")


def test_what_cannot_be_exported_is_refused_by_its_name(whole, tmp_path):
    for words, options in (
        ("--format=gguf: no such format of an export; there are: hf", {"format": "gguf"}),
        ("--checkpoint=best: give one of base, sft, rl, or the number", {"checkpoint": "best"}),
        ("--adapter: lora.rank is 0", {"adapter": True}),
    ):
        with pytest.raises(SkillRLError, match=words):
            skillrl.export(whole.path, tmp_path / "agent", **options)
    with pytest.raises(SkillRLError, match="has no run in it"):
        skillrl.export(tmp_path / "nowhere", tmp_path / "agent")
    write_sealed(tmp_path / "new" / "config.json", public_dict(Config()))
    with pytest.raises(SkillRLError, match=r"has trained no policy yet.*--checkpoint=base"):
        skillrl.export(tmp_path / "new", tmp_path / "agent")
    status, _, err = tiny.run("export", f"--workdir={whole.path}")
    assert status == 2
    assert "export needs --output=DIR" in err
    assert not (tmp_path / "agent").exists()


def test_a_base_is_named_as_others_may():
    for path, name in (
        ("", "Qwen/Qwen2.5-7B-Instruct"),
        ("/data/models/mine/", "mine"),
        ("asset:tiny_qwen2_alfworld", "asset:tiny_qwen2_alfworld"),
        ("/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/0a1b", "Qwen/Qwen3-8B"),
    ):
        config = Config.from_dict({"model": {"policy_path": path}})
        assert export_source.base_name(config) == name


@pytest.mark.slow
def test_an_adapter_holds_all_that_was_learned(compiled, flags, policy, tmp_path):
    """On the base policy it is the policy of the run, and PEFT's settings describe it."""
    run = tmp_path / "run"
    shape = {"rank": 4, "alpha": 8.0, "targets": ["q_proj", "v_proj", "down_proj"]}
    status, _, err = tiny.run("train", *flags(run, lora=shape))
    assert status == 0, err
    made = skillrl.export(run, tmp_path / "agent", adapter=True)
    settings = json.loads((made.path / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"]) == (8, 16.0)  # of cold start and RL together
    assert settings["base_model_name_or_path"] == "model"
    again = skillrl.load_policy(policy, adapter=made.path)
    wanted = weights.load(run / "policy", weights.read_config(run / "policy"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again.params, wanted)
    sft = skillrl.export(run, tmp_path / "sft", adapter=True, checkpoint="sft")
    found, _ = lora.load(sft.path, again.config)
    kept, _ = lora.load(run / "sft" / "adapter", again.config)
    same(found, kept)
    merged = skillrl.export(run, tmp_path / "merged")
    same(skillrl.load_policy(merged.path).params, wanted)
    text = (made.path / "README.md").read_text("utf-8")
    assert "--max-lora-rank 8" in text
    with pytest.raises(SkillRLError, match="the base policy has no adapter"):
        skillrl.export(run, tmp_path / "agent", adapter=True, checkpoint="base")
