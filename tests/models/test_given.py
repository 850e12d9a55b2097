"""Weights that other programs have written: read as transformers reads them, or refused by name."""

import json
import os
import re
import shutil
import struct
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from skillrl.errors import Corrupt, SkillRLError
from skillrl.models import parameters, tensors, weights

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def given(tmp_path):
    """A copy of the golden qwen2 checkpoint (tied embeddings) that a test may change."""
    return Path(shutil.copytree(FIXTURES / "qwen2", tmp_path / "given"))


def change(directory, **fields):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def rewrite(directory, make, name="model.safetensors"):
    """Replaces the tensors {name: array} of a file by what `make` makes of them."""
    found = safetensors.numpy.load_file(directory / name)
    safetensors.numpy.save_file(
        {key: np.ascontiguousarray(value) for key, value in make(found).items()}, directory / name
    )


def damage(value, dtype=None, at=(3, 5)):
    def make(found):
        array = found[UP].astype(dtype or found[UP].dtype)
        array[at] = value
        return found | {UP: array}

    return make


def load(directory, **kwargs):
    config = weights.read_config(directory)
    return config, parameters.flatten(weights.load(directory, config, **kwargs))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for path, leaf in one.items():
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(other[path]))


# ---------------------------------------------------------------- what trainers write


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: f"model.{name}",
        lambda name: name.removeprefix("model."),
        lambda name: name.replace(".self_attn", "._checkpoint_wrapped_module.self_attn"),
        lambda name: f"_fsdp_wrapped_module.{name}".replace("layers.0", "layers.0.module"),
    ],
)
def test_names_with_what_is_wrapped_around_a_model(given, spelling):
    _, plain = load(given)
    rewrite(given, lambda found: {spelling(name): value for name, value in found.items()})
    assert_same(load(given)[1], plain)


def test_two_names_of_one_meaning_are_refused(given):
    rewrite(given, lambda found: found | {f"module.{UP}": found[UP]})
    with pytest.raises(SkillRLError, match=re.escape(f"both mean {UP!r}")):
        load(given)


def test_an_adapter_that_is_not_merged_is_refused(given):
    name = "model.layers.0.mlp.up_proj"
    rewrite(
        given,
        lambda found: (
            {
                f"base_model.model.{key.replace(name, f'{name}.base_layer')}": value
                for key, value in found.items()
            }
            | {f"base_model.model.{name}.lora_A.default.weight": np.zeros((2, 32), np.float32)}
        ),
    )
    with pytest.raises(SkillRLError, match="merge_and_unload"):
        load(given)


def test_architecture_as_it_is_wrapped_by_fsdp(given):
    change(given, architectures=["FSDPQwen2ForCausalLM"])
    assert weights.read_config(given) == weights.read_config(FIXTURES / "qwen2")


def test_float16_is_read_as_it_is_and_not_computed_in(given):
    rewrite(given, lambda found: {key: x.astype(np.float16) for key, x in found.items()})
    change(given, dtype="float16", torch_dtype="float16")
    config, kept = load(given)
    assert config.dtype == "float32"
    assert {leaf.dtype.name for leaf in kept.values()} == {"float16"}
    _, wide = load(given, dtype="float32")
    assert {leaf.dtype.name for leaf in wide.values()} == {"float32"}
    assert_same(wide, {path: np.asarray(leaf, np.float32) for path, leaf in kept.items()})


# ---------------------------------------------------------------- tied embeddings


def test_a_head_that_differs_from_the_tied_embedding_is_the_head(given, caplog):
    _, plain = load(given)
    head = np.random.default_rng(0).normal(size=(61, 32)).astype(np.float32)
    rewrite(given, lambda found: found | {"lm_head.weight": head})
    config, found = load(given)
    assert not config.tie_embeddings
    assert "tie_word_embeddings" in caplog.text
    np.testing.assert_array_equal(np.asarray(found["head", "kernel"]), head.T)
    assert_same({path: x for path, x in found.items() if path[0] != "head"}, plain)
    tied = weights.hf_config.read_config(given)
    with pytest.raises(SkillRLError, match="differs from the embedding"):
        weights.load(given, tied)


@pytest.mark.parametrize("kept", ["both", "head"])
def test_a_tied_model_under_both_names_or_the_other_one(given, kept, caplog):
    name = "model.embed_tokens.weight"
    _, plain = load(given)

    def make(found):
        found = found | {"lm_head.weight": found[name]}
        return found if kept == "both" else {k: x for k, x in found.items() if k != name}

    rewrite(given, make)
    config, found = load(given)
    assert config.tie_embeddings
    assert_same(found, plain)
    assert not caplog.text


# ---------------------------------------------------------------- damaged numbers


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16, np.float64])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_with_its_tensor_and_file(given, dtype, value):
    rewrite(given, damage(value, dtype))
    words = f"{UP!r} in {given / 'model.safetensors'} holds a number that is not finite"
    with pytest.raises(Corrupt, match=re.escape(words)):
        load(given)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_a_flipped_bit_in_the_highest_place_of_the_exponent_is_damage(given, dtype):
    found = safetensors.numpy.load_file(given / "model.safetensors")[UP].astype(dtype)
    unsigned = {2: np.uint16, 4: np.uint32}[found.dtype.itemsize]
    bits = found[3, 5:6].view(unsigned) ^ unsigned(1 << (8 * found.dtype.itemsize - 2))
    assert abs(float(bits.view(found.dtype)[0])) > 1e19
    rewrite(given, damage(bits.view(found.dtype)[0], dtype))
    with pytest.raises(Corrupt, match="no trained weight is beyond 65504"):
        load(given)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_largest_number_of_float16_is_let_through(given, dtype):
    largest = np.asarray(-65280.0 if dtype == ml_dtypes.bfloat16 else -65504.0, dtype)
    rewrite(given, damage(largest, dtype))
    load(given)
    if dtype == np.float32:
        rewrite(given, damage(np.nextafter(np.float32(65504), np.float32(1e9))))
        with pytest.raises(Corrupt):
            load(given)


def test_large_arrays_are_looked_at_to_their_ends(monkeypatch):
    monkeypatch.setattr(tensors, "_PIECE", 4)
    for at in (0, 3, 4, 9):
        values = np.zeros(10, np.float32)
        tensors.check_numbers(values, "x")
        values[at] = np.nan
        with pytest.raises(Corrupt, match="x holds a number that is not finite"):
            tensors.check_numbers(values, "x")
    tensors.check_numbers(np.zeros((0, 3), np.float32), "x")


def test_nothing_that_is_not_finite_is_exported(given, tmp_path):
    config, found = load(given)
    path = ("final_norm", "scale")
    params = parameters.unflatten(found | {path: found[path].at[2].set(jax.numpy.nan)})
    with pytest.raises(Corrupt, match=r"nothing is exported: tensor 'model\.norm\.weight'"):
        weights.save(tmp_path / "out", params, config)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- files of other shapes


def stored_as(path, dtype, size):
    """Says in a file's header that `UP` has `dtype`, of `size` bytes a number."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    body, new = b"", {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        piece = data[start:end]
        if name == UP:
            numbers = int(np.prod(entry["shape"]))
            entry, piece = entry | {"dtype": dtype}, b"\x30" * (numbers * size // 8)
        new[name] = entry | {"data_offsets": [len(body), len(body) + len(piece)]}
        body += piece
    text = json.dumps(new).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("F8_E4M3", 8), ("F8_E5M2", 8), ("F8_E8M0", 8), ("F4", 4), ("F6_E2M3", 6), ("I8", 8),
     ("U8", 8), ("I32", 32), ("I64", 64), ("BOOL", 8), ("C64", 64)],
)  # fmt: skip
def test_tensors_that_are_no_floating_point_numbers(given, dtype, bits):
    stored_as(given / "model.safetensors", dtype, bits)
    with pytest.raises(SkillRLError, match=rf"up_proj.* is stored as {dtype}: quantised"):
        load(given)


def shards(directory):
    """The checkpoint in two files with an index; what the index says."""
    found = safetensors.numpy.load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(found)
    weight_map = {}
    for number, part in enumerate((names[:9], names[9:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        safetensors.numpy.save_file({name: found[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    write_index(directory, {"weight_map": weight_map})
    return weight_map


def write_index(directory, content):
    (directory / weights.INDEX).write_text(json.dumps(content))


def test_an_index_says_which_of_two_files_counts(given):
    _, plain = load(given)
    weight_map = shards(given)
    first, last = sorted(set(weight_map.values()))
    name = "model.embed_tokens.weight"
    assert weight_map[name] == first
    rewrite(given, lambda found: found | {name: np.ones((61, 32), np.float32)}, last)  # a leftover
    assert_same(load(given)[1], plain)


def test_one_whole_file_counts_more_than_an_index_as_in_transformers(given):
    _, plain = load(given)
    write_index(given, {"weight_map": {"x": "model-00001-of-00002.safetensors"}})
    assert_same(load(given)[1], plain)


@pytest.mark.parametrize(
    "content",
    [
        [], 3, {}, {"weight_map": None}, {"weight_map": {}}, {"weight_map": ["a"]},
        {"weight_map": {"a": 3}}, {"weight_map": {"a": ["b"]}}, {"weight_map": {"a": ""}},
        {"weight_map": {"a": "../b.safetensors"}}, {"weight_map": {"a": "/etc/passwd"}},
    ],
)  # fmt: skip
def test_an_index_of_another_shape(given, content):
    (given / "model.safetensors").unlink()
    write_index(given, content)
    with pytest.raises(SkillRLError, match=r"model\.safetensors\.index\.json"):
        load(given)


def test_an_index_that_names_a_tensor_where_it_is_not(given):
    weight_map = shards(given)
    first, last = sorted(set(weight_map.values()))
    write_index(given, {"weight_map": weight_map | {UP: first}})
    assert weight_map[UP] == last
    with pytest.raises(SkillRLError, match=re.escape(f"says that {UP!r} is in {given / first}")):
        load(given)


def test_what_git_leaves_in_place_of_a_large_file_is_called_so(given):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    (given / "model.safetensors").write_text(pointer)
    with pytest.raises(SkillRLError, match="git lfs pull"):
        load(given)
    (given / "config.json").write_text(pointer)
    with pytest.raises(SkillRLError, match="git lfs pull"):
        load(given)


def test_a_byte_order_mark_and_half_an_emoji_in_a_config_do_no_harm(given):
    fields = json.loads((given / "config.json").read_text()) | {"note": "\ud83d"}
    (given / "config.json").write_text(json.dumps(fields), encoding="utf-8-sig")
    assert weights.read_config(given) == weights.read_config(FIXTURES / "qwen2")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_may_not_be_read(given, name):
    (given / name).chmod(0)
    with pytest.raises(SkillRLError, match=re.escape(name)):
        load(given)
