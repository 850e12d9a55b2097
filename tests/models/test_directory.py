"""Directories that are no model: called what they are, with the way to one."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.models import directory, hub, weights
from skillrl.phases import prerequisites

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(FIXTURES / "qwen2", tmp_path / "model"))


def refused(path, *words):
    with pytest.raises(SkillRLError) as error:
        hub.resolve(path, None)
    for word in (str(path), *words):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def fill(path, *names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ((), "it is empty"),
        (("pytorch_model.bin",), "save_pretrained('NEW')"),
        (("pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"), "PyTorch's own"),
        (("consolidated.00.pth",), "consolidated.00.pth"),
        (("model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"), "verl.model_merger"),
        (("zero_to_fp32.py", "latest"), "zero_to_fp32.py"),
        (("__0_0.distcp", ".metadata"), "accelerate merge-weights"),
        (("qwen2.5-q4.gguf",), "a GGUF file"),
        (("tf_model.h5",), "TensorFlow"),
        (("checkpoint-500/config.json", "checkpoint-900/config.json"), "checkpoint-500"),
        (("adapter_model.bin", "adapter_config.json"), "give it as model.adapter_path"),
        (("adapter_model.safetensors", "adapter_config.json"), "give it as model.adapter_path"),
        (("README.md",), "holds no config.json"),
    ],
)
def test_what_lies_there_instead(tmp_path, names, word):
    (tmp_path / "there").mkdir()
    fill(tmp_path / "there", *names)
    refused(tmp_path / "there", word)


def test_a_model_without_weights_of_this_format(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    refused(model, "pytorch_model.bin", f"d = '{model}'", "from_pretrained(d)")
    (model / "pytorch_model.bin").unlink()
    refused(model, "model.safetensors does not exist, nor is there a", "copy the model again")
    fill(model, "adapter_config.json")
    refused(model, "give it as model.adapter_path")


def test_a_model_beside_an_adapter_is_ambiguous(model):
    fill(model, "adapter_config.json")
    refused(model, "delete adapter_config.json there to use the model")


def test_links_to_nothing(model, tmp_path):
    for name in ("model.safetensors", "config.json"):
        (model / name).unlink()
        os.symlink("../blobs/gone", model / name)
        refused(model, f"{model / name} is a link to ../blobs/gone, which is not there")
    os.symlink(tmp_path / "gone", tmp_path / "link")
    refused(tmp_path / "link", f"is a link to {tmp_path / 'gone'}")


def test_a_file_in_place_of_a_directory(model):
    refused(model / "model.safetensors", f"give the directory that it lies in, {model}")
    fill(model, "policy.gguf")
    refused(model / "policy.gguf", "GGUF")


@pytest.mark.parametrize("resolve", [presets.resolve_path, lambda path: hub.resolve(path, None)])
@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "--set model.policy_model_id=Qwen/Qwen2.5-0.5B-Instruct"),
        ("https://huggingface.co/Qwen/Qwen3-8B", "--set model.policy_model_id=Qwen/Qwen3-8B"),
        ("a" * 5000, "(5000 characters)"),
        ("/" + "a/" * 2500, "(5001 characters)"),
        ("a\0b", "a\\x00b"),
        ("~\0", "~\\x00"),
        ("\ud83d", "\ufffd"),
        ("asset:../configs", "asset:../configs"),
        ("asset:" + "a" * 5000, "(5006 characters)"),
        ("asset:\0", "asset:\\x00"),
    ],
)
def test_what_can_be_no_path(resolve, path, word):
    with pytest.raises(SkillRLError) as error:
        resolve(path)
    assert word in str(error.value)
    assert len(str(error.value)) < 700


def test_a_run_is_told_from_a_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"env": {}, "rl": {}, "model": {}}))
    with pytest.raises(SkillRLError, match=re.escape(str(tmp_path / "policy"))):
        weights.read_config(tmp_path)
    assert directory.is_run(tmp_path)
    assert not directory.is_run(FIXTURES / "qwen2")


# ---------------------------------------------------------------- --checkpoint


def adapter(path, base):
    fill(path, "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (path / "adapter_config.json").write_text(
        json.dumps(settings | {"base_model_name_or_path": base})
    )
    return str(path)


def chosen(checkpoint, *, own="", **kwargs):
    config = Config.from_dict({"model": {"policy_path": "base", "adapter_path": own}})
    found = prerequisites.evaluated(config, checkpoint, **kwargs)
    assert prerequisites.evaluated(found, checkpoint) == found  # it is asked for twice
    return found.model.policy_path, found.model.policy_model_id, found.model.adapter_path


def test_an_adapter_as_checkpoint_is_played_on_its_base(model, tmp_path):
    standard = Config().model.policy_model_id
    path = adapter(tmp_path / "a", str(model))
    assert chosen(path) == (str(model), standard, path)
    assert chosen(path, own="of the run", adapter=False) == (str(model), standard, path)
    path = adapter(tmp_path / "b", "Qwen/Qwen3-8B")
    assert chosen(path) == ("", "Qwen/Qwen3-8B", path)
    with pytest.raises(SkillRLError, match="names another"):
        chosen(path, own="another")
    for base, word in (("", "is empty"), ("/gone/base/model", "'/gone/base/model', which is not")):
        path = adapter(tmp_path / "c", base)
        with pytest.raises(SkillRLError, match=f"{word}.*--checkpoint=MODEL"):
            chosen(path)


def test_an_adapter_as_checkpoint_that_is_broken(tmp_path):
    fill(tmp_path, "adapter_config.json")
    words = r"--checkpoint=.* is a LoRA adapter, .* no adapter_model\.safetensors"
    with pytest.raises(SkillRLError, match=words):
        chosen(str(tmp_path))


def test_the_adapter_of_a_run_is_not_merged_into_its_exported_policy_again(model):
    assert chosen(str(model), own="merged before", adapter=False)[2] == ""
    assert chosen(str(model), own="of --set")[2] == "of --set"


@pytest.mark.parametrize(
    ("checkpoint", "word"),
    [
        ("Qwen/Qwen3-8B", "--checkpoint=base --set model.policy_path= --set model.policy_model_id"),
        ("nowhere", "no such directory"),
        ("a" * 5000, "(5000 characters)"),
        ("a\0b", "no such directory"),
        ("asset:nothing", "no such asset"),
    ],
)
def test_a_checkpoint_that_is_none(checkpoint, word):
    with pytest.raises(SkillRLError, match=re.escape(word)):
        chosen(checkpoint)


def test_other_directories_as_checkpoint(tmp_path):
    fill(tmp_path, "checkpoint-3/config.json")
    with pytest.raises(SkillRLError, match=r"there is one in it: .*checkpoint-3"):
        chosen(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"env": {}, "rl": {}, "model": {}}))
    with pytest.raises(SkillRLError, match=r"--checkpoint=.*policy"):
        chosen(str(tmp_path))
    assert chosen("asset:tiny_qwen2_search")[0] == "asset:tiny_qwen2_search"


def test_what_the_model_settings_name_is_looked_at_before_anything_starts(model, tmp_path):
    def check(**settings):
        prerequisites.check_policy(Config.from_dict({"model": settings}))

    path = adapter(tmp_path / "a", str(model))
    check(policy_path=str(model), adapter_path=path)
    check(policy_path="")
    check(policy="openai", policy_path="not looked at")
    with pytest.raises(SkillRLError, match=r"give it as model\.adapter_path"):
        check(policy_path=path)
    with pytest.raises(SkillRLError, match=r"give it as model\.policy_path"):
        check(adapter_path=str(model))
    with pytest.raises(SkillRLError, match="hf download owner/adapter"):
        check(adapter_path="owner/adapter")
