"""Adapters: the arithmetic by hand, merging, PEFT's format."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from skillrl.config.settings import LORA_TARGETS
from skillrl.errors import SkillRLError
from skillrl.models import lora, parameters
from skillrl.models.config import TransformerConfig
from skillrl.models.lora import Lora
from skillrl.models.projection import Projection
from skillrl.models.transformer import logits

TINY = TransformerConfig(
    vocab_size=61, hidden_size=32, intermediate_size=48, head_dim=12, max_positions=256
)
CONFIGS = {
    "qwen2": TINY,
    "qwen3": dataclasses.replace(TINY, model_type="qwen3", num_layers=3, tie_embeddings=False),
}
RANK4 = Lora(4, 8.0)


def make_batch():
    """Right-padded rows and their lengths."""
    tokens = np.random.default_rng(1).integers(0, TINY.vocab_size, (3, 20)).astype(np.int32)
    return tokens, np.asarray([20, 7, 13], np.int32)


def random_params(config):
    """Every leaf random, and large enough to matter."""
    random = np.random.default_rng(0)
    return parameters.unflatten(
        {
            path: jnp.asarray((path[-1] == "scale") + 0.15 * random.normal(size=spec.shape), "f4")
            for path, spec in parameters.specs(config).items()
        }
    )


def random_adapter(config, shape, seed=3):
    """An adapter whose every leaf matters."""
    random = np.random.default_rng(seed)
    return parameters.unflatten(
        {
            path: jnp.asarray(0.2 * random.normal(size=spec.shape), jnp.float32)
            for path, spec in lora.specs(config, shape).items()
        }
    )


def save(directory, config, shape=RANK4):
    """An adapter as from another program: with no checksums."""
    lora.save(directory, random_adapter(config, shape), config=config, lora=shape)
    (directory / "SHA256SUMS").unlink()
    return directory


def edit(directory, **settings):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_the_targets_of_the_configuration_are_those_of_the_model():
    assert tuple(lora.TARGETS) == LORA_TARGETS


def test_a_projection_adds_the_low_rank_product():
    module = Projection("BGTD,DHQ->BGTHQ", (2, 1, 3))
    kernel = jnp.asarray([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    a, b = jnp.asarray([[1.0], [2.0]]), jnp.asarray([[[0, 10.0, 100.0]]])
    x = jnp.asarray([3.0, 4.0]).reshape(1, 1, 1, 2)
    off = module.apply({"params": {"kernel": kernel}}, x)
    on = module.apply({"params": {"kernel": kernel, "lora_a": a, "lora_b": b}}, x)
    assert off.reshape(-1).tolist() == [3, 4, 0]
    assert on.reshape(-1).tolist() == [3, 4 + 11 * 10, 11 * 100]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_fresh_adapter_changes_nothing_and_a_trained_one_equals_its_merged_policy(name):
    config = CONFIGS[name]
    base = random_params(config)
    tokens, lengths = make_batch()
    run = jax.jit(logits, static_argnames="config")
    plain = run(base, tokens, config=config, lengths=lengths)

    fresh = lora.init(jax.random.key(0), config, RANK4)
    joined = lora.join(fresh, base, RANK4)
    np.testing.assert_array_equal(run(joined, tokens, config=config, lengths=lengths), plain)

    trained = random_adapter(config, RANK4)
    on = run(lora.join(trained, base, RANK4), tokens, config=config, lengths=lengths)
    merged = lora.merge(trained, base, RANK4)
    parameters.check_total(merged, config)
    same = run(merged, tokens, config=config, lengths=lengths)
    at = np.arange(tokens.shape[1]) < lengths[:, None]
    assert np.abs(np.asarray(on - plain))[at].max() > 0.5
    np.testing.assert_allclose(np.asarray(on)[at], np.asarray(same)[at], atol=2e-4)


def test_only_the_targets_are_adapted_and_kernels_are_not_copied():
    config, shape = CONFIGS["qwen2"], Lora(2, 4.0, ("q_proj", "down_proj"))
    base = random_params(config)
    adapter = lora.init(jax.random.key(0), config, shape)
    assert sorted("/".join(path) for path in parameters.flatten(adapter)) == [
        "layers/attention/query/lora_a",
        "layers/attention/query/lora_b",
        "layers/mlp/down/lora_a",
        "layers/mlp/down/lora_b",
    ]
    joined = parameters.flatten(lora.join(adapter, base, shape))
    assert all(joined[path] is leaf for path, leaf in parameters.flatten(base).items())
    a = adapter["layers"]["mlp"]["down"]["lora_a"]
    assert a.shape == (config.num_layers, config.intermediate_size, 2)
    assert float(jnp.abs(a).max()) <= config.intermediate_size**-0.5


def test_merging_in_bfloat16_sums_in_float32():
    config = CONFIGS["qwen2"]
    base = jax.tree.map(lambda x: x.astype(jnp.bfloat16), random_params(config))
    merged = lora.merge(random_adapter(config, RANK4), base, RANK4)
    leaf = merged["layers"]["mlp"]["up"]["kernel"]
    assert leaf.dtype == jnp.bfloat16
    adapter = random_adapter(config, RANK4)["layers"]["mlp"]["up"]
    a, b = np.asarray(adapter["lora_a"], "f8"), np.asarray(adapter["lora_b"], "f8")
    kernel = np.asarray(base["layers"]["mlp"]["up"]["kernel"], "f8")
    exact = kernel + 2.0 * np.einsum("ldr,lrf->ldf", a, b)
    np.testing.assert_allclose(np.asarray(leaf, "f8"), exact, rtol=2**-8, atol=1e-6)


def test_two_adapters_side_by_side_are_one_of_the_sum_of_their_ranks():
    config, targets = CONFIGS["qwen3"], ("q_proj", "o_proj", "down_proj")
    shape, both = Lora(4, 8.0, targets), Lora(8, 16.0, targets)
    first, second = (random_adapter(config, shape, seed) for seed in (3, 4))
    base = random_params(config)
    stacked = lora.stack(first, second)
    shapes = {path: spec.shape for path, spec in lora.specs(config, both).items()}
    assert {path: x.shape for path, x in parameters.flatten(stacked).items()} == shapes
    wanted = lora.merge(second, lora.merge(first, base, shape), shape)
    found = lora.merge(stacked, base, both)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found, wanted)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_an_adapter_goes_out_and_comes_back(tmp_path, name):
    config, shape = CONFIGS[name], Lora(3, 5.0, ("k_proj", "o_proj", "gate_proj"))
    adapter = random_adapter(config, shape)
    lora.save(tmp_path / "a", adapter, config=config, lora=shape, base="models/base")
    found, same = lora.load(tmp_path / "a", config)
    assert same == shape
    jax.tree.map(np.testing.assert_array_equal, found, adapter)
    lora.save(
        tmp_path / "a", jax.tree.map(jnp.zeros_like, adapter), config=config, lora=shape
    )  # replaces it
    assert not jax.tree.reduce(
        lambda s, x: s + jnp.abs(x).sum(), lora.load(tmp_path / "a", config)[0], 0.0
    )


def test_files_are_laid_out_as_peft_lays_them_out(tmp_path):
    config, shape = CONFIGS["qwen2"], Lora(2, 4.0, ("o_proj",))
    adapter = random_adapter(config, shape)
    lora.save(tmp_path / "a", adapter, config=config, lora=shape)
    tensors = safetensors.numpy.load_file(tmp_path / "a" / "adapter_model.safetensors")
    stem = "base_model.model.model.layers.1.self_attn.o_proj"
    heads = config.num_heads * config.head_dim
    assert tensors[f"{stem}.lora_A.weight"].shape == (2, heads)
    assert tensors[f"{stem}.lora_B.weight"].shape == (config.hidden_size, 2)
    a = np.asarray(adapter["layers"]["attention"]["output"]["lora_a"])[1]
    np.testing.assert_array_equal(tensors[f"{stem}.lora_A.weight"], a.reshape(heads, 2).T)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"task_type": "SEQ_CLS"}, "task_type='SEQ_CLS'"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"use_dora": True}, "use_dora=True"),
        ({"use_rslora": "yes"}, "use_rslora='yes'"),
        ({"use_qalora": True}, "use_qalora=True"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out=True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save=['lm_head']"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern={'q_proj': 2}"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern={'q_proj': 2}"),
        ({"layers_to_transform": [0]}, "layers_to_transform=[0]"),
        ({"layer_replication": [[0, 1]]}, "layer_replication=[[0, 1]]"),
        ({"trainable_token_indices": [7]}, "trainable_token_indices=[7]"),
        ({"alora_invocation_tokens": [7]}, "alora_invocation_tokens=[7]"),
        ({"target_parameters": ["experts"]}, "target_parameters=['experts']"),
        ({"megatron_config": {"x": 1}}, "megatron_config={'x': 1}"),
        ({"a_kind_of_next_year": True}, "a_kind_of_next_year=True"),
        ({"target_modules": ["lm_head"]}, "target_modules=['lm_head']"),
        ({"target_modules": ["q_proj", "lm_head"]}, "adapts lm_head"),
        ({"target_modules": ["layers.0.self_attn.q_proj"]}, "adapts q_proj in some layers only"),
        ({"target_modules": ".*_proj"}, "target_modules='.*_proj'"),
        ({"target_modules": None}, "target_modules=None"),
        ({"exclude_modules": ".*"}, "exclude_modules='.*'"),
        ({"r": "four"}, "adapter_config.json"),
        ({"r": 0}, "r is 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"r": 8}, r"has shape \(4, 32\)"),
    ],
)
def test_what_is_not_plain_lora_is_refused(tmp_path, change, named):
    config = CONFIGS["qwen2"]
    edit(save(tmp_path / "a", config), **change)
    pattern = named if named.startswith("has shape") else re.escape(named)
    with pytest.raises(SkillRLError, match=pattern):
        lora.load(tmp_path / "a", config)


def test_rank_stabilised_scaling_is_read_as_another_alpha(tmp_path):
    config = CONFIGS["qwen2"]
    edit(save(tmp_path / "a", config), use_rslora=True)
    assert lora.load(tmp_path / "a", config)[1].scale == pytest.approx(8.0 / 4**0.5)


def test_a_directory_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("years of work")
    config = CONFIGS["qwen2"]
    with pytest.raises(SkillRLError, match=r"adapter_config\.json"):
        lora.save(tmp_path / "a", random_adapter(config, RANK4), config=config, lora=RANK4)
    with pytest.raises(SkillRLError, match="no LoRA adapter"):
        lora.load(tmp_path / "a", config)


@pytest.mark.parametrize(
    "kind", ["pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "loftq", "lora_ga", "new", 2]
)
def test_an_adapter_that_began_by_changing_its_base_is_refused_with_the_way_out(tmp_path, kind):
    config = CONFIGS["qwen2"]
    edit(save(tmp_path / "a", config), init_lora_weights=kind)
    with pytest.raises(SkillRLError, match="path_initial_model_for_weight_conversion") as error:
        lora.load(tmp_path / "a", config)
    assert f"init_lora_weights={kind!r}" in str(error.value)


@pytest.mark.parametrize("kind", [True, False, None, "gaussian", "eva", "orthogonal"])
def test_other_beginnings_leave_the_base_alone(tmp_path, kind):
    config = CONFIGS["qwen2"]
    edit(save(tmp_path / "a", config), init_lora_weights=kind, loftq_config={"loftq_bits": 4})
    assert lora.load(tmp_path / "a", config)[1] == RANK4


MLP = ("gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("modules", "excluded", "targets"),
    [
        ("all-linear", None, tuple(lora.TARGETS)),
        ("all-linear", ["lm_head", "self_attn.q_proj"], tuple(lora.TARGETS)[1:]),
        ([f"mlp.{name}" for name in reversed(MLP)], [], MLP),
        ([f"model.layers.{i}.mlp.up_proj" for i in range(2)], None, ("up_proj",)),
    ],
)
def test_modules_are_named_as_in_peft(tmp_path, modules, excluded, targets):
    config, shape = CONFIGS["qwen2"], Lora(2, 4.0, targets)
    edit(save(tmp_path / "a", config, shape), target_modules=modules, exclude_modules=excluded)
    assert lora.load(tmp_path / "a", config)[1] == shape


def test_an_adapter_whose_numbers_are_damaged_is_refused(tmp_path):
    config = CONFIGS["qwen2"]
    path = save(tmp_path / "a", config) / "adapter_model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
    tensors[name][0, 0] = np.inf
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(SkillRLError, match=re.escape(f"{name!r} in {path} holds a number that")):
        lora.load(tmp_path / "a", config)
    broken = random_adapter(config, RANK4)
    broken["layers"]["mlp"]["up"]["lora_a"] = jnp.full_like(
        broken["layers"]["mlp"]["up"]["lora_a"], jnp.nan
    )
    with pytest.raises(SkillRLError, match="nothing is exported: tensor"):
        lora.save(tmp_path / "b", broken, config=config, lora=RANK4)
    assert not (tmp_path / "b").exists()


def test_what_an_adapter_holds_beside_its_projections_is_not_dropped(tmp_path):
    config = CONFIGS["qwen2"]
    path = save(tmp_path / "a", config) / "adapter_model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    extra = {"base_model.model.lm_head.weight": np.zeros((61, 32), np.float32)}  # after a resize
    safetensors.numpy.save_file(tensors | extra, path)
    with pytest.raises(SkillRLError, match=r"such as 'lm_head\.weight'"):
        lora.load(tmp_path / "a", config)


def test_a_place_without_an_adapter_is_called_what_it_is(tmp_path):
    config = CONFIGS["qwen2"]
    for name, word in (("nowhere", "PEFT's save_pretrained"), ("owner/adapter", "hf download")):
        with pytest.raises(SkillRLError, match=word):
            lora.load(name, config)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SkillRLError, match=r"give it as model\.policy_path"):
        lora.load(tmp_path, config)
    path = save(tmp_path / "a", config) / "adapter_model.safetensors"
    path.rename(path.with_name("adapter_model.bin"))
    with pytest.raises(SkillRLError, match=r"adapter_model\.bin is in PyTorch's own format"):
        lora.load(tmp_path / "a", config)


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_peft_computes_the_same(tmp_path, name):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    import transformers

    from skillrl.models import weights
    from tests.models import make_golden

    config = CONFIGS[name]
    base, adapter = random_params(config), random_adapter(config, RANK4)
    weights.save(tmp_path / "base", base, config)
    lora.save(tmp_path / "a", adapter, config=config, lora=RANK4, base=str(tmp_path / "base"))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", dtype=torch.float32
    )
    model = peft.PeftModel.from_pretrained(model, tmp_path / "a")
    tokens, lengths = make_batch()
    expected = make_golden.golden_logits(model.eval(), tokens, lengths)
    at = np.arange(tokens.shape[1]) < lengths[:, None]
    joined = lora.join(adapter, base, RANK4)
    ours = np.asarray(logits(joined, tokens, config=config, lengths=lengths))
    np.testing.assert_allclose(ours[at], expected[at], atol=2e-4, rtol=0)

    # And one that PEFT has made and saved itself.
    settings = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "up_proj"])
    theirs = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32),
        settings,
    )
    with torch.no_grad():
        for key, value in theirs.named_parameters():
            if "lora_" in key:
                value.copy_(0.3 * torch.randn_like(value))
    theirs.save_pretrained(tmp_path / "theirs")
    expected = make_golden.golden_logits(theirs.eval(), tokens, lengths)
    found, shape = lora.load(tmp_path / "theirs", config)
    assert shape == dataclasses.replace(shape, rank=2, alpha=6.0, targets=("q_proj", "up_proj"))
    merged = lora.merge(found, base, shape)
    ours = np.asarray(logits(merged, tokens, config=config, lengths=lengths))
    np.testing.assert_allclose(ours[at], expected[at], atol=2e-4, rtol=0)
