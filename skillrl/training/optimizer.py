"""Makes AdamW with warm-up, gradient clipping and float32 state.

    gradients -> clip by global norm -> Adam -> decoupled weight decay -> * -learning rate

Source of AdamW: arXiv 1711.05101.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from skillrl.errors import SkillRLError

SCHEDULES = ("constant", "linear", "cosine")


def learning_rate_schedule(
    learning_rate: float, *, schedule: str, total_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
    """Makes the learning rate by optimiser step.

    Warm-up goes linearly from ``learning_rate / warmup_steps`` at step 0 (not
    from 0, which would waste a step) to ``learning_rate``; then it stays
    (``constant``) or falls to 0 at ``total_steps`` (``linear``, ``cosine``).

    Args:
      learning_rate: the highest value; 0 freezes the policy.
      schedule: one of `SCHEDULES`.
      total_steps: optimiser steps of the phase; not used by ``constant``.
      warmup_steps: steps of warm-up, fewer than ``total_steps``.

    Returns:
      A function from step (0-based) to learning rate.

    Raises:
      SkillRLError: unknown schedule or numbers that do not fit.
    """
    if schedule not in SCHEDULES:
        raise SkillRLError(f"unknown schedule {schedule!r}; choose one of: {', '.join(SCHEDULES)}")
    if not 0 <= learning_rate < float("inf"):
        raise SkillRLError(f"learning_rate is {learning_rate}; it must be a number, 0 or more")
    if warmup_steps < 0 or (schedule != "constant" and warmup_steps >= total_steps):
        raise SkillRLError(
            f"warmup_steps is {warmup_steps} and total_steps {total_steps}; schedule "
            f"{schedule!r} needs 0 <= warmup_steps < total_steps: lower warmup_steps"
        )
    decay_steps = total_steps - warmup_steps
    if schedule == "linear":
        body = optax.linear_schedule(learning_rate, 0.0, decay_steps)
    elif schedule == "cosine":
        body = optax.cosine_decay_schedule(learning_rate, decay_steps)
    else:
        body = optax.constant_schedule(learning_rate)
    if warmup_steps == 0:
        return body
    climb = max(warmup_steps - 1, 1)
    warmup = optax.linear_schedule(learning_rate / warmup_steps, learning_rate, climb)
    return optax.join_schedules([warmup, body], [warmup_steps])


def make_optimizer(
    learning_rate: float,
    *,
    schedule: str = "constant",
    total_steps: int,
    warmup_steps: int = 0,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Makes AdamW, a pair of pure functions ``init`` and ``update``.

    The state is float32 whatever the parameters are, and its tree does not
    depend on the numbers given here. Gradients that are not finite make
    parameters that are not: check ``optax.tree.norm(gradients)`` in the step.

    Args:
      learning_rate: see `learning_rate_schedule`; 0 leaves parameters bit for
        bit as they are (the frozen-policy control).
      schedule: see `learning_rate_schedule`.
      total_steps: see `learning_rate_schedule`.
      warmup_steps: see `learning_rate_schedule`.
      weight_decay: decoupled decay per step, times the learning rate; not
        applied to norms and biases (`decays`).
      max_grad_norm: gradients of a larger global norm are scaled down to it.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment.

    Raises:
      SkillRLError: numbers out of range.
    """
    if not max_grad_norm > 0:
        raise SkillRLError(f"max_grad_norm is {max_grad_norm}; it must be above 0 (inf: no limit)")
    if not weight_decay >= 0:
        raise SkillRLError(f"weight_decay is {weight_decay}; it must be 0 or more")
    rate = learning_rate_schedule(
        learning_rate, schedule=schedule, total_steps=total_steps, warmup_steps=warmup_steps
    )
    return _in_float32(
        optax.chain(
            optax.clip_by_global_norm(max_grad_norm),
            optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
            optax.add_decayed_weights(weight_decay, mask=decay_mask),
            optax.scale_by_learning_rate(rate),
        )
    )


def decays(path: tuple[Any, ...]) -> bool:
    """Returns whether weight decay applies to the parameter at ``path`` of a tree.

    It goes by the name, since a norm of scanned layers is a matrix [layers, D] like others: decay
    applies to everything but what is called a bias, a scale or (within) a norm.
    """
    names = [str(jax.tree_util.keystr((key,), simple=True)).lower() for key in path]
    leaf = names[-1] if names else ""
    return not (leaf == "scale" or leaf.endswith("bias") or any("norm" in n for n in names))


def decay_mask(params: Any) -> Any:
    """Returns `decays` of every parameter, as a tree of booleans."""
    return jax.tree_util.tree_map_with_path(lambda path, _: decays(path), params)


def state_shardings(
    optimizer: optax.GradientTransformation, params: Any, *, param_shardings: Any, scalar: Any
) -> Any:
    """Returns the shardings of the optimiser state: moments lie as their parameters do.

    Args:
      optimizer: from `make_optimizer`.
      params: parameters or their shapes (`jax.ShapeDtypeStruct`).
      param_shardings: a tree like ``params`` of shardings.
      scalar: the sharding of counters, i.e. replicated on the mesh.

    Returns:
      A tree like ``optimizer.init(params)`` of shardings.
    """
    return optax.tree_map_params(
        optimizer,
        lambda _, sharding: sharding,
        jax.eval_shape(optimizer.init, params),
        param_shardings,
        transform_non_params=lambda _: scalar,
    )


def _in_float32(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Runs the optimiser on float32 copies, so that its moments are float32."""

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

    def init(params: Any) -> Any:
        return optimizer.init(cast(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return optimizer.update(cast(updates), state, cast(params))

    return optax.GradientTransformation(init, update)
