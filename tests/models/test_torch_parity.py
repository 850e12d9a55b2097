"""Both directions against PyTorch transformers itself, live."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from launchers.tiny_policies import tiny_tokenizer  # noqa: E402
from skillrl.models import parameters, transformer, weights  # noqa: E402
from skillrl.models.config import TransformerConfig  # noqa: E402
from tests.models import make_golden  # noqa: E402

pytestmark = pytest.mark.torch

TINY = TransformerConfig(
    vocab_size=61, hidden_size=32, intermediate_size=48, head_dim=8, max_positions=256
)
CONFIGS = {
    "qwen2-tied": TINY,
    "qwen2-untied": dataclasses.replace(TINY, tie_embeddings=False, num_heads=6, num_kv_heads=3,
                                        hidden_size=48),
    "qwen2-wide-heads": dataclasses.replace(TINY, head_dim=12),
    "qwen3-untied": dataclasses.replace(TINY, model_type="qwen3", tie_embeddings=False,
                                        head_dim=12, rope_theta=10_000.0),
    "qwen3-tied": dataclasses.replace(TINY, model_type="qwen3", num_layers=3),
}  # fmt: skip


def random_params(config):
    """Every leaf random, and large enough that a permuted axis shows."""
    rng = np.random.default_rng(0)
    return parameters.unflatten(
        {
            path: jnp.asarray(
                (path[-1] == "scale") + 0.15 * rng.normal(size=spec.shape), jnp.float32
            )
            for path, spec in parameters.specs(config).items()
        }
    )


def ours(params, config, tokens, lengths):
    return np.asarray(
        transformer.logits(params, jnp.asarray(tokens), config=config, lengths=jnp.asarray(lengths))
    )


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_import(tmp_path, name, dtype, shard):
    model = make_golden.make_model(make_golden.configs()[name]).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / weights.INDEX).exists() == (shard == "20KB")
    config = weights.read_config(tmp_path)
    assert config.dtype == dtype
    # The same (rounded) weights in float32 on both sides, so that the bound is tight.
    config = dataclasses.replace(config, dtype="float32")
    params = weights.load(tmp_path, config)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {dtype}
    tokens, lengths = make_golden.make_batch()
    # Loaded afresh: `.to(bfloat16)` also rounded the rotary frequencies of `model`.
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    expected = make_golden.golden_logits(theirs.eval(), tokens, lengths)
    at = np.arange(tokens.shape[1]) < lengths[:, None]
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    np.testing.assert_allclose(
        ours(params, config, tokens, lengths)[at], expected[at], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("max_shard_bytes", [5e9, 20e3])
def test_export(tmp_path, name, max_shard_bytes):
    config = CONFIGS[name]
    params = random_params(config)
    weights.save(tmp_path / "model", params, config, max_shard_bytes=max_shard_bytes)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokens, lengths = make_golden.make_batch()
    expected = make_golden.golden_logits(model.eval(), tokens, lengths)
    at = np.arange(tokens.shape[1]) < lengths[:, None]
    assert np.abs(expected[at]).max() > 1
    np.testing.assert_allclose(
        ours(params, config, tokens, lengths)[at], expected[at], atol=1e-4, rtol=0
    )


def test_export_in_bfloat16_with_its_tokenizer(tmp_path):
    tiny_tokenizer.build(["go to desk 1"], tmp_path / "tokenizer", vocab_size=300)
    config = dataclasses.replace(TINY, dtype="bfloat16", vocab_size=320)
    params = random_params(config)
    weights.save(tmp_path / "model", params, config, tokenizer_dir=tmp_path / "tokenizer")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16
    kernel = params["layers"]["mlp"]["down"]["kernel"][1].T.astype(jnp.bfloat16)
    theirs = model.model.layers[1].mlp.down_proj.weight.detach().float().numpy()
    np.testing.assert_array_equal(np.asarray(kernel, np.float32), theirs)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompt = tokenizer("go to desk 1", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=2, do_sample=False).shape[1] <= 8
