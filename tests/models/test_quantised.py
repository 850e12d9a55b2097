"""int8 weights: the numbers by hand, their error, and a policy that uses them."""

import dataclasses
import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.models import lora
from skillrl.models.lora import Lora
from skillrl.models.parameters import flatten
from skillrl.models.projection import Projection
from skillrl.models.quantised import quantise
from skillrl.models.transformer import logits
from tests.conftest import spread_params


@pytest.fixture(params=["tied", "untied"])
def model(request, tiny_config, tiny_params):
    if request.param == "tied":
        return tiny_config, tiny_params
    config = dataclasses.replace(tiny_config, model_type="qwen3", tie_embeddings=False)
    return config, spread_params(config, seed=3)


def test_a_channel_by_hand():
    kernel = jnp.array([[[2.54, 0.0, 1.0], [-1.0, 0.0, -0.5]]])  # [L, D, F]: columns are channels
    gate = {"kernel": kernel}
    found = quantise({"layers": {"mlp": {"gate": gate}}})["layers"]["mlp"]["gate"]
    # 2.54 is 127 steps of 0.02; zeros stay zeros; 1.0 is 127 steps of 1/127.
    assert found["kernel"].tolist() == [[[127, 0, 127], [-50, 0, -64]]]
    assert found["kernel"].dtype == jnp.int8
    np.testing.assert_allclose(found["scale"], [[0.02, 1.0, 1 / 127]], rtol=1e-6)
    assert gate == {"kernel": kernel}  # the original stays
    x = jnp.array([[[[1.0, 2.0]]]])
    one = {"kernel": found["kernel"][0], "scale": found["scale"][0]}
    y = Projection("BGTD,DF->BGTF", (2, 3)).apply({"params": one}, x)
    np.testing.assert_allclose(y[0, 0, 0], [0.54, 0.0, -1 / 127], atol=1e-6)


def test_every_large_weight_is_within_half_a_step_and_the_rest_is_untouched(model):
    _, params = model
    before, after = flatten(params), flatten(quantise(params))
    small = ("bias", "scale")
    kept = [path for path in before if path[-1] in small]
    if ("head", "kernel") in before:
        kept.append(("embed", "embedding"))
    for path, x in before.items():
        if path in kept:
            np.testing.assert_array_equal(after[path], x)
            continue
        scale = np.asarray(after[(*path[:-1], "scale")])
        inputs = tuple(
            axis
            for axis in range(x.ndim)
            # Layers and channels have a scale each; what is summed over has none.
            if axis
            not in {"output": (0, 3), "embed": (0,), "head": (1,)}.get(
                path[-2], (0, *range(2, x.ndim))
            )
        )
        assert after[path].dtype == jnp.int8
        assert scale.ndim == x.ndim - len(inputs)
        step = np.expand_dims(scale, inputs)
        assert (np.abs(after[path] * step - x) <= step * 0.501).all()
        np.testing.assert_array_equal(np.abs(after[path]).max(inputs), 127)


plain = jax.jit(logits, static_argnames="config")


def run(params, config):
    tokens = np.random.default_rng(0).integers(0, 64, (2, 9))
    return np.asarray(plain(params, tokens, config=config))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_close_to_those_of_the_policy(model, dtype):
    config, params = model
    config = dataclasses.replace(config, dtype=dtype)
    exact, found = run(params, config), run(quantise(params), config)
    off = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert 1e-4 < off < 0.03


def test_logits_are_those_of_the_rounded_policy(model):
    config, params = model
    int8 = flatten(quantise(params))
    rounded = jax.tree.map(jnp.asarray, params)
    for path in flatten(params):
        if int8[path].dtype == jnp.int8:
            axes = {"output": (1, 2), "embed": (1,), "head": (0,)}.get(path[-2], (1,))
            node = functools.reduce(dict.__getitem__, path[:-1], rounded)
            node[path[-1]] = int8[path] * jnp.expand_dims(int8[(*path[:-1], "scale")], axes)
    np.testing.assert_allclose(run(quantise(params), config), run(rounded, config), atol=1e-4)


def test_an_adapter_stays_as_it_is_and_in_effect(tiny_config, tiny_params):
    shape = Lora(2, 8.0)
    adapter = jax.tree.map(
        lambda x: x + 0.2, lora.init(jax.random.key(0), tiny_config, shape)
    )  # B starts at zero
    joined = lora.join(adapter, tiny_params, shape)
    int8 = quantise(joined)
    for path, x in flatten(joined).items():
        if path[-1] in (lora.A, lora.B):
            np.testing.assert_array_equal(flatten(int8)[path], x)
    exact, found = run(joined, tiny_config), run(int8, tiny_config)
    without = run(quantise(tiny_params), tiny_config)
    assert np.linalg.norm(found - exact) < 0.05 * np.linalg.norm(without - exact)


SCRIPT = """
    import jax

    from skillrl.models.config import TransformerConfig
    from skillrl.models.parameters import axes_tree, flatten
    from skillrl.models.quantised import quantise
    from skillrl.parallel.mesh import make_mesh
    from skillrl.parallel.rules import tree_shardings
    from tests.conftest import spread_params

    config = TransformerConfig(vocab_size=64, tie_embeddings=False)
    params = spread_params(config)
    mesh = make_mesh(1, 2, 2)
    params = jax.device_put(params, tree_shardings(mesh, axes_tree(config), params))
    before, after = flatten(params), flatten(quantise(params))
    for path, x in before.items():
        assert after[path].sharding == x.sharding, path
    gate = ("layers", "mlp", "gate", "scale")
    assert after[gate].addressable_shards[0].data.shape == (2, 192 // 2)
    print("split alike")
"""


def test_int8_weights_are_split_as_the_originals():
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "split alike\n", done.stderr[-2000:]
