import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from launchers.tiny_policies import tiny_tokenizer
from skillrl.config import presets
from skillrl.errors import SkillRLError
from skillrl.models import directory, hub, parameters, transformer, weights
from skillrl.models.config import TransformerConfig

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"
TINY = TransformerConfig(
    vocab_size=61, hidden_size=32, intermediate_size=48, head_dim=12, max_positions=256
)
CONFIGS = [
    TINY,
    dataclasses.replace(TINY, tie_embeddings=False),
    dataclasses.replace(TINY, model_type="qwen3", num_layers=3),
    dataclasses.replace(TINY, model_type="qwen3", tie_embeddings=False, dtype="bfloat16"),
]


def random_params(config, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return parameters.unflatten(
        {
            path: jnp.asarray(rng.normal(size=spec.shape), dtype)
            for path, spec in parameters.specs(config).items()
        }
    )


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the golden qwen2 checkpoint that a test may damage."""
    return Path(shutil.copytree(FIXTURES / "qwen2", tmp_path / "qwen2"))


def edit(directory, **fields):
    path = directory / "config.json"
    config = json.loads(path.read_text()) | fields
    config = {key: value for key, value in config.items() if value != "REMOVE"}
    path.write_text(json.dumps(config))


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("config", CONFIGS)
def test_table_is_total(config):
    shapes = jax.eval_shape(lambda: transformer.init(jax.random.key(0), config))
    parameters.check_total(shapes, config)
    axes = parameters.axes_tree(config)
    assert jax.tree.structure(shapes) == jax.tree.structure(
        axes, is_leaf=lambda x: isinstance(x, tuple)
    )


def test_table_names_are_unique_and_known_to_the_sharding_rules():
    from skillrl.parallel.rules import RULES

    for config in CONFIGS:
        table = parameters.specs(config)
        names = [name for spec in table.values() for name in spec.hf_names]
        assert len(names) == len(set(names))
        assert {axis for spec in table.values() for axis in spec.axes} <= set(RULES)


def test_check_total_names_what_is_wrong():
    shapes = jax.eval_shape(lambda: transformer.init(jax.random.key(0), TINY))
    with pytest.raises(SkillRLError, match=r"embed/embedding is \(61, 32\), not \(62, 32\)"):
        parameters.check_total(shapes, dataclasses.replace(TINY, vocab_size=62))
    with pytest.raises(SkillRLError, match="query_norm/scale is missing"):
        parameters.check_total(shapes, dataclasses.replace(TINY, model_type="qwen3"))
    with pytest.raises(SkillRLError, match="head/extra is unknown"):
        parameters.check_total({**shapes, "head": {"extra": shapes["embed"]["embedding"]}}, TINY)


def test_query_layout_by_hand():
    # Row h*Q+q of the Hugging Face matrix is head h, dimension q.
    spec = parameters.specs(TINY)["layers", "attention", "query", "kernel"]
    d, h, q = 32, 4, 12
    theirs = np.arange(h * q * d).reshape(h * q, d)
    everything = (slice(None),) * 3
    ours = spec.from_hf(theirs[spec.hf_slices(everything)], everything)
    assert ours.shape == (d, h, q)
    assert ours[5, 2, 7] == theirs[2 * q + 7, 5]
    np.testing.assert_array_equal(spec.to_hf(ours), theirs)


@pytest.mark.parametrize("config", CONFIGS[1:3])
def test_any_slice_equals_the_slice_of_the_whole(config):
    rng = np.random.default_rng(0)
    for spec in parameters.specs(config).values():
        theirs = rng.normal(size=spec.hf_shape)
        shape = spec.shape[1:] if spec.stacked else spec.shape
        everything = (slice(None),) * len(shape)
        whole = spec.from_hf(theirs[spec.hf_slices(everything)], everything)
        assert whole.shape == shape
        for _ in range(5):
            index = tuple(slice(*sorted(rng.choice(n + 1, 2, replace=False))) for n in shape)
            part = spec.from_hf(theirs[spec.hf_slices(index)], index)
            np.testing.assert_array_equal(part, whole[index])


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("max_shard_bytes", [5e9, 10e3])
def test_round_trip(tmp_path, config, max_shard_bytes):
    params = random_params(config, config.dtype)
    weights.save(tmp_path / "model", params, config, max_shard_bytes=max_shard_bytes)
    assert weights.read_config(tmp_path / "model") == config
    assert_equal(weights.load(tmp_path / "model", config), params)
    files = sorted(path.name for path in (tmp_path / "model").glob("*.safetensors"))
    assert (files == ["model.safetensors"]) == (max_shard_bytes == 5e9)
    assert directory.missing(tmp_path / "model") == []
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_shards_respect_the_limit_and_the_index_is_true(tmp_path):
    weights.save(tmp_path / "m", random_params(TINY), TINY, max_shard_bytes=20e3)
    index = json.loads((tmp_path / "m" / weights.INDEX).read_text())
    total = 0
    for file in (tmp_path / "m").glob("*.safetensors"):
        tensors = safetensors.numpy.load_file(file)
        assert {index["weight_map"][name] for name in tensors} == {file.name}
        size = sum(value.nbytes for value in tensors.values())
        assert size <= 20e3
        total += size
    assert index["metadata"]["total_size"] == total
    expected = {name for spec in parameters.specs(TINY).values() for name in spec.hf_names}
    assert set(index["weight_map"]) == expected


def test_dtype_of_import_and_export(tmp_path):
    params = random_params(TINY)
    weights.save(tmp_path / "m", params, TINY, dtype="bfloat16")
    assert {x.dtype.name for x in jax.tree.leaves(weights.load(tmp_path / "m", TINY))} == {
        "bfloat16"
    }
    loaded = weights.load(tmp_path / "m", TINY, dtype="float32")
    assert_equal(loaded, jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), params))


def test_import_equals_export_of_the_golden_files(tmp_path):
    # Their files -> our parameters -> our files: the same tensors bit for bit.
    for name in ("qwen2", "qwen3"):
        config = weights.read_config(FIXTURES / name)
        weights.save(tmp_path / name, weights.load(FIXTURES / name, config), config)
        one = safetensors.numpy.load_file(FIXTURES / name / "model.safetensors")
        other = safetensors.numpy.load_file(tmp_path / name / "model.safetensors")
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


SHARDED = """
import sys, jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from skillrl.models import parameters, weights
from skillrl.parallel import rules
directory, out = sys.argv[1:]
mesh = jax.make_mesh((1, 4, 2), ("data", "fsdp", "tensor"),
                     axis_types=(jax.sharding.AxisType.Auto,) * 3)
config = weights.read_config(directory)
table = parameters.specs(config)
shardings = parameters.unflatten(
    {p: rules.sharding(mesh, s.axes, s.shape) for p, s in table.items()})
one = weights.load(directory, config)
other = weights.load(directory, config, shardings=shardings)
kernel = other["layers"]["attention"]["query"]["kernel"]
assert kernel.addressable_shards[0].data.shape == (2, 8, 2, config.head_dim), kernel.sharding
for path, leaf in parameters.flatten(other).items():
    assert leaf.sharding == parameters.flatten(shardings)[path], path
    np.testing.assert_array_equal(np.asarray(leaf), np.asarray(parameters.flatten(one)[path]))
weights.save(out, other, config)
"""


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_sharded_load_and_save_equal_the_plain_ones(tmp_path, name):
    # Eight devices need a process of their own.
    code = [sys.executable, "-c", SHARDED, str(FIXTURES / name), str(tmp_path / "out")]
    root = str(Path(__file__).parents[2])
    subprocess.run(code, check=True, cwd=root, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    one = safetensors.numpy.load_file(FIXTURES / name / "model.safetensors")
    other = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    assert one.keys() == other.keys()
    assert all((one[key] == other[key]).all() for key in one)


def test_tokenizer_travels_with_the_model(tmp_path):
    tiny_tokenizer.build(["go to desk 1"], tmp_path / "tokenizer", vocab_size=300)
    weights.save(tmp_path / "m", random_params(TINY), TINY, tokenizer_dir=tmp_path / "tokenizer")
    from skillrl.models.tokenizer import Tokenizer

    one, other = Tokenizer.load(tmp_path / "tokenizer"), Tokenizer.load(tmp_path / "m")
    assert one.encode("go to desk 12") == other.encode("go to desk 12")
    generation = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == one.im_end_id
    assert generation["pad_token_id"] == one.pad_id
    with pytest.raises(SkillRLError, match="holds no tokenizer"):
        weights.save(tmp_path / "n", random_params(TINY), TINY, tokenizer_dir=tmp_path)
    assert not (tmp_path / "n").exists()


# ---------------------------------------------------------------- atomic export


def test_a_failed_save_leaves_the_old_model_and_no_litter(tmp_path, monkeypatch):
    params = random_params(TINY)
    weights.save(tmp_path / "m", params, TINY)

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        weights.save(tmp_path / "m", jax.tree.map(jnp.zeros_like, params), TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert_equal(weights.load(tmp_path / "m", TINY), params)


def test_a_second_save_replaces_the_first_whole(tmp_path):
    params = random_params(TINY)
    weights.save(tmp_path / "m", params, TINY, max_shard_bytes=20e3)
    zeros = jax.tree.map(jnp.zeros_like, params)
    weights.save(tmp_path / "m", zeros, TINY)
    assert not (tmp_path / "m" / weights.INDEX).exists()
    assert_equal(weights.load(tmp_path / "m", TINY), zeros)


def test_save_refuses_to_replace_what_is_not_a_model(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(SkillRLError, match="will not replace"):
        weights.save(tmp_path, random_params(TINY), TINY)
    assert (tmp_path / "thesis.txt").exists()
    (tmp_path / "config.json").write_text(json.dumps({"env": {}, "rl": {}, "model": {}}))
    with pytest.raises(SkillRLError, match="will not replace"):  # the directory of a run
        weights.save(tmp_path, random_params(TINY), TINY)
    assert (tmp_path / "thesis.txt").exists()


def test_save_refuses_parameters_of_another_model(tmp_path):
    other = dataclasses.replace(TINY, intermediate_size=50)
    with pytest.raises(SkillRLError, match="do not fit"):
        weights.save(tmp_path / "m", random_params(TINY), other)


# ---------------------------------------------------------------- damaged checkpoints


def test_missing_weights(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(SkillRLError, match=r"model\.safetensors does not exist, nor is there"):
        weights.load(checkpoint, weights.read_config(checkpoint))


@pytest.mark.parametrize("keep", [0, 4, 2000, -1])
def test_truncated_weights(checkpoint, keep):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SkillRLError, match="damaged or cut short"):
        weights.load(checkpoint, weights.read_config(checkpoint))


def test_missing_shard_and_bad_index(tmp_path):
    weights.save(tmp_path / "m", random_params(TINY), TINY, max_shard_bytes=20e3)
    victim = sorted((tmp_path / "m").glob("*.safetensors"))[1]
    victim.unlink()
    assert directory.missing(tmp_path / "m") == [victim.name]
    with pytest.raises(SkillRLError, match=f"{victim.name} does not exist .*index.json"):
        weights.load(tmp_path / "m", TINY)
    (tmp_path / "m" / "SHA256SUMS").unlink()
    (tmp_path / "m" / weights.INDEX).write_text("{}")
    with pytest.raises(SkillRLError, match=r"cannot read .*index\.json"):
        weights.load(tmp_path / "m", TINY)


def test_missing_and_unknown_tensors(checkpoint):
    path = checkpoint / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    config = weights.read_config(checkpoint)
    safetensors.numpy.save_file({**tensors, "model.vision.weight": np.zeros(3)}, path)
    with pytest.raises(SkillRLError, match=r"such as 'model\.vision\.weight'"):
        weights.load(checkpoint, config)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(SkillRLError, match=r"'model\.layers\.1\.mlp\.up_proj\.weight' \(48, 32\)"):
        weights.load(checkpoint, config)


def test_wrong_vocabulary_size(checkpoint):
    edit(checkpoint, vocab_size=64)
    with pytest.raises(SkillRLError, match=r"embed_tokens.* \(61, 32\).*\(64, 32\).*vocab_size"):
        weights.load(checkpoint, weights.read_config(checkpoint))


# ---------------------------------------------------------------- config.json


def test_config_of_the_golden_files():
    assert weights.read_config(FIXTURES / "qwen2") == dataclasses.replace(TINY, head_dim=8)
    assert weights.read_config(FIXTURES / "qwen3") == dataclasses.replace(
        TINY, model_type="qwen3", rope_theta=10_000.0, tie_embeddings=False
    )


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 5e4},
        {"rope_theta": 5e4, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 5e4}},
        {"rope_scaling": {"type": "default", "rope_theta": 5e4}},
        {"rope_theta": 50000, "rope_parameters": {"rope_theta": 5e4, "rope_type": "default"}},
    ],
)
def test_rope_spellings(checkpoint, spelling):
    edit(checkpoint, **({"rope_parameters": "REMOVE"} | spelling))
    assert weights.read_config(checkpoint).rope_theta == 5e4


def test_config_in_the_old_spelling(checkpoint):
    # The fields of Qwen2.5-7B-Instruct as published.
    edit(
        checkpoint, rope_parameters="REMOVE", layer_types="REMOVE", dtype="REMOVE",
        rope_theta=1e6, torch_dtype="bfloat16", sliding_window=131072, max_window_layers=28,
        use_sliding_window=False, transformers_version="4.43.1", tie_word_embeddings=False,
    )  # fmt: skip
    config = weights.read_config(checkpoint)
    assert (config.dtype, config.rope_theta, config.tie_embeddings) == ("bfloat16", 1e6, False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama' is not one of qwen2, qwen3"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "not a language model"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "sliding-window"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling of type 'yarn'"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "type 'linear'"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial"),
        ({"rope_parameters": "REMOVE"}, "rope_theta is missing"),
        ({"rope_theta": 123.0}, "rope_theta states several values"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"quantization_config": {"quant_method": "gptq"}}, "of 'gptq': quantised"),
        ({"dtype": "float8_e4m3fn"}, "dtype 'float8_e4m3fn'"),
        ({"dtype": 16}, "dtype 16"),
        ({"rope_parameters": "yarn"}, "rope_parameters is 'yarn', not an object"),
        ({"rope_parameters": {"rope_theta": "1e4"}}, "rope_theta is '1e4'"),
        ({"rope_parameters": {"rope_theta": float("nan")}}, "rope_theta is nan"),
        ({"partial_rotary_factor": 0.5}, "partial"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false', neither true"),
        ({"use_sliding_window": "no"}, "use_sliding_window is 'no'"),
        ({"layer_types": ["linear_attention"]}, "layer_types"),
        ({"vocab_size": "61"}, "vocab_size is '61', not a whole number"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000, not"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True, not"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0, not"),
        ({"head_dim": 7}, "heads of width 7"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps is -1e-06"),
        ({"architectures": "Qwen2ForCausalLM"}, "not a language model"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights"),
        ({"num_hidden_layers": "REMOVE"}, "lacks 'num_hidden_layers'"),
        ({"num_key_value_heads": 3}, "not a multiple"),
        ({"model_type": "qwen3", "architectures": "REMOVE"}, "lacks 'head_dim'"),
        ({"model_type": "qwen3", "architectures": "REMOVE", "attention_bias": True}, "bias"),
    ],
)
def test_config_that_is_not_supported(checkpoint, fields, message):
    edit(checkpoint, **fields)
    with pytest.raises(SkillRLError, match=message):
        weights.read_config(checkpoint)


def test_config_that_cannot_be_read(checkpoint):
    (checkpoint / "config.json").write_text("[]")
    with pytest.raises(SkillRLError, match="JSON object"):
        weights.read_config(checkpoint)
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(SkillRLError, match="cannot read"):
        weights.read_config(checkpoint)
    with pytest.raises(SkillRLError, match="does not exist"):
        weights.read_config(checkpoint / "nowhere")


# ---------------------------------------------------------------- finding the directory


def test_resolve_an_explicit_path(tmp_path, monkeypatch):
    assert hub.resolve(FIXTURES / "qwen2", "ignored/name") == FIXTURES / "qwen2"
    with pytest.raises(SkillRLError, match=r"policy_path .*nowhere' is not a directory"):
        hub.resolve(tmp_path / "nowhere", "Qwen/Qwen2.5-7B-Instruct")
    with pytest.raises(SkillRLError, match=r"holds no config\.json"):
        hub.resolve(tmp_path, None)
    with pytest.raises(SkillRLError, match="no model is named"):
        hub.resolve("", "")
    monkeypatch.setattr(hub, "ASSETS", FIXTURES)
    assert hub.resolve("asset:qwen3", None) == FIXTURES / "qwen3"
    with pytest.raises(SkillRLError, match="'asset:none' is not a directory"):
        hub.resolve("asset:none", None)


def test_resolve_from_the_cache_and_without_a_network(tmp_path):
    # The library reads its environment once, so each case is a process.
    snapshot = tmp_path / "hub" / "models--owner--model" / "snapshots" / ("a" * 40)
    shutil.copytree(FIXTURES / "qwen2", snapshot)
    shutil.copy(presets.resolve_path("asset:tiny_qwen2_alfworld") / "tokenizer.json", snapshot)
    refs = tmp_path / "hub" / "models--owner--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    env.pop("HF_HUB_CACHE", None)
    code = """
import sys
from skillrl.errors import SkillRLError
from skillrl.models import hub
for name in sys.argv[1:]:
    try:
        print(hub.resolve(None, name))
    except SkillRLError as error:
        print(error)
"""

    def resolve(*names):
        root = Path(__file__).parents[2]
        command = [sys.executable, "-c", code, *names]
        done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
        return done.stdout.splitlines()

    names = ("owner/model", "owner/absent", "a/b/c", "x" * 5000, "tests/models")
    whole, absent, wrong, long, local = resolve(*names)
    assert whole == str(snapshot)
    assert "HF_HOME" in absent
    assert "model.policy_path" in absent
    assert "is not a name on the hub" in wrong
    assert "(5000 characters)" in long
    assert len(long) < 1000
    assert local.endswith("set model.policy_path=tests/models")
    (snapshot / "tokenizer.json").unlink()  # never fetched, e.g. by another program
    (snapshot / "model.safetensors").unlink()  # an interrupted download is not a model
    (half,) = resolve("owner/model")
    assert f"model.safetensors, tokenizer.json is missing from {snapshot}" in half
    assert "unset it to download the rest" in half
