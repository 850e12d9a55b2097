"""Computes the losses, as pure functions of log-probabilities.

    cold start  L = - sum_t w_t * log pi_theta(a_t | ...)
    RL          L = sum_t w_t * ( - J_t + beta * KL_t )

Letters: N step samples, A response (answer) tokens, right-padded. Everything is float32.

Every loss is a *sum* over tokens with explicit weights. `token_weights` makes the weights of a
whole minibatch on the host (they add up to 1), so the losses and gradients of its micro-batches add
up to exactly those of the minibatch, however it is cut. A token of weight 0 is padding: it is never
read, and NaN or infinity there reaches neither value nor gradient. NaN at a real token is not
hidden.

Sources: SkillRL (arXiv 2602.08234), section 3.3 and equation 9; GRPO (2402.03300); dual clip
(1912.09729); J. Schulman, "Approximating KL divergence" (2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from skillrl import extensions
from skillrl.errors import SkillRLError
from skillrl.training.masked import masked_sum, zero_outside

MAX_LOG_RATIO = 20.0
"""Log-ratios are cut to +-20 before exp (e^20 = 5e8), beyond which the gradient
is 0: in float32 exp overflows at 88, and min() of an infinity has NaN gradients."""

MAX_KL_SLOPE = 100.0
"""Largest slope of k3 in log pi_theta. Plain k3 grows as e^d, so that one token with d = 12 pulls
as hard as 1,600 tokens of advantage 1 do at the paper's coefficient of 0.01; with this bound, as
hard as one."""

AGGREGATIONS = ("token_mean", "trajectory_mean", "micro_batch_mean")


KLEstimator = Callable[[ArrayLike, ArrayLike], jax.Array]
"""``(log pi_theta, log pi_ref) -> estimate of each token``; all float32 of one shape."""

KL_ESTIMATORS: dict[str, KLEstimator] = {}


def register_kl(name: str) -> Callable[[KLEstimator], KLEstimator]:
    """Registers an estimator of the KL as `name` (``rl.kl_estimator`` in a config).

    Raises:
      SkillRLError: the name is taken.
    """
    return _adder(KL_ESTIMATORS, "KL estimator", name)


class PolicyLoss(Protocol):
    """Computes the objective of each token, which is to be maximised; see `clipped_surrogate`."""

    def __call__(
        self,
        logprobs: jax.Array,
        old: jax.Array,
        *,
        advantages: ArrayLike,
        mask: jax.Array,
        clip_low: float,
        clip_high: float,
        clip_ratio_c: float | None,
    ) -> jax.Array:
        """Computes the objective from arrays as `clipped_surrogate` takes them.

        Args:
          logprobs: float32 [N, A] of the policy in training.
          old: float32 [N, A] of the policy that sampled.
          advantages: [N], or [N, A].
          mask: bool [N, A], true at response tokens.
          clip_low: how far below 1 a ratio still counts.
          clip_high: how far above 1 a ratio still counts.
          clip_ratio_c: how large a ratio still counts where the advantage is negative; None
            sets no limit.

        Returns:
          float32 [N, A], 0 outside the mask.
        """


POLICY_LOSSES: dict[str, PolicyLoss] = {}


def register_policy_loss(name: str) -> Callable[[PolicyLoss], PolicyLoss]:
    """Registers an objective as `name` (``rl.policy_loss`` in a config).

    Raises:
      SkillRLError: the name is taken.
    """
    return _adder(POLICY_LOSSES, "policy loss", name)


def _adder(table: dict[str, Any], what: str, name: str) -> Callable[[Any], Any]:
    """Returns a decorator that puts a function into `table` as `name`; `what` is for messages."""

    def add(function: Any) -> Any:
        extensions.register(what, name, function, registry=table)
        return function

    return add


def find_kl(name: str) -> KLEstimator:
    """Returns the KL estimator that is registered as `name`.

    Raises:
      SkillRLError: there is none; the message lists those there are.
    """
    return _find(KL_ESTIMATORS, "rl.kl_estimator", name)


def find_policy_loss(name: str) -> PolicyLoss:
    """Returns the objective that is registered as `name`.

    Raises:
      SkillRLError: there is none; the message lists those there are.
    """
    return _find(POLICY_LOSSES, "rl.policy_loss", name)


def _find(table: dict[str, Any], setting: str, name: str) -> Any:
    """Returns what `table` has as `name`, the value of `setting`.

    Raises:
      SkillRLError: it has nothing of this name; the message lists what it has.
    """
    if name not in table:
        raise SkillRLError(f"{setting} is {name!r}; choose one of: {', '.join(sorted(table))}.")
    return table[name]


def token_weights(
    mask: ArrayLike,
    trajectory_index: ArrayLike,
    *,
    kind: str = "token_mean",
    micro_batch: int = 4,
) -> NDArray[np.float32]:
    """Computes the weight of every token in the loss of one whole minibatch.

    ``token_mean``: 1 / (response tokens of the minibatch).
    ``trajectory_mean``: 1 / (tokens of the token's trajectory * trajectories),
    the per-trajectory mean that equation 9 of the paper (2602.08234) has.
    Trajectories without a token do not count.
    ``micro_batch_mean``: 1 / (tokens of its micro-batch * micro-batches), the mean of token
    means that the released code takes. A micro-batch is `micro_batch` samples in their order,
    however they are computed here. Micro-batches without a token do not count.

    Examples:
      >>> token_weights([[1, 1], [1, 0], [1, 0]], [0, 0, 1]).tolist()
      [[0.25, 0.25], [0.25, 0.0], [0.25, 0.0]]
      >>> token_weights([[1, 1], [1, 1], [1, 0]], [0, 0, 1], kind="trajectory_mean").tolist()
      [[0.125, 0.125], [0.125, 0.125], [0.5, 0.0]]

    Args:
      mask: [N, A], true at response tokens.
      trajectory_index: int [N], equal for steps of one trajectory; any ids.
      kind: one of `AGGREGATIONS`.
      micro_batch: samples of a micro-batch, at least 1; read by ``micro_batch_mean`` alone.

    Returns:
      float32 [N, A], adding up to 1, or all 0 if no token is selected.

    Raises:
      SkillRLError: unknown kind, or shapes that do not fit.
    """
    mask = np.asarray(mask).astype(bool)
    trajectory_index = np.asarray(trajectory_index)
    if mask.ndim != 2 or trajectory_index.shape != mask.shape[:1]:
        raise SkillRLError(
            f"token_weights: mask {mask.shape} must be [N, A] and trajectory_index "
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
    """Computes the cross entropy of the demonstrated tokens (paper 3.3).

        L = - sum_t w_t * log pi_theta(a_t | ...)

    Examples:
      >>> float(sft_loss([[-1.0, -3.0], [-2.0, 0.0]], [[0.25, 0.25], [0.5, 0.0]]))
      2.0

    Args:
      logprobs: [N, A] log-probabilities of the demonstrated tokens.
      weights: [N, A] from `token_weights`.

    Returns:
      float32 scalar, in nats.
    """
    return -_weighted_sum(logprobs, weights)


@register_policy_loss("clipped")
def clipped_surrogate(
    logprobs: ArrayLike,
    old: ArrayLike,
    *,
    advantages: ArrayLike,
    mask: ArrayLike,
    clip_low: float,
    clip_high: float,
    clip_ratio_c: float | None = None,
) -> jax.Array:
    """Computes the clipped policy objective of each token (to be maximised).

        rho_t = exp(log pi_theta(a_t) - log pi_old(a_t))
        J_t = min(rho_t * A_t, clip(rho_t, 1 - clip_low, 1 + clip_high) * A_t)

    and, where A_t < 0, at least clip_ratio_c * A_t (dual clip, arXiv 1912.09729): without it
    the gradient of a disadvantageous token grows with rho_t without a bound.

    Equation 9 of the paper with a ratio per token, as its code has it, rather than per trajectory.
    The equation has no dual clip; the released code has one of 3.

    Examples:
      A ratio of 2 counts as 1.25 at an advantage of 1, and in full at -1:

      >>> twice, once = jnp.log(jnp.full((2, 1), 2.0)), jnp.zeros((2, 1))
      >>> clipped_surrogate(
      ...     twice, once, advantages=[1.0, -1.0], mask=[[1], [1]], clip_low=0.25, clip_high=0.25
      ... ).tolist()
      [[1.25], [-2.0]]

    Args:
      logprobs: [N, A] of the policy in training.
      old: [N, A] of the policy that sampled.
      advantages: [N], the same for all tokens of a step, or [N, A].
      mask: [N, A], non-zero at response tokens.
      clip_low: how far below 1 a ratio still counts.
      clip_high: how far above 1 a ratio still counts.
      clip_ratio_c: how large a ratio still counts where the advantage is negative, above
        1 + clip_high; None sets no limit.

    Returns:
      float32 [N, A], 0 outside the mask.
    """
    ratio = _ratio(logprobs, old, mask)
    advantages = _per_token(advantages, mask)
    clipped = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
    surrogate = jnp.minimum(ratio * advantages, clipped * advantages)
    if clip_ratio_c is None:
        return surrogate
    return jnp.where(advantages < 0, jnp.maximum(surrogate, clip_ratio_c * advantages), surrogate)


@register_kl("k1")
def kl_k1(logprobs: ArrayLike, ref: ArrayLike) -> jax.Array:
    """Estimates KL(pi_theta || pi_ref) by ``log pi_theta - log pi_ref`` of each sampled token.

    Unbiased as a number; its gradient has expectation 0, so as a loss term it does not pull towards
    the reference. It is for monitoring.

    Args:
      logprobs: [...] of the policy in training.
      ref: [...] of the reference policy.
    """
    return jnp.asarray(logprobs, jnp.float32) - jnp.asarray(ref, jnp.float32)


@register_kl("k3")
def kl_k3(logprobs: ArrayLike, ref: ArrayLike) -> jax.Array:
    """Estimates KL(pi_theta || pi_ref) at each sampled token; never negative.

        k3 = exp(d) - d - 1,    d = log pi_ref(a_t) - log pi_theta(a_t)

    up to the d where its slope is `MAX_KL_SLOPE` (d = ln 101 = 4.6), and its tangent from there
    on. Source: J. Schulman, "Approximating KL divergence" (2020), as in GRPO (2402.03300). The
    tangent is ours: a token that the policy has all but given up pulls back with a bounded force,
    where plain k3 lets it drown all others and `kl_k3_clamped` lets it go. expm1 keeps the digits
    that ``exp(d) - 1`` loses near d = 0.

    Examples:
      >>> [round(float(kl), 3) for kl in kl_k3([0.0, -1.0, -10.0], [0.0, 0.0, 0.0])]
      [0.0, 0.718, 633.873]
    """
    delta = jnp.asarray(ref, jnp.float32) - jnp.asarray(logprobs, jnp.float32)
    curved = jnp.minimum(delta, np.log1p(MAX_KL_SLOPE))
    return jnp.expm1(curved) - curved + MAX_KL_SLOPE * (delta - curved)


@register_kl("k3_clamped")
def kl_k3_clamped(logprobs: ArrayLike, ref: ArrayLike) -> jax.Array:
    """Estimates the KL as the released code does: plain k3, with its value cut to at most 10.

    Where it is cut (d above 2.6 or below -11) its gradient is 0: nothing pulls such a token back.

    Examples:
      >>> [round(float(kl), 3) for kl in kl_k3_clamped([-1.0, -10.0], [0.0, 0.0])]
      [0.718, 10.0]
    """
    delta = jnp.asarray(ref, jnp.float32) - jnp.asarray(logprobs, jnp.float32)
    delta = jnp.clip(delta, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    return jnp.clip(jnp.expm1(delta) - delta, -10.0, 10.0)


def grpo_loss(
    logprobs: ArrayLike,
    *,
    old: ArrayLike,
    ref: ArrayLike,
    advantages: ArrayLike,
    weights: ArrayLike,
    clip_low: float,
    clip_high: float,
    kl_coeff: float,
    kl_estimator: str = "k3",
    clip_ratio_c: float | None = None,
    policy_loss: str = "clipped",
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the RL loss of one micro-batch (paper equation 9, negated, per token).

        L = sum_t w_t * ( - J_t + kl_coeff * KL_t )

    with J_t of `policy_loss`, by default `clipped_surrogate`. The KL term is kept for every group,
    also where all advantages are 0.

    Examples:
      With the policy that sampled every ratio is 1, and the loss is minus the weighted advantages:

      >>> logprobs = [[-1.0, -2.0], [-1.0, 0.0]]
      >>> loss, metrics = grpo_loss(
      ...     logprobs, old=logprobs, ref=logprobs, advantages=[1.0, -2.0],
      ...     weights=[[0.25, 0.25], [0.5, 0.0]], clip_low=0.2, clip_high=0.2, kl_coeff=0.01,
      ... )
      >>> float(loss), float(metrics["kl"]), float(metrics["ratio"])
      (0.5, 0.0, 1.0)

    Args:
      logprobs: [N, A] of the policy in training.
      old: [N, A] recorded at sampling.
      ref: [N, A] of the reference policy (the SFT policy); gradients stop here.
      advantages: [N] or [N, A].
      weights: [N, A] from `token_weights` over the whole minibatch; 0 = padding.
      clip_low: see `clipped_surrogate`.
      clip_high: see `clipped_surrogate`.
      kl_coeff: beta, at least 0.
      kl_estimator: a key of `KL_ESTIMATORS`.
      clip_ratio_c: see `clipped_surrogate`.
      policy_loss: a key of `POLICY_LOSSES`.

    Returns:
      The loss (float32 scalar) and metrics (float32 scalars, no gradient).
      Metrics of micro-batches add up to the minibatch's, as the loss does:
      ``policy_loss``, ``kl``, ``clip_fraction``, ``dual_clip_fraction``, ``ratio``,
      ``sampler_gap`` (weighted mean of |logprobs - old|: before the first update of an
      iteration, how far sampler and trainer disagree), ``surprise`` (weighted mean of
      -logprobs: for tokens sampled at temperature 1, an estimate of the policy's entropy);
      except ``sampler_gap_max`` and ``kl_max``, of which the maximum is to be taken.

    Raises:
      SkillRLError: unknown ``kl_estimator`` or ``policy_loss``.
    """
    objective, estimate_kl = find_policy_loss(policy_loss), find_kl(kl_estimator)
    mask = _mask(weights)
    logprobs, old, ref = (zero_outside(x, mask) for x in (logprobs, old, ref))
    old, ref = jax.lax.stop_gradient((old, ref))

    surrogate = objective(
        logprobs,
        old,
        advantages=advantages,
        mask=mask,
        clip_low=clip_low,
        clip_high=clip_high,
        clip_ratio_c=clip_ratio_c,
    )
    kl = estimate_kl(logprobs, ref)
    loss_of_policy = -_weighted_sum(surrogate, weights)
    kl_loss = _weighted_sum(kl, weights)
    loss = loss_of_policy + kl_coeff * kl_loss

    ratio = _ratio(logprobs, old, mask)
    plain = ratio * _per_token(advantages, mask)
    gap = jnp.abs(logprobs - old)
    metrics = {
        "policy_loss": loss_of_policy,
        "kl": kl_loss,
        "kl_max": jnp.max(zero_outside(kl, mask), initial=0.0),
        "clip_fraction": _weighted_sum(surrogate < plain, weights),
        "dual_clip_fraction": _weighted_sum(surrogate > plain, weights),
        "ratio": _weighted_sum(ratio, weights),
        "sampler_gap": _weighted_sum(gap, weights),
        "sampler_gap_max": jnp.max(gap, initial=0.0),
        "surprise": _weighted_sum(-logprobs, weights),
    }
    return loss, jax.lax.stop_gradient(metrics)


def combine_metrics(total: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Combines metrics of two parts of a minibatch: takes maxima of ``*_max``, adds the others."""
    return {
        name: jnp.maximum(total[name], value) if name.endswith("_max") else total[name] + value
        for name, value in part.items()
    }


def _mask(weights: ArrayLike) -> jax.Array:
    """Tells which tokens count: bool [N, A], true where the weight is not 0."""
    return jnp.asarray(weights) != 0


def _per_token(advantages: ArrayLike, mask: ArrayLike) -> jax.Array:
    """Spreads advantages [N] or [N, A] to float32 [N, A], with 0 outside the mask."""
    advantages = jnp.asarray(advantages, jnp.float32)
    if advantages.ndim == 1:
        advantages = advantages[:, None]
    return zero_outside(jnp.broadcast_to(advantages, jnp.asarray(mask).shape), mask)


def _ratio(logprobs: ArrayLike, old: ArrayLike, mask: ArrayLike) -> jax.Array:
    """Computes pi_theta / pi_old of each token as float32 [N, A]; it is 1 outside the mask.

    The log-ratio is cut to +-`MAX_LOG_RATIO` first.
    """
    log_ratio = zero_outside(logprobs, mask) - zero_outside(old, mask)
    return jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))


def _weighted_sum(x: ArrayLike, weights: ArrayLike) -> jax.Array:
    """Computes ``sum_t w_t * x_t``, a float32 scalar; what has weight 0 is not read."""
    mask = _mask(weights)
    return masked_sum(zero_outside(x, mask) * jnp.asarray(weights, jnp.float32), mask)
