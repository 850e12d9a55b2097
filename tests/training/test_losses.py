import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from skillrl.errors import SkillRLError
from skillrl.training import losses

CLIP = {"clip_low": 0.2, "clip_high": 0.3}
RL = {**CLIP, "kl_coeff": 0.1}


def rl_loss(logprobs, old, ref, advantages, weights, **options):
    """`losses.grpo_loss` with the settings of these tests."""
    arrays = {"old": old, "ref": ref, "advantages": advantages, "weights": weights}
    return losses.grpo_loss(logprobs, **arrays, **RL | options)


def example(rows=4, tokens=5, seed=0):
    """Random log-probabilities with ratios on both sides of the clip, and padding."""
    rng = np.random.default_rng(seed)
    old = -rng.uniform(0.1, 3.0, (rows, tokens)).astype(np.float32)
    logprobs = old + rng.normal(0, 0.3, (rows, tokens)).astype(np.float32)
    ref = old + rng.normal(0, 0.5, (rows, tokens)).astype(np.float32)
    advantages = rng.normal(0, 1, rows).astype(np.float32)
    lengths = np.array([5, 1, 3, 4, 2, 5])[:rows]
    mask = np.arange(tokens) < lengths[:, None]
    return logprobs, old, ref, advantages, mask


def test_token_weights_by_hand():
    mask = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    trajectory = [4, 4, 9, 2]  # four tokens, two tokens, none
    by_token = losses.token_weights(mask, trajectory, kind="token_mean")
    np.testing.assert_allclose(by_token, mask / 6, rtol=1e-6)
    by_trajectory = losses.token_weights(mask, trajectory, kind="trajectory_mean")
    expected = mask * np.array([1 / 8, 1 / 8, 1 / 4, 0])[:, None]
    np.testing.assert_allclose(by_trajectory, expected, rtol=1e-6)
    for weights in (by_token, by_trajectory):
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("kind", losses.AGGREGATIONS)
def test_token_weights_of_nothing(kind):
    assert not losses.token_weights(np.zeros((2, 3)), [0, 1], kind=kind).any()
    assert losses.token_weights(np.zeros((0, 3)), np.zeros(0), kind=kind).shape == (0, 3)


def test_token_weights_refuse_what_does_not_fit():
    with pytest.raises(SkillRLError, match=r"'mean'.*token_mean"):
        losses.token_weights(np.ones((1, 2)), [0], kind="mean")
    with pytest.raises(SkillRLError, match="trajectory_index"):
        losses.token_weights(np.ones((2, 2)), [0])


def test_sft_loss_by_hand():
    logprobs = jnp.log(jnp.array([[0.5, 0.25], [0.125, jnp.nan]]))
    weights = jnp.array([[1 / 3, 1 / 3], [1 / 3, 0.0]])
    loss, gradient = jax.value_and_grad(losses.sft_loss)(logprobs, weights)
    np.testing.assert_allclose(loss, np.log(2) * (1 + 2 + 3) / 3, rtol=1e-6)
    np.testing.assert_allclose(gradient, -weights)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (1.0, 2.0, 2.0, 2.0),  # on policy: the policy gradient
        (1.0, -2.0, -2.0, -2.0),
        (1.5, 2.0, 1.3 * 2.0, 0.0),  # already much likelier: clipped above
        (1.5, -2.0, 1.5 * -2.0, 1.5 * -2.0),  # went the wrong way: not clipped
        (0.5, 2.0, 0.5 * 2.0, 0.5 * 2.0),
        (0.5, -2.0, 0.8 * -2.0, 0.0),  # already much less likely: clipped below
        (1.25, 2.0, 1.25 * 2.0, 1.25 * 2.0),  # within the asymmetric clip
    ],
)
def test_clip_by_hand(ratio, advantage, objective, slope):
    def total(logprobs):
        old = jnp.full((1, 1), -1.0)
        advantages, mask = jnp.array([advantage]), jnp.ones((1, 1))
        args = {"advantages": advantages, "mask": mask, **CLIP}
        return losses.clipped_surrogate(logprobs, old, **args).sum()

    value, gradient = jax.value_and_grad(total)(jnp.full((1, 1), -1.0 + np.log(ratio)))
    np.testing.assert_allclose(value, objective, rtol=1e-5)
    np.testing.assert_allclose(gradient[0, 0], slope, rtol=1e-5, atol=1e-7)


def test_kl_estimators_by_hand():
    logprobs, ref = jnp.log(jnp.array([0.5, 0.25])), jnp.log(jnp.array([0.25, 0.25]))
    np.testing.assert_allclose(losses.kl_k3(logprobs, ref), [0.5 + np.log(2) - 1, 0.0], rtol=1e-6)
    np.testing.assert_allclose(losses.kl_k1(logprobs, ref), [np.log(2), 0.0], rtol=1e-6)


def test_kl_estimates_average_to_the_kl():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.5, 0.3])
    kl = np.sum(p * np.log(p / q))
    for estimate in losses.KL_ESTIMATORS.values():
        np.testing.assert_allclose(np.sum(p * estimate(np.log(p), np.log(q))), kl, rtol=1e-5)


def test_one_token_that_is_far_off_does_not_own_the_update():
    """With d = 12 plain k3 has a slope of e^12 - 1 = 162,754; ours ends at 100, with a pull."""
    d = jnp.array([0.1, np.log(101.0), 12.0, 80.0])
    slopes = jax.vmap(jax.grad(lambda x: losses.kl_k3(x, 0.0)))(-d)
    np.testing.assert_allclose(slopes, [-np.expm1(0.1), -100.0, -100.0, -100.0], rtol=1e-5)
    values = losses.kl_k3(-d, 0.0)
    bend = 100.0 - np.log(101.0)
    np.testing.assert_allclose(
        values[1:],
        [bend, bend + 100 * (12 - np.log(101)), bend + 100 * (80 - np.log(101))],
        rtol=1e-5,
    )
    # A thousand tokens with advantages of +-1 and that one: its share of the gradient's norm.
    logprobs, old = np.full((1, 1001), -1.0, np.float32), np.full((1, 1001), -1.0, np.float32)
    ref = logprobs.copy()
    ref[0, 0] += 12.0
    advantages = np.where(np.arange(1001) % 2, 1.0, -1.0)[None]
    advantages[0, 0] = 0.0
    weights = np.full((1, 1001), 1 / 1001, np.float32)
    gradient = jax.grad(rl_loss, has_aux=True)(
        logprobs, old, ref, advantages, weights, clip_low=0.2, clip_high=0.2, kl_coeff=0.01
    )[0]
    share = abs(gradient[0, 0]) / np.linalg.norm(gradient)
    np.testing.assert_allclose(share, 1 / np.sqrt(1001), rtol=1e-3)  # one token among equals


def test_the_released_k3_lets_go_of_what_is_far_off():
    d = jnp.array([1.0, 2.6, 2.7, 12.0, -9.0, -12.0])
    values = losses.kl_k3_clamped(-d, 0.0)
    expected = [np.e - 2, np.expm1(2.6) - 2.6, 10.0, 10.0, 9 + np.expm1(-9.0), 10.0]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    slopes = jax.vmap(jax.grad(lambda x: losses.kl_k3_clamped(x, 0.0)))(-d)
    np.testing.assert_allclose(
        slopes, [1 - np.e, -np.expm1(2.6), 0, 0, -np.expm1(-9.0), 0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (2.9, -2.0, 2.9 * -2.0, 2.9 * -2.0),
        (3.1, -2.0, 3.0 * -2.0, 0.0),  # limited
        (np.exp(12.0), -2.0, 3.0 * -2.0, 0.0),
        (np.exp(12.0), 2.0, 1.3 * 2.0, 0.0),  # the upper clip is before it
        (0.5, -2.0, 0.8 * -2.0, 0.0),
        (3.1, 0.0, 0.0, 0.0),
    ],
)
def test_dual_clip_by_hand(ratio, advantage, objective, slope):
    def total(logprobs):
        old = jnp.full((1, 1), -15.0)
        advantages, mask = jnp.array([advantage]), jnp.ones((1, 1))
        args = {"advantages": advantages, "mask": mask, **CLIP}
        return losses.clipped_surrogate(logprobs, old, **args, clip_ratio_c=3.0).sum()

    value, gradient = jax.value_and_grad(total)(jnp.full((1, 1), -15.0 + np.log(ratio)))
    np.testing.assert_allclose(value, objective, rtol=1e-5)
    np.testing.assert_allclose(gradient[0, 0], slope, rtol=1e-5, atol=1e-7)


def test_dual_clip_is_counted():
    old = jnp.full((1, 4), -9.0)
    logprobs = old + jnp.log(jnp.array([[1.0, 4.0, 4.0, 0.5]]))
    advantages = jnp.array([[1.0, -1.0, 1.0, -1.0]])
    _, metrics = rl_loss(logprobs, old, old, advantages, np.full((1, 4), 0.25), clip_ratio_c=3.0)
    assert metrics["clip_fraction"] == 0.5
    assert metrics["dual_clip_fraction"] == 0.25
    # d = -ln 4 twice and ln 2 once: 1/4 - 1 + ln 4 is the largest k3.
    np.testing.assert_allclose(metrics["kl_max"], np.log(4.0) - 0.75, rtol=1e-5)
    np.testing.assert_allclose(metrics["surprise"], -float(logprobs.mean()), rtol=1e-6)


def test_weights_of_micro_batches_by_hand():
    """Four samples in twos: 3 + 1 tokens, 2 tokens, and a pair without any does not count."""
    mask = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    weights = losses.token_weights(mask, np.zeros(6), kind="micro_batch_mean", micro_batch=2)
    expected = mask * np.array([1 / 8, 1 / 8, 1 / 4, 0, 0, 0])[:, None]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    one = losses.token_weights(mask, np.zeros(6), kind="micro_batch_mean", micro_batch=6)
    np.testing.assert_allclose(one, mask / 6, rtol=1e-6)


def test_k3_keeps_its_digits_near_zero_and_is_never_negative():
    delta = np.float32(1e-4)
    np.testing.assert_allclose(losses.kl_k3(-delta, 0.0), 5e-9, rtol=0.1)
    assert losses.kl_k3(-1.0, -1.0) == 0.0
    grid = np.linspace(-30, 30, 101, dtype=np.float32)
    assert (np.asarray(losses.kl_k3(grid, 0.0)) >= 0).all()


def test_grpo_loss_and_metrics_by_hand():
    old = jnp.full((2, 2), -1.0)
    ratios = jnp.array([[1.0, 1.5], [0.5, 1.0]])
    logprobs = old + jnp.log(ratios)
    ref = logprobs + jnp.log(2.0)
    weights = jnp.array([[0.25, 0.25], [0.5, 0.0]])
    loss, metrics = rl_loss(logprobs, old, ref, jnp.array([1.0, -1.0]), weights)
    policy = -(0.25 * 1.0 + 0.25 * 1.3 + 0.5 * -0.8)
    kl = 2.0 - np.log(2) - 1  # the same at each token
    np.testing.assert_allclose(metrics["policy_loss"], policy, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(loss, policy + 0.1 * kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["clip_fraction"], 0.75)
    np.testing.assert_allclose(metrics["ratio"], 0.25 * 1 + 0.25 * 1.5 + 0.5 * 0.5, rtol=1e-5)
    gap = 0.25 * np.log(1.5) + 0.5 * np.log(2)
    np.testing.assert_allclose(metrics["sampler_gap"], gap, rtol=1e-5)
    np.testing.assert_allclose(metrics["sampler_gap_max"], np.log(2), rtol=1e-5)


def test_at_ratio_one_the_gradient_is_the_policy_gradient():
    logprobs, _, _, advantages, mask = example()
    weights = losses.token_weights(mask, np.arange(4))
    gradient, metrics = jax.grad(rl_loss, has_aux=True)(
        logprobs, logprobs, logprobs, advantages, weights
    )
    np.testing.assert_allclose(gradient, -advantages[:, None] * weights, rtol=1e-6)
    assert metrics["kl"] == metrics["clip_fraction"] == metrics["sampler_gap_max"] == 0.0
    np.testing.assert_allclose(metrics["ratio"], 1.0, rtol=1e-6)


@pytest.mark.parametrize("estimator", sorted(losses.KL_ESTIMATORS))
@pytest.mark.parametrize("kind", losses.AGGREGATIONS)
def test_gradients_agree_with_finite_differences(kind, estimator):
    logprobs, old, ref, advantages, mask = example()
    weights = losses.token_weights(mask, [0, 0, 1, 2], kind=kind)

    def loss(x):
        return rl_loss(x, old, ref, advantages, weights, kl_estimator=estimator)[0]

    check_grads(loss, (logprobs,), order=1, modes=("rev",), atol=2e-3, rtol=2e-3, eps=1e-2)
    ratio = np.exp(logprobs - old)[mask]
    assert (ratio > 1.3).any(), "the example must reach the upper clip"
    assert (ratio < 0.8).any(), "the example must reach the lower clip"


@pytest.mark.parametrize("kind", losses.AGGREGATIONS)
@pytest.mark.parametrize("cuts", [[2], [1, 2, 3]])
def test_micro_batches_add_up_to_the_minibatch(kind, cuts):
    logprobs, old, ref, advantages, mask = example()
    weights = losses.token_weights(mask, [0, 0, 1, 0], kind=kind)
    grad = jax.jit(jax.value_and_grad(rl_loss, has_aux=True))
    (whole, metrics), gradient = grad(logprobs, old, ref, advantages, weights)

    parts = [np.split(x, cuts) for x in (logprobs, old, ref, advantages, weights)]
    results = [grad(*arrays) for arrays in zip(*parts, strict=True)]
    np.testing.assert_allclose(sum(value for (value, _), _ in results), whole, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate([g for _, g in results]), gradient)
    combined = functools.reduce(losses.combine_metrics, [m for (_, m), _ in results])
    assert combined.keys() == metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(combined[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, -1e30])
def test_padding_is_never_read(garbage):
    logprobs, old, ref, advantages, mask = example()
    weights = losses.token_weights(mask, np.arange(4))
    grad = jax.jit(jax.value_and_grad(rl_loss, has_aux=True))
    clean = grad(logprobs, old, ref, advantages, weights)
    dirty = grad(*(np.where(mask, x, garbage) for x in (logprobs, old, ref)), advantages, weights)
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    np.testing.assert_array_equal(np.asarray(dirty[1])[~mask], 0.0)

    sft = jax.value_and_grad(losses.sft_loss)(np.where(mask, logprobs, garbage), weights)
    jax.tree.map(
        np.testing.assert_array_equal, sft, jax.value_and_grad(losses.sft_loss)(logprobs, weights)
    )


def test_a_nan_at_a_real_token_shows():
    logprobs, old, ref, advantages, mask = example()
    logprobs[0, 0] = np.nan
    weights = losses.token_weights(mask, np.arange(4))
    assert np.isnan(rl_loss(logprobs, old, ref, advantages, weights)[0])
    assert np.isnan(losses.sft_loss(logprobs, weights))


def test_fully_masked():
    logprobs, old, ref, advantages, mask = example()
    grad = jax.value_and_grad(rl_loss, has_aux=True)
    (loss, metrics), gradient = grad(logprobs, old, ref, advantages, np.zeros(mask.shape))
    assert loss == 0.0
    assert all(value == 0.0 for value in metrics.values())
    np.testing.assert_array_equal(gradient, np.zeros(mask.shape))


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("gap", [200.0, -200.0])
def test_absurd_ratios_keep_gradients_finite(gap, advantage):
    old = jnp.full((1, 1), -201.0)
    grad = jax.value_and_grad(rl_loss, has_aux=True)
    (loss, _), gradient = grad(old + gap, old, old, jnp.array([advantage]), jnp.ones((1, 1)))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_advantages_by_token_equal_advantages_by_step():
    logprobs, old, ref, advantages, mask = example()
    weights = losses.token_weights(mask, np.arange(4))
    by_token = np.repeat(advantages[:, None], mask.shape[1], axis=1)
    one = rl_loss(logprobs, old, ref, advantages, weights)
    other = rl_loss(logprobs, old, ref, by_token, weights)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_the_reference_and_the_old_policy_get_no_gradient():
    logprobs, old, ref, advantages, mask = example()
    weights = losses.token_weights(mask, np.arange(4))
    gradients, _ = jax.grad(rl_loss, argnums=(1, 2), has_aux=True)(
        logprobs, old, ref, advantages, weights
    )
    assert not any(np.asarray(g).any() for g in gradients)


def test_unknown_kl_estimator():
    logprobs, old, ref, advantages, mask = example()
    with pytest.raises(SkillRLError, match="k1, k3, k3_clamped"):
        rl_loss(logprobs, old, ref, advantages, mask, kl_estimator="k2")


def test_losses_are_float32_in_whatever_precision_they_are_fed():
    logprobs, old, ref, advantages, mask = (jnp.asarray(x) for x in example())
    low = [x.astype(jnp.bfloat16) for x in (logprobs, old, ref, advantages)]
    weights = losses.token_weights(mask, np.arange(4))
    loss, metrics = rl_loss(*low, weights)
    assert loss.dtype == jnp.float32
    assert {value.dtype for value in metrics.values()} == {jnp.dtype("float32")}
