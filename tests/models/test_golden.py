"""Our logits against those of PyTorch transformers, recorded by make_golden.py."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.models import transformer, weights

logits = jax.jit(transformer.logits, static_argnames="config")

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"
NAMES = ("qwen2", "qwen3")


@pytest.fixture(scope="module", params=NAMES)
def golden(request):
    directory = FIXTURES / request.param
    config = weights.read_config(directory)
    return config, weights.load(directory, config), np.load(directory / "golden.npz")


def real(golden):
    return np.arange(golden["tokens"].shape[1]) < golden["lengths"][:, None]


def test_logits_match(golden):
    config, params, golden = golden
    ours = logits(
        params, jnp.asarray(golden["tokens"]), config=config, lengths=jnp.asarray(golden["lengths"])
    )
    at = real(golden)
    assert ours.dtype == jnp.float32
    assert np.abs(golden["logits"][at]).max() > 1  # the reference is not degenerate
    np.testing.assert_allclose(np.asarray(ours)[at], golden["logits"][at], atol=1e-4, rtol=0)


def test_padding_tokens_do_not_matter(golden):
    config, params, golden = golden
    at = real(golden)
    lengths = jnp.asarray(golden["lengths"])
    one = logits(params, jnp.asarray(golden["tokens"]), config=config, lengths=lengths)
    other = np.where(at, golden["tokens"], 0)
    two = logits(params, jnp.asarray(other), config=config, lengths=lengths)
    np.testing.assert_array_equal(np.asarray(one)[at], np.asarray(two)[at])


def test_bfloat16_activations_stay_close(golden):
    config, params, golden = golden
    half = dataclasses.replace(config, dtype="bfloat16")
    ours = logits(
        jax.tree.map(lambda x: x.astype(jnp.bfloat16), params),
        jnp.asarray(golden["tokens"]),
        config=half,
        lengths=jnp.asarray(golden["lengths"]),
    )
    at = real(golden)
    error = np.abs(np.asarray(ours)[at] - golden["logits"][at])
    assert error.mean() < 0.03 * golden["logits"][at].std()
