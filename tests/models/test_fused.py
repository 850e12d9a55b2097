"""Weights laid out for sampling compute what the policy computes."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.models import lora
from skillrl.models.fused import should_fuse, to_decode_layout
from skillrl.models.lora import Lora
from skillrl.models.masks import causal_mask
from skillrl.models.parameters import flatten, unflatten
from skillrl.models.projection import FusedProjection
from skillrl.models.quantised import quantise
from skillrl.models.transformer import forward
from skillrl.parallel.mesh import make_mesh
from tests.conftest import spread_params

ADAPTED = {
    "every projection": tuple(lora.TARGETS),
    "some of a group": ("k_proj", "up_proj", "o_proj"),
}


def with_adapter(params, config, targets):
    shape = Lora(3, 6.0, targets)
    random = np.random.default_rng(5)
    leaves = {
        path: jnp.asarray(0.3 * random.normal(size=spec.shape), jnp.float32)
        for path, spec in lora.specs(config, shape).items()
    }
    return lora.join(unflatten(leaves), params, shape)


@functools.partial(jax.jit, static_argnames="config")
def run(params, keep, *, config):
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (2, 2, 7))
    positions = jnp.broadcast_to(jnp.arange(7), tokens.shape)
    mask = causal_mask(jnp.array([[7, 4], [5, 7]]), 7)
    hidden, kv = forward(params, tokens, positions, config=config, mask=mask, keep=keep)
    if isinstance(kv, list):
        kv = jax.tree.map(lambda *layers: jnp.stack(layers), *kv)
    return hidden, kv


WEIGHTS = ["plain", *ADAPTED, "int8", "int8 and every projection"]


@pytest.mark.parametrize(
    ("fuse", "family", "weights"),
    [
        (False, "qwen2", "every projection"),
        (True, "qwen3", "every projection"),
        *((True, "qwen2", weights) for weights in WEIGHTS),
    ],
)
def test_a_pass_is_the_same(tiny_config, family, weights, fuse):
    config = dataclasses.replace(tiny_config, model_type=family, num_heads=4, num_kv_heads=2)
    params = spread_params(config, seed=2)
    for name, targets in ADAPTED.items():
        if weights.endswith(name):
            params = with_adapter(params, config, targets)
    if weights.startswith("int8"):
        params = quantise(params)
    laid_out = to_decode_layout(params, dtype="float32", fuse=fuse)
    keep = jnp.array([[[6], [3]], [[4], [6]]])
    expected, found = run(params, keep, config=config), run(laid_out, keep, config=config)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5)


def test_matrices_side_by_side_by_hand():
    """Inputs (1, 2): gate [1, 0 | 0, 1], up [1; 1] with an adapter A = [1; 0], B = [10]."""
    x = jnp.array([[[[1.0, 2.0]]]])
    leaves = {
        "kernel": jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]),
        "lora_a": jnp.array([[1.0], [0.0]]),
        "lora_b": jnp.array([[0.0, 0.0, 10.0]]),
        "bias": jnp.array([0.0, 0.5, 0.0]),
    }
    gate, up = FusedProjection(((2,), (1,))).apply({"params": leaves}, x)
    assert gate.tolist() == [[[[1.0, 2.5]]]]
    assert up.tolist() == [[[[13.0]]]]


def test_fused_weights_are_kept_in_the_dtype_of_activations(tiny_config, tiny_params):
    params = with_adapter(tiny_params, tiny_config, ADAPTED["every projection"])
    for given, kernel in ((params, jnp.bfloat16), (quantise(params), jnp.int8)):
        layer = to_decode_layout(given, dtype="bfloat16", fuse=True)["layers"][0]
        assert set(layer["attention"]) == {"query_key_value", "output"}
        assert set(layer["mlp"]) == {"gate_up", "down"}
        group = layer["attention"]["query_key_value"]
        assert group["kernel"].shape == (16, (2 + 1 + 1) * 8)
        assert group["kernel"].dtype == kernel
        assert group["lora_a"].shape == (16, 9)
        assert group["lora_a"].dtype == group["lora_b"].dtype == jnp.bfloat16
    assert flatten(params)["layers", "mlp", "gate", "kernel"].dtype == jnp.float32  # it stays


def test_where_they_are_fused():
    assert not should_fuse(make_mesh(devices=jax.devices()[:1]))  # a CPU
    devices = np.array([SimpleNamespace(platform="gpu")])
    for tensor, expected in ((1, True), (2, False)):
        mesh = SimpleNamespace(devices=devices, shape={"data": 1, "fsdp": 2, "tensor": tensor})
        assert should_fuse(mesh) == expected
