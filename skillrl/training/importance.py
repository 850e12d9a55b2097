"""Weighs tokens that another policy sampled than the one that learns from them.

    w_t = pi_old(a_t) / pi_sampler(a_t)

pi_old is the policy before an iteration's updates, pi_sampler the one whose log-probabilities were
recorded: an earlier one where rollouts run ahead (``rollout.max_staleness``), in another engine's
arithmetic. The objective stays that of pi_old, clipped around it, and each token of it counts by a
bounded form of w_t, its *importance*, which has no gradient (the decoupled objective of AReaL,
arXiv 2505.24298, section 5; truncation as in IMPALA, 1802.01561).

Every rule bounds in its own way, since w_t itself may be anything. A rule is a pure function of
log-ratios; letters are those of `training.losses`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from skillrl import extensions
from skillrl.errors import SkillRLError
from skillrl.training.batch import MicroBatch, Minibatch
from skillrl.training.losses import MAX_LOG_RATIO, combine_metrics
from skillrl.training.masked import masked_sum, zero_outside


class Importance(NamedTuple):
    """Holds what a rule makes of log-ratios.

    Attributes:
      weights: float32 [N, A], at least 0; 0 outside the mask.
      bounded: bool [N, A], where the weight is not the ratio but a bound of it, or 0.
    """

    weights: jax.Array
    bounded: jax.Array


Rule = Callable[[ArrayLike, ArrayLike], Importance]
"""``(log pi_old - log pi_sampler [N, A], mask [N, A]) -> Importance``."""

IMPORTANCE_RULES: dict[str, Rule] = {}


def register_importance(name: str) -> Callable[[Rule], Rule]:
    """Registers a rule as `name` (``rl.importance`` in a config).

    Raises:
      SkillRLError: the name is taken.
    """

    def add(rule: Rule) -> Rule:
        extensions.register("importance rule", name, rule, registry=IMPORTANCE_RULES)
        return rule

    return add


def find_importance(name: str) -> Rule:
    """Returns the rule that is registered as `name`.

    Raises:
      SkillRLError: there is none; the message lists those there are.
    """
    if name not in IMPORTANCE_RULES:
        known = ", ".join(sorted(IMPORTANCE_RULES))
        raise SkillRLError(f"rl.importance is {name!r}; choose one of: {known}.")
    return IMPORTANCE_RULES[name]


@register_importance("token")
def token(log_ratio: ArrayLike, mask: ArrayLike, *, cap: float = 2.0) -> Importance:
    """Truncates the ratio of each token.

        w_t = min(exp(d_t), cap),    d_t = log pi_old(a_t) - log pi_sampler(a_t)

    Truncated importance sampling, by token: biased, since it forgets that earlier tokens had other
    odds, and of little variance. Source: F. Yao et al., "Your efficient RL framework secretly
    brings you off-policy RL training" (2025), whose cap is 2.

    Examples:
      >>> log_ratio = jnp.log(jnp.array([[0.5, 3.0, 9.0]]))
      >>> token(log_ratio, [[1, 1, 0]]).weights.tolist()
      [[0.5, 2.0, 0.0]]

    Args:
      log_ratio: [N, A].
      mask: [N, A], non-zero at response tokens.
      cap: the largest weight.
    """
    ratio, mask = _ratio(log_ratio, mask), _mask(mask)
    return _importance(jnp.minimum(ratio, cap), ratio > cap, mask)


@register_importance("sequence")
def sequence(log_ratio: ArrayLike, mask: ArrayLike, *, cap: float = 2.0) -> Importance:
    """Truncates the ratio of each response, which all its tokens share.

        w = min(exp(sum_t d_t), cap)

    Without the cap unbiased, and of a variance that grows with the length of a response: a long one
    is punished for being long. Sources as of `token`.

    Args:
      log_ratio: [N, A].
      mask: [N, A], non-zero at response tokens.
      cap: the largest weight.
    """
    ratio, mask = _response_ratio(log_ratio, mask), _mask(mask)
    return _importance(jnp.minimum(ratio, cap), ratio > cap, mask)


@register_importance("icepop")
def icepop(
    log_ratio: ArrayLike, mask: ArrayLike, *, low: float = 0.5, high: float = 5.0
) -> Importance:
    """Drops tokens whose ratio is out of bounds.

        w_t = exp(d_t) where low <= exp(d_t) <= high, else 0

    Source: IcePop (Ring-1T, arXiv 2510.18855), bounds included.

    Args:
      log_ratio: [N, A].
      mask: [N, A], non-zero at response tokens.
      low: the smallest ratio that counts.
      high: the largest.
    """
    ratio, mask = _ratio(log_ratio, mask), _mask(mask)
    good = (ratio >= low) & (ratio <= high)
    return _importance(jnp.where(good, ratio, 0.0), ~good, mask)


@register_importance("masked")
def masked(
    log_ratio: ArrayLike, mask: ArrayLike, *, low: float = 0.5, high: float = 2.0
) -> Importance:
    """Drops responses whose ratio is out of bounds.

        w = exp(sum_t d_t) where low <= exp(sum_t d_t) <= high, else 0

    Masked importance sampling, by response: what is too far from the policy to be weighed teaches
    nothing. Source: J. Liu et al., "When speed kills stability" (2025).

    Args:
      log_ratio: [N, A].
      mask: [N, A], non-zero at response tokens.
      low: the smallest ratio that counts.
      high: the largest.
    """
    ratio, mask = _response_ratio(log_ratio, mask), _mask(mask)
    good = (ratio >= low) & (ratio <= high)
    return _importance(jnp.where(good, ratio, 0.0), ~good, mask)


def weigh(
    minibatch: Minibatch, old: list[jax.Array], rule: Rule
) -> tuple[Minibatch, dict[str, Any]]:
    """Makes an older policy's minibatch one of pi_old, each token weighed by its importance.

    A surrogate objective is proportional to the advantage (A_t >= 0 and A_t < 0 apart, and a weight
    changes no sign), so the weight is multiplied into that: advantages become [B, G, A]. The KL
    term is not weighed, so a dropped token still holds the policy to the reference.

    Args:
      minibatch: with the log-probabilities that sampling saw.
      old: log-probabilities of pi_old [B, G, A] of each micro-batch, as of `Updater.score`.
      rule: bounds the ratios.

    Returns:
      The minibatch with `old` and weighed advantages, and metrics by name, each a mean over the
      tokens by their weight in the loss: ``importance`` (the weights), ``importance_bounded`` (the
      share of tokens whose weight is a bound, or 0), ``importance_dropped`` (the share of tokens
      of weight 0), ``stale_gap`` (\\|log pi_old - log pi_sampler\\|); and ``stale_gap_max``.
    """
    batches, totals = [], dict[str, Any]()
    for batch, logprobs in zip(minibatch.micro_batches, old, strict=True):
        weighed, metrics = _weigh_one(batch, logprobs, rule)
        batches.append(weighed)
        totals = combine_metrics(totals, metrics) if totals else metrics
    return dataclasses.replace(minibatch, micro_batches=tuple(batches)), totals


def _weigh_one(
    batch: MicroBatch, old: jax.Array, rule: Rule
) -> tuple[MicroBatch, dict[str, jax.Array]]:
    weights = jnp.asarray(batch.weights)
    shape, flat = weights.shape, (-1, weights.shape[-1])
    mask = weights != 0
    log_ratio = zero_outside(old, mask) - zero_outside(batch.old, mask)
    found = rule(log_ratio.reshape(flat), mask.reshape(flat))
    importance = jax.lax.stop_gradient(found.weights.reshape(shape))
    bounded = found.bounded.reshape(shape)
    metrics = {
        "importance": masked_sum(importance * weights, mask),
        "importance_bounded": masked_sum(bounded * weights, mask),
        "importance_dropped": masked_sum((importance == 0) * weights, mask),
        "stale_gap": masked_sum(jnp.abs(log_ratio) * weights, mask),
        "stale_gap_max": jnp.max(jnp.abs(log_ratio), initial=0.0),
    }
    advantages = jnp.asarray(batch.advantages)[..., None] * importance
    return dataclasses.replace(batch, old=old, advantages=advantages), metrics


def _mask(mask: ArrayLike) -> jax.Array:
    return jnp.asarray(mask) != 0


def _ratio(log_ratio: ArrayLike, mask: ArrayLike) -> jax.Array:
    """Computes the ratio of each token, float32 [N, A]; the log-ratio is cut as in the losses."""
    return jnp.exp(jnp.clip(zero_outside(log_ratio, mask), -MAX_LOG_RATIO, MAX_LOG_RATIO))


def _response_ratio(log_ratio: ArrayLike, mask: ArrayLike) -> jax.Array:
    """Computes the ratio of each row's whole response, float32 [N, A], equal along A."""
    summed = masked_sum(log_ratio, mask, axis=-1)
    ratio = jnp.exp(jnp.clip(summed, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    return jnp.broadcast_to(ratio[..., None], jnp.shape(log_ratio))


def _importance(weights: jax.Array, bounded: jax.Array, mask: jax.Array) -> Importance:
    return Importance(zero_outside(weights, mask), bounded & mask)
