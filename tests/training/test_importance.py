import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.training import importance
from skillrl.training.batch import Sample, make_minibatch
from skillrl.training.importance import Importance, find_importance, weigh
from skillrl.training.losses import grpo_loss
from skillrl.training.packing import Shapes

# Two responses of three tokens and of two; what pads the second is not to be read.
RATIOS = np.array([[0.5, 3.0, 1.0], [0.4, 6.0, np.nan]])
MASK = np.array([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("rule", "weights", "bounded"),
    [
        ("token", [[0.5, 2.0, 1.0], [0.4, 2.0, 0.0]], [[0, 1, 0], [0, 1, 0]]),
        # 0.5 * 3 * 1 = 1.5 and 0.4 * 6 = 2.4, which is cut.
        ("sequence", [[1.5, 1.5, 1.5], [2.0, 2.0, 0.0]], [[0, 0, 0], [1, 1, 0]]),
        ("icepop", [[0.5, 3.0, 1.0], [0.0, 0.0, 0.0]], [[0, 0, 0], [1, 1, 0]]),
        ("masked", [[1.5, 1.5, 1.5], [0.0, 0.0, 0.0]], [[0, 0, 0], [1, 1, 0]]),
    ],
)
def test_rules_by_hand(rule, weights, bounded):
    found = find_importance(rule)(jnp.log(RATIOS), MASK)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-5)
    np.testing.assert_array_equal(found.bounded, np.array(bounded, bool))
    assert found.weights.dtype == jnp.float32


@pytest.mark.parametrize("rule", importance.IMPORTANCE_RULES)
def test_edges_of_rules(rule):
    apply = find_importance(rule)
    same = apply(jnp.zeros((2, 3)), MASK)
    np.testing.assert_array_equal(same.weights, MASK)  # one policy: plain GRPO, to the bit
    assert not same.bounded.any()
    for far in (1e4, -1e4, np.inf, -np.inf):
        assert np.isfinite(np.asarray(apply(jnp.full((2, 3), far), MASK).weights)).all()
    nothing = apply(jnp.full((2, 3), jnp.nan), np.zeros((2, 3)))
    assert not nothing.weights.any()
    assert not nothing.bounded.any()
    assert apply(jnp.zeros((0, 3)), np.zeros((0, 3))).weights.shape == (0, 3)
    assert np.isnan(np.asarray(apply(jnp.full((1, 1), jnp.nan), [[1]]).weights)).all() or (
        rule in ("icepop", "masked")  # a ratio that is no number is out of bounds
    )


def minibatch():
    samples = [
        Sample(
            prefix_ids=(1, 2), suffix_ids=(3,), response_ids=(4, 5, 6),
            old_logprobs=(-1.0, -2.0, -0.5), advantage=1.0, trajectory=0,
        ),
        Sample(
            prefix_ids=(1, 2), suffix_ids=(3, 4), response_ids=(7, 8),
            old_logprobs=(-0.3, -0.7), advantage=-2.0, trajectory=1,
        ),
    ]  # fmt: skip
    shapes = Shapes(
        tokens=64, samples_per_row=2, prefix_buckets=(4,), row_buckets=(8,), response_buckets=(4,),
        devices=1,
    )  # fmt: skip
    return make_minibatch(samples, shapes)


def test_weighed_advantages_are_the_loss_with_a_weight_for_each_token():
    batch = minibatch()
    (micro,) = batch.micro_batches
    mask = micro.weights != 0
    rng = np.random.default_rng(0)
    old = np.where(mask, micro.old + rng.normal(0, 1, mask.shape), np.nan).astype(np.float32)
    now = np.where(mask, old + rng.normal(0, 0.5, mask.shape), np.nan).astype(np.float32)
    weighed, metrics = weigh(batch, [jnp.asarray(old)], find_importance("token"))
    (changed,) = weighed.micro_batches
    assert changed.advantages.shape == mask.shape

    def flat(x):
        return np.asarray(x).reshape(-1, np.shape(x)[-1])

    loss, _ = grpo_loss(
        flat(now), old=flat(changed.old), ref=flat(now), advantages=flat(changed.advantages),
        weights=flat(micro.weights), clip_low=0.2, clip_high=0.2, clip_ratio_c=3.0, kl_coeff=0.0,
    )  # fmt: skip
    by_hand, weight_sum, dropped = 0.0, 0.0, 0
    for at in np.argwhere(mask):
        b, g, a = at
        w = min(np.exp(old[b, g, a] - micro.old[b, g, a]), 2.0)
        advantage, ratio = float(micro.advantages[b, g]), np.exp(now[b, g, a] - old[b, g, a])
        surrogate = min(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
        if advantage < 0:
            surrogate = max(surrogate, 3.0 * advantage)
        by_hand -= micro.weights[b, g, a] * w * surrogate
        weight_sum += micro.weights[b, g, a] * w
        dropped += w == 0
    np.testing.assert_allclose(loss, by_hand, rtol=1e-5)
    np.testing.assert_allclose(metrics["importance"], weight_sum, rtol=1e-5)
    assert metrics["importance_dropped"] == dropped == 0
    gaps = np.abs(old - micro.old)[mask]
    np.testing.assert_allclose(metrics["stale_gap"], gaps.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["stale_gap_max"], gaps.max(), rtol=1e-5)


def test_the_weights_have_no_gradient():
    batch = minibatch()
    (micro,) = batch.micro_batches

    def total(old):
        weighed, _ = weigh(batch, [old], find_importance("token"))
        return jnp.sum(weighed.micro_batches[0].advantages)

    assert not jax.grad(total)(jnp.asarray(micro.old) + 0.1).any()


def test_what_is_dropped_is_counted():
    batch = minibatch()
    (micro,) = batch.micro_batches
    old = np.array(micro.old)
    old[np.unravel_index(np.flatnonzero(micro.weights)[0], old.shape)] += 3.0  # e^3 > 5
    _, metrics = weigh(batch, [jnp.asarray(old)], find_importance("icepop"))
    np.testing.assert_allclose(metrics["importance_dropped"], 1 / 5, rtol=1e-6)
    np.testing.assert_allclose(metrics["importance_bounded"], 1 / 5, rtol=1e-6)
    np.testing.assert_allclose(metrics["importance"], 4 / 5, rtol=1e-6)


def test_an_unknown_rule_names_those_there_are():
    with pytest.raises(SkillRLError, match=r"rl.importance is 'tis'.*icepop, masked, sequence"):
        find_importance("tis")


def test_a_rule_of_ones_own(monkeypatch):
    monkeypatch.setattr(importance, "IMPORTANCE_RULES", {})

    @importance.register_importance("ones")
    def ones(log_ratio, mask):
        return Importance(jnp.ones(mask.shape) * mask, jnp.zeros(mask.shape, bool))

    batch = minibatch()
    old = [jnp.asarray(micro.old) + 1.0 for micro in batch.micro_batches]
    _, metrics = weigh(batch, old, find_importance("ones"))
    assert metrics["importance"] == pytest.approx(1.0)
