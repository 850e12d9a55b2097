"""A run that trains adapters: what it leaves behind, and that it resumes."""

import shutil

import jax
import numpy as np
import pytest

from skillrl.io.files import read_json
from skillrl.models import lora, weights
from tests.pipeline import tiny

pytestmark = pytest.mark.slow  # a whole run, and another from its checkpoint

LORA = {"lora": {"rank": 4, "alpha": 8.0, "targets": ["q_proj", "v_proj", "down_proj"]}}


@pytest.fixture(scope="module")
def adapted(compiled, flags, tmp_path_factory):
    """`skillrl train` with adapters."""
    path = tmp_path_factory.mktemp("adapted") / "run"
    status, _, err = tiny.run("train", *flags(path, **LORA))
    assert status == 0, err
    return path


def read(directory):
    """A policy, or an adapter merged into the model that its description names."""
    if not (directory / "adapter_config.json").exists():
        config = weights.read_config(directory)
        return weights.load(directory, config)
    base = read_json(directory / "adapter_config.json")["base_model_name_or_path"]
    config = weights.read_config(base)
    adapter, shape = lora.load(directory, config)
    assert (shape.rank, shape.alpha) == (4, 8.0)
    assert any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(adapter))
    return lora.merge(adapter, weights.load(base, config), shape)


@pytest.mark.parametrize(
    ("adapter", "whole_policy"), [("sft/adapter", "sft/policy"), ("adapter", "policy")]
)
def test_each_adapter_on_its_base_is_the_policy_beside_it(adapted, adapter, whole_policy):
    found, wanted = read(adapted / adapter), read(adapted / whole_policy)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_the_reference_is_the_cold_started_policy(adapted):
    """In the first update the policy is the reference, so there is no divergence yet."""
    first = next(row for row in tiny.rows(adapted / "metrics.jsonl") if row["phase"] == "rl")
    later = [row["kl"] for row in tiny.rows(adapted / "metrics.jsonl") if row["phase"] == "rl"]
    assert first["sampler_gap_fresh"] < 1e-4
    assert later[-1] > 0


def test_a_checkpoint_holds_the_adapter_alone(adapted):
    def size(path):
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    whole = size(adapted / "policy")
    arrays = adapted / "checkpoints" / "rl" / "4" / "state"
    assert size(arrays) < whole  # three adapters (weights, two moments) against one policy


def test_evaluating_a_stage_again_merges_the_same_policies(adapted, flags):
    for stage in ("sft", "rl"):
        output = adapted.parent / f"{stage}.json"
        status, _, err = tiny.run(
            "evaluate", *flags(adapted, **LORA), f"--checkpoint={stage}", f"--output={output}"
        )
        assert status == 0, err
        again = read_json(output)["eval"]["valid_unseen"]
        first = read_json(adapted / "evaluation" / f"{stage}-valid_unseen.json")
        assert again["success"] == first["success"]
        assert again["mean_steps"] == first["mean_steps"]


def test_it_resumes_from_a_checkpoint_bit_for_bit(adapted, flags, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(adapted, copied)
    shutil.rmtree(copied / "checkpoints" / "rl" / "4")
    for name in ("policy", "adapter"):
        shutil.rmtree(copied / name)
    status, _, err = tiny.run("train", *flags(copied, **LORA))
    assert status == 0, err
    assert (copied / "checkpoints" / "rl" / "4").is_dir()
    for name in ("policy/model.safetensors", "adapter/adapter_model.safetensors"):
        assert (copied / name).read_bytes() == (adapted / name).read_bytes()


def test_a_peft_adapter_is_merged_when_the_policy_is_loaded(adapted, flags, tmp_path):
    """model.adapter_path changes what is played."""
    output = tmp_path / "merged.json"
    arguments = flags(tmp_path / "new", model={"policy_path": str(adapted / "sft" / "policy")})
    played = []
    for extra in ([], [f"--set=model.adapter_path={adapted / 'adapter'}"]):
        status, _, err = tiny.run(
            "evaluate", *arguments, "--checkpoint=base", f"--output={output}", *extra
        )
        assert status == 0, err
        played.append(output.with_suffix(".valid_unseen.jsonl").read_text())
    assert played[0] != played[1]
