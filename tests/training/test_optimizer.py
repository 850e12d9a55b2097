import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from skillrl.errors import SkillRLError
from skillrl.training.optimizer import (
    decay_mask,
    learning_rate_schedule,
    make_optimizer,
    state_shardings,
)

PARAMS = {
    "layers": {
        "q": {"kernel": jnp.full((2, 3, 3), 2.0), "bias": jnp.full((2, 3), 2.0)},
        "q_norm": {"scale": jnp.full((2, 3), 2.0)},
        "input_layernorm": {"weight": jnp.full((2, 3), 2.0)},
    },
    "embed": {"embedding": jnp.full((5, 3), 2.0)},
}
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def step(optimizer, params, gradients, state=None):
    state = optimizer.init(params) if state is None else state
    updates, state = jax.jit(optimizer.update)(gradients, state, params)
    return optax.apply_updates(params, updates), state


def test_schedules_by_hand():
    def rates(schedule, steps, **options):
        rate = learning_rate_schedule(1.0, schedule=schedule, **options)
        return [float(rate(s)) for s in steps]

    warm = {"total_steps": 12, "warmup_steps": 4}
    for name in ("constant", "linear", "cosine"):
        np.testing.assert_allclose(rates(name, range(5), **warm), [0.25, 0.5, 0.75, 1, 1])
    after = [8, 12, 20]
    np.testing.assert_allclose(rates("constant", after, **warm), [1, 1, 1])
    np.testing.assert_allclose(rates("linear", after, **warm), [0.5, 0, 0])
    np.testing.assert_allclose(rates("cosine", after, **warm), [0.5, 0, 0], atol=1e-7)
    np.testing.assert_allclose(rates("linear", [0, 1, 2], total_steps=2), [1, 0.5, 0])
    np.testing.assert_allclose(rates("cosine", [0, 1], total_steps=2, warmup_steps=1), [1, 1])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"schedule": "poly"}, "constant, linear, cosine"),
        ({"schedule": "linear", "warmup_steps": 10}, "lower warmup_steps"),
        ({"schedule": "constant", "warmup_steps": -1}, "warmup_steps"),
        ({"schedule": "constant", "learning_rate": -1.0}, "learning_rate"),
        ({"schedule": "constant", "learning_rate": float("nan")}, "learning_rate"),
        ({"schedule": "constant", "max_grad_norm": 0.0}, "max_grad_norm"),
        ({"schedule": "constant", "weight_decay": -0.1}, "weight_decay"),
    ],
)
def test_numbers_out_of_range_are_refused(options, match):
    with pytest.raises(SkillRLError, match=match):
        make_optimizer(**({"learning_rate": 0.1, "total_steps": 10} | options))


def test_the_first_step_by_hand():
    # Adam's first step is the sign of the gradient; decay adds 0.1 * 2 to the kernels only.
    optimizer = make_optimizer(
        0.5, total_steps=10, weight_decay=0.1, max_grad_norm=float("inf"), eps=0.0
    )
    params, _ = step(optimizer, PARAMS, jax.tree.map(lambda g: -3.0 * g, ONES))
    decayed, plain = 2 + 0.5 * (1 - 0.2), 2 + 0.5
    layers = params["layers"]
    np.testing.assert_allclose(layers["q"]["kernel"], decayed, rtol=1e-5)
    np.testing.assert_allclose(params["embed"]["embedding"], decayed, rtol=1e-5)
    np.testing.assert_allclose(layers["q"]["bias"], plain, rtol=1e-5)
    np.testing.assert_allclose(layers["q_norm"]["scale"], plain, rtol=1e-5)
    np.testing.assert_allclose(layers["input_layernorm"]["weight"], plain, rtol=1e-5)


def test_decay_leaves_out_biases_and_norms():
    mask = decay_mask(PARAMS)
    assert mask["layers"]["q"] == {"kernel": True, "bias": False}
    assert mask["layers"]["q_norm"] == {"scale": False}
    assert mask["layers"]["input_layernorm"] == {"weight": False}
    assert mask["embed"] == {"embedding": True}


def test_gradients_are_clipped_by_their_global_norm():
    # With a large eps Adam's step is nearly linear in the gradient: (0.1 g / 0.1) / eps.
    def moved(max_grad_norm):
        optimizer = make_optimizer(
            1.0, total_steps=1, weight_decay=0.0, max_grad_norm=max_grad_norm, eps=1e4
        )
        params, _ = step(optimizer, {"w": jnp.zeros(2)}, {"w": jnp.array([3.0, 4.0])})
        return np.asarray(params["w"])

    np.testing.assert_allclose(moved(10.0), [-3e-4, -4e-4], rtol=1e-3)
    np.testing.assert_allclose(moved(1.0), [-0.6e-4, -0.8e-4], rtol=1e-3)


def test_learning_rate_zero_moves_nothing():
    optimizer = make_optimizer(0.0, total_steps=10, warmup_steps=2)
    params, state = step(optimizer, PARAMS, ONES)
    params, _ = step(optimizer, params, ONES, state)
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def test_the_state_is_float32_and_the_parameters_keep_their_type():
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    optimizer = make_optimizer(0.1, total_steps=10)
    params, state = step(optimizer, low, jax.tree.map(jnp.ones_like, low))
    moments = [x for x in jax.tree.leaves(state) if x.ndim]
    assert len(moments) == 2 * len(jax.tree.leaves(PARAMS))
    assert {x.dtype for x in moments} == {jnp.dtype("float32")}
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}


def test_the_tree_of_the_state_does_not_depend_on_the_numbers():
    one = make_optimizer(0.1, total_steps=10).init(PARAMS)
    other = make_optimizer(
        0.0, schedule="cosine", total_steps=5, warmup_steps=2, weight_decay=0.0
    ).init(PARAMS)
    assert jax.tree.structure(one) == jax.tree.structure(other)


def test_moments_lie_as_their_parameters():
    mesh = Mesh(np.array(jax.devices()[:1]), ("x",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("x"))
    whole = NamedSharding(mesh, PartitionSpec())
    optimizer = make_optimizer(0.1, total_steps=10)
    shardings = state_shardings(
        optimizer,
        PARAMS,
        param_shardings=jax.tree.map(lambda _: split, PARAMS),
        scalar=whole,
    )
    state = optimizer.init(PARAMS)
    assert jax.tree.structure(shardings) == jax.tree.structure(state)
    jax.tree.map(
        lambda x, s: np.testing.assert_equal(s, split if x.ndim else whole), state, shardings
    )
