"""The losses, as pure functions of log-probabilities.

Shapes: N step samples, R response tokens (right-padded). Everything is float32.

Every loss is a *sum* over tokens with explicit weights. `token_weights` makes
the weights of a whole minibatch on the host (they add up to 1), so the losses
and gradients of its micro-batches add up to exactly those of the minibatch,
however it is cut. A token of weight 0 is padding: it is never read, and NaN or
infinity there reaches neither value nor gradient. NaN at a real token is not
hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from skillrl.errors import SkillRLError
from skillrl.training.masked import masked_sum

MAX_LOG_RATIO = 20.0
"""Log-ratios are cut to +-20 before exp (e^20 = 5e8), beyond which the gradient
is 0: in float32 exp overflows at 88, and min() of an infinity has NaN gradients."""

MAX_KL_SLOPE = 100.0
"""Largest slope of k3 in log pi_theta. Plain k3 grows as e^d, so that one token with d = 12 pulls
as hard as 1,600 tokens of advantage 1 do at the paper's coefficient of 0.01; with this bound, as
hard as one."""

AGGREGATIONS = ("token_mean", "trajectory_mean", "micro_batch_mean")


def token_weights(
    mask: ArrayLike,
    trajectory_index: ArrayLike,
    kind: str = "token_mean",
    *,
    micro_batch: int = 4,
) -> NDArray[np.float32]:
    """Weight of every token in the loss of one whole minibatch.

    ``token_mean``: 1 / (response tokens of the minibatch).
    ``trajectory_mean``: 1 / (tokens of the token's trajectory * trajectories),
    the per-trajectory mean that equation 9 of the paper (2602.08234) has.
    Trajectories without a token do not count.
    ``micro_batch_mean``: 1 / (tokens of its micro-batch * micro-batches), the mean of token
    means that the released code takes. A micro-batch is `micro_batch` samples in their order,
    however they are computed here. Micro-batches without a token do not count.

    Args:
      mask: [N, R], true at response tokens.
      trajectory_index: int [N], equal for steps of one trajectory; any ids.
      kind: one of `AGGREGATIONS`.
      micro_batch: samples of a micro-batch, at least 1; read by ``micro_batch_mean`` alone.

    Returns:
      float32 [N, R], adding up to 1, or all 0 if no token is selected.

    Raises:
      SkillRLError: unknown kind, or shapes that do not fit.
    """
    mask = np.asarray(mask).astype(bool)
    trajectory_index = np.asarray(trajectory_index)
    if mask.ndim != 2 or trajectory_index.shape != mask.shape[:1]:
        raise SkillRLError(
            f"token_weights: mask {mask.shape} must be [N, R] and trajectory_index "
            f"{trajectory_index.shape} its [N]"
        )
    if kind not in AGGREGATIONS:
        known = ", ".join(AGGREGATIONS)
        raise SkillRLError(f"unknown loss aggregation {kind!r}; choose one of: {known}")
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    if kind == "token_mean":
        return (mask / mask.sum()).astype(np.float32)
    if kind == "micro_batch_mean":
        inverse = np.arange(len(mask)) // micro_batch
    else:
        inverse = np.unique(trajectory_index, return_inverse=True)[1].reshape(-1)
    tokens = np.bincount(inverse, weights=mask.sum(axis=1))
    per_row = 1.0 / (np.maximum(tokens, 1)[inverse] * np.count_nonzero(tokens))
    return (mask * per_row[:, None]).astype(np.float32)


def sft_loss(logprobs: ArrayLike, weights: ArrayLike) -> jax.Array:
    """Cross entropy of the demonstrated tokens (paper 3.3).

        L = - sum_t w_t * log pi_theta(a_t | ...)

    Args:
      logprobs: [N, R] log-probabilities of the demonstrated tokens.
      weights: [N, R] from `token_weights`.

    Returns:
      float32 scalar, in nats.
    """
    return -_weighted_sum(logprobs, weights)


def clipped_surrogate(
    logprobs: ArrayLike,
    old: ArrayLike,
    advantages: ArrayLike,
    mask: ArrayLike,
    *,
    clip_low: float,
    clip_high: float,
    clip_ratio_c: float | None = None,
) -> jax.Array:
    """Clipped policy objective of each token (to be maximised).

        rho_t = exp(log pi_theta(a_t) - log pi_old(a_t))
        J_t = min(rho_t * A_t, clip(rho_t, 1 - clip_low, 1 + clip_high) * A_t)

    and, where A_t < 0, at least clip_ratio_c * A_t (dual clip, arXiv 1912.09729): without it
    the gradient of a disadvantageous token grows with rho_t without a bound.

    Equation 9 of the paper with a ratio per token, as its code has it, rather
    than per trajectory. The equation has no dual clip; the released code has one of 3.

    Args:
      logprobs: [N, R] of the policy in training.
      old: [N, R] of the policy that sampled.
      advantages: [N], the same for all tokens of a step, or [N, R].
      mask: [N, R], non-zero at response tokens.
      clip_low: how far below 1 a ratio still counts.
      clip_high: how far above 1 a ratio still counts.
      clip_ratio_c: how large a ratio still counts where the advantage is negative, above
        1 + clip_high; None sets no limit.

    Returns:
      float32 [N, R], 0 outside the mask.
    """
    ratio = _ratio(logprobs, old, mask)
    advantages = _per_token(advantages, mask)
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    surrogate = jnp.minimum(ratio * advantages, clipped * advantages)
    if clip_ratio_c is None:
        return surrogate
    return jnp.where(advantages < 0, jnp.maximum(surrogate, clip_ratio_c * advantages), surrogate)


def kl_k1(logprobs: ArrayLike, ref: ArrayLike) -> jax.Array:
    """``log pi_theta - log pi_ref`` of each sampled token.

    Unbiased as a number; its gradient has expectation 0, so as a loss term it
    does not pull towards the reference. For monitoring.
    """
    return jnp.asarray(logprobs, jnp.float32) - jnp.asarray(ref, jnp.float32)


def kl_k3(logprobs: ArrayLike, ref: ArrayLike) -> jax.Array:
    """Estimate of KL(pi_theta || pi_ref) at each sampled token, never negative.

        k3 = exp(d) - d - 1,    d = log pi_ref(a_t) - log pi_theta(a_t)

    up to the d where its slope is `MAX_KL_SLOPE` (d = ln 101 = 4.6), and its tangent from there
    on. Source: J. Schulman, "Approximating KL divergence" (2020), as in GRPO (2402.03300). The
    tangent is ours: a token that the policy has all but given up pulls back with a bounded force,
    where plain k3 lets it drown all others and `kl_k3_clamped` lets it go. expm1 keeps the digits
    that ``exp(d) - 1`` loses near d = 0.
    """
    delta = jnp.asarray(ref, jnp.float32) - jnp.asarray(logprobs, jnp.float32)
    curved = jnp.minimum(delta, np.log1p(MAX_KL_SLOPE))
    return jnp.expm1(curved) - curved + MAX_KL_SLOPE * (delta - curved)


def kl_k3_clamped(logprobs: ArrayLike, ref: ArrayLike) -> jax.Array:
    """The k3 of the released code: plain, with its value cut to at most 10.

    Where it is cut (d above 2.6 or below -11) its gradient is 0: nothing pulls such a token back.
    """
    delta = jnp.asarray(ref, jnp.float32) - jnp.asarray(logprobs, jnp.float32)
    delta = jnp.clip(delta, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return jnp.clip(jnp.expm1(delta) - delta, -10.0, 10.0)


KL_ESTIMATORS: dict[str, Callable[[ArrayLike, ArrayLike], jax.Array]] = {
    "k1": kl_k1,
    "k3": kl_k3,
    "k3_clamped": kl_k3_clamped,
}


def grpo_loss(
    logprobs: ArrayLike,
    old: ArrayLike,
    ref: ArrayLike,
    advantages: ArrayLike,
    weights: ArrayLike,
    *,
    clip_low: float,
    clip_high: float,
    kl_coeff: float,
    kl_estimator: str = "k3",
    clip_ratio_c: float | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The RL loss of one micro-batch (paper equation 9, negated, per token).

        L = sum_t w_t * ( - J_t + kl_coeff * KL_t )

    with J_t of `clipped_surrogate`. The KL term is kept for every group, also
    where all advantages are 0.

    Args:
      logprobs: [N, R] of the policy in training.
      old: [N, R] recorded at sampling.
      ref: [N, R] of the reference policy (the SFT policy); gradients stop here.
      advantages: [N] or [N, R].
      weights: [N, R] from `token_weights` over the whole minibatch; 0 = padding.
      clip_low: see `clipped_surrogate`.
      clip_high: see `clipped_surrogate`.
      kl_coeff: beta, at least 0.
      kl_estimator: a key of `KL_ESTIMATORS`.
      clip_ratio_c: see `clipped_surrogate`.

    Returns:
      The loss (float32 scalar) and metrics (float32 scalars, no gradient).
      Metrics of micro-batches add up to the minibatch's, as the loss does:
      ``policy_loss``, ``kl``, ``clip_fraction``, ``dual_clip_fraction``, ``ratio``,
      ``sampler_gap`` (weighted mean of |logprobs - old|: before the first update of an
      iteration, how far sampler and trainer disagree), ``surprise`` (weighted mean of
      -logprobs: for tokens sampled at temperature 1, an estimate of the policy's entropy);
      except ``sampler_gap_max`` and ``kl_max``, of which the maximum is to be taken.

    Raises:
      SkillRLError: unknown ``kl_estimator``.
    """
    if kl_estimator not in KL_ESTIMATORS:
        known = ", ".join(KL_ESTIMATORS)
        raise SkillRLError(f"unknown KL estimator {kl_estimator!r}; choose one of: {known}")
    mask = _mask(weights)
    logprobs, old, ref = (_real(x, mask) for x in (logprobs, old, ref))
    old, ref = jax.lax.stop_gradient((old, ref))

    surrogate = clipped_surrogate(
        logprobs,
        old,
        advantages,
        mask,
        clip_low=clip_low,
        clip_high=clip_high,
        clip_ratio_c=clip_ratio_c,
    )
    kl = KL_ESTIMATORS[kl_estimator](logprobs, ref)
    policy_loss = -_weighted_sum(surrogate, weights)
    kl_loss = _weighted_sum(kl, weights)
    loss = policy_loss + kl_coeff * kl_loss

    ratio = _ratio(logprobs, old, mask)
    plain = ratio * _per_token(advantages, mask)
    gap = jnp.abs(logprobs - old)
    metrics = {
        "policy_loss": policy_loss,
        "kl": kl_loss,
        "kl_max": jnp.max(_real(kl, mask), initial=0.0),
        "clip_fraction": _weighted_sum(surrogate < plain, weights),
        "dual_clip_fraction": _weighted_sum(surrogate > plain, weights),
        "ratio": _weighted_sum(ratio, weights),
        "sampler_gap": _weighted_sum(gap, weights),
        "sampler_gap_max": jnp.max(gap, initial=0.0),
        "surprise": _weighted_sum(-logprobs, weights),
    }
    return loss, jax.lax.stop_gradient(metrics)


def combine_metrics(total: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Metrics of two micro-batches of one minibatch as those of both together."""
    return {
        name: jnp.maximum(total[name], value) if name.endswith("_max") else total[name] + value
        for name, value in part.items()
    }


def _mask(weights: ArrayLike) -> jax.Array:
    return jnp.asarray(weights) != 0


def _real(x: ArrayLike, mask: ArrayLike) -> jax.Array:
    """``x`` in float32, with 0 for whatever stands at padding."""
    mask = jnp.asarray(mask)
    return jnp.where(mask.astype(bool), jnp.asarray(x, jnp.float32), 0.0)


def _per_token(advantages: ArrayLike, mask: ArrayLike) -> jax.Array:
    """[N] or [N, R] advantages as [N, R]."""
    advantages = jnp.asarray(advantages, jnp.float32)
    if advantages.ndim == 1:
        advantages = advantages[:, None]
    return _real(jnp.broadcast_to(advantages, jnp.shape(mask)), mask)


def _ratio(logprobs: ArrayLike, old: ArrayLike, mask: ArrayLike) -> jax.Array:
    log_ratio = _real(logprobs, mask) - _real(old, mask)
    return jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def _weighted_sum(x: ArrayLike, weights: ArrayLike) -> jax.Array:
    """``sum_t w_t * x_t``; what stands at weight 0 is not read."""
    mask = _mask(weights)
    return masked_sum(_real(x, mask) * jnp.asarray(weights, jnp.float32), mask)
