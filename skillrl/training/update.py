"""One optimiser step over a minibatch, with every prefix computed once.

1. Prefixes forward, grid by grid: tokens -> keys and values.
2. Micro-batches of suffix rows: gradients with respect to (parameters, prefix KV),
   added up.
3. One backward pass through each grid of prefixes takes the summed KV gradient.
4. Clip, AdamW, new state.

By the chain rule this equals the gradient of the plain computation over whole
prompts: a prefix's KV is the only path from its tokens to the loss, since no prefix
token is trained on. It costs one prefix pass per prefix instead of one per row.

`make_updater` builds the jitted pieces once; `Updater.update` and `Updater.score` are
pure: state and batch in, state and metrics out.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, Segment
from skillrl.models.logprobs import token_logprobs, token_logprobs_and_entropies
from skillrl.models.masks import causal_mask
from skillrl.models.transformer import Params, forward
from skillrl.parallel.rules import put_rows, replicated
from skillrl.training.batch import Micro, Minibatch
from skillrl.training.finite import all_finite
from skillrl.training.losses import combine_metrics
from skillrl.training.masked import masked_sum
from skillrl.training.prefix_pool import PrefixPool

LossFn = Callable[[jax.Array, Micro], tuple[jax.Array, dict[str, jax.Array]]]
"""``(logprobs [N, R], rows flattened to N) -> (sum over the rows, metrics)``."""


AHEAD = 2
"""Micro-batches that are handed to the device before it is done with an earlier one: it always
has the next, while inputs and gradients of a few exist at once and not those of all."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes on the device.

    Attributes:
      params: the trained tree, all of the policy or part of it (`training.partition`).
      optimizer: Optax state, float32.
      step: int32 scalar, updates so far.
    """

    params: Params
    optimizer: Any
    step: jax.Array


@dataclasses.dataclass(frozen=True)
class Updater:
    """Jitted functions of one phase; see `make_updater`.

    Attributes:
      update: ``(state, minibatch, frozen={}) -> (state, metrics)``; the state is donated, what is
        frozen of the policy stays.
      score: ``(params, minibatch) -> log-probabilities [B, M, R] per micro-batch``; the
        parameters are those of a whole policy, with or without an adapter.
      init: ``(trained) -> TrainState`` with a fresh optimiser; the parameters are copied.
      abstract_state: shapes, dtypes and shardings of a TrainState, to restore one.
      programs: the jitted functions that the others consist of, by name, to look at what they
        are compiled to.
    """

    update: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    score: Callable[[Params, Minibatch], list[jax.Array]]
    init: Callable[[Params], TrainState]
    abstract_state: TrainState
    programs: Mapping[str, Any]


def prefix_kv(
    params: Params, tokens: jax.Array, lengths: jax.Array, *, config: TransformerConfig, remat: str
) -> KV:
    """KV (B = U, m = 1) of right-padded prefixes ``tokens [U, P]``."""
    count, width = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(width), (count, 1, width))
    mask = causal_mask(lengths[:, None], width)
    keep = jnp.zeros((count, 1, 1), jnp.int32)  # only keys and values are wanted
    _, kv = forward(
        params, tokens[:, None], positions, config=config, mask=mask, keep=keep, remat=remat
    )
    return kv


def response_logprobs(
    params: Params,
    kv: KV,
    micro: Micro,
    *,
    config: TransformerConfig,
    remat: str,
    logprob_chunk: int = 0,
) -> jax.Array:
    """Log-probabilities ``[B, M, R]`` of the response tokens, float32, temperature 1.

    Args:
      params: policy.
      kv: of the prefix of each line (B, m = 1).
      micro: rows.
      config: sizes.
      remat: see `transformer.forward`.
      logprob_chunk: see `logprobs.token_logprobs`.
    """
    hidden, targets = response_states(params, kv, micro, config=config, remat=remat)
    return token_logprobs(params, hidden, targets, chunk=logprob_chunk)


def response_states(
    params: Params, kv: KV, micro: Micro, *, config: TransformerConfig, remat: str
) -> tuple[jax.Array, jax.Array]:
    """States ``[B, M, R, D]`` before the response tokens, and these tokens ``[B, M, R]``.

    The arguments are those of `response_logprobs`.
    """
    tokens = jnp.asarray(micro.tokens)
    width, scored = tokens.shape[-1], micro.weights.shape[-1]
    before = jnp.asarray(micro.prefix_lengths)[:, None]
    prefix = Segment(kv, (jnp.arange(kv.width) < before)[:, None])
    positions = jnp.broadcast_to(jnp.arange(width) + before[..., None], tokens.shape)
    own = jnp.asarray(micro.suffix_lengths)
    # A response token is scored by the token before it; past the response nothing is read.
    at = jnp.clip(own[..., None] + jnp.arange(scored), 1, width - 1)
    hidden, _ = forward(
        params,
        tokens,
        positions,
        config=config,
        mask=causal_mask(own + micro.response_lengths, width),
        segments=(prefix,),
        keep=at - 1,
        remat=remat,
    )
    return hidden, jnp.take_along_axis(tokens, at, 2)


def make_updater(
    *,
    config: TransformerConfig,
    loss: LossFn,
    optimizer: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
    param_shapes: Any,
    param_shardings: Any,
    optimizer_shardings: Any,
    join: Callable[[Params, Params], Params] = lambda trained, frozen: trained,
    remat: str = "none",
    logprob_chunk: int = 0,
    entropy_coeff: float = 0.0,
) -> Updater:
    """Builds the jitted pieces of one phase.

    Args:
      config: sizes of the policy.
      loss: from log-probabilities to a sum over rows, as in `training.losses`.
      optimizer: as from `training.optimizer`.
      mesh: devices.
      param_shapes: tree of the trained parameters' shapes and dtypes.
      param_shardings: tree like these.
      optimizer_shardings: tree like the optimiser state.
      join: ``(trained, frozen) -> parameters of the whole policy``.
      remat: what the backward pass computes again.
      logprob_chunk: tokens whose scores exist at once, see `logprobs.token_logprobs`.
      entropy_coeff: what a nat of entropy at a token of weight 1 lowers the loss by. Where it is
        not 0 there is a metric ``entropy``, the weighted mean.
    """
    kv_of = lambda params, tokens, lengths: prefix_kv(  # noqa: E731
        params, tokens, lengths, config=config, remat=remat
    )
    prefix_forward = jax.jit(kv_of)
    pools = PrefixPool(config, mesh)

    def micro_loss(trained: Params, kv: KV, frozen: Params, micro: Micro):
        params = join(trained, frozen)
        states = response_states(params, kv, micro, config=config, remat=remat)
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]) if x.ndim > 1 else x, micro)
        if not entropy_coeff:
            logprobs = token_logprobs(params, *states, chunk=logprob_chunk)
            return loss(logprobs.reshape(-1, logprobs.shape[-1]), rows)
        logprobs, entropies = token_logprobs_and_entropies(params, *states, chunk=logprob_chunk)
        value, metrics = loss(logprobs.reshape(-1, logprobs.shape[-1]), rows)
        entropy = masked_sum(entropies * micro.weights, micro.weights != 0)
        return value - entropy_coeff * entropy, metrics | {
            "entropy": jax.lax.stop_gradient(entropy)
        }

    def micro_step(trained, kv, frozen, micro, sums):
        (grads, kv_grads), metrics = jax.grad(micro_loss, argnums=(0, 1), has_aux=True)(
            trained, kv, frozen, micro
        )
        return jax.tree.map(jnp.add, sums, grads), kv_grads, metrics

    micro_step = jax.jit(micro_step, donate_argnums=4)
    score_rows = jax.jit(
        lambda params, kv, micro: response_logprobs(
            params, kv, micro, config=config, remat="none", logprob_chunk=logprob_chunk
        )
    )

    def prefix_backward(trained, frozen, tokens, lengths, kv_grads, sums):
        kv, pull = jax.vjp(lambda p: kv_of(join(p, frozen), tokens, lengths), trained)
        kv_grads = jax.tree.map(lambda g, x: g.astype(x.dtype), kv_grads, kv)
        return jax.tree.map(jnp.add, sums, pull(kv_grads)[0])

    def apply(state: TrainState, grads: Params) -> tuple[TrainState, dict[str, jax.Array]]:
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(norm)
        updates, moments = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        # A step with a non-finite gradient changes nothing and is counted; so is one whose
        # parameters are not finite, which only a finite gradient beyond all bounds can cause.
        keep = lambda new, old: jnp.where(finite, new, old)  # noqa: E731
        new = TrainState(
            jax.tree.map(keep, params, state.params),
            jax.tree.map(keep, moments, state.optimizer),
            state.step + finite,
        )
        # Asked of what was written, not of `params`: that would need them twice in memory.
        good = finite & all_finite(new.params)
        return new, {"grad_norm": norm, "skipped": 1.0 - good}

    scalar = replicated(mesh)
    shardings = TrainState(param_shardings, optimizer_shardings, scalar)  # type: ignore[arg-type]
    prefix_backward = jax.jit(prefix_backward, donate_argnums=5, out_shardings=param_shardings)
    apply = jax.jit(apply, donate_argnums=0, out_shardings=(shardings, scalar))
    zeros = jax.jit(
        lambda params: jax.tree.map(jnp.zeros_like, params), out_shardings=param_shardings
    )
    fresh = lambda params: TrainState(  # noqa: E731
        jax.tree.map(jnp.copy, params), optimizer.init(params), jnp.int32(0)
    )
    init = jax.jit(fresh, out_shardings=shardings)
    abstract_state = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(fresh, param_shapes),
        shardings,
    )

    def read_prefixes(params: Params, batch: Minibatch) -> tuple[KV, list[tuple]]:
        """Keys and values of all prefixes, and the grids they came from, on the devices."""
        kv, grids = pools.zeros(batch.room, batch.width, config.dtype), []
        for grid in batch.prefixes:
            tokens, lengths = put_rows(mesh, (grid.tokens, grid.lengths))
            kv = pools.write(kv, prefix_forward(params, tokens, lengths), grid.index)
            grids.append((tokens, lengths, grid.index))
        return kv, grids

    def update(
        state: TrainState, batch: Minibatch, frozen: Params | None = None
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        frozen = {} if frozen is None else frozen
        kv, grids = read_prefixes(join(state.params, frozen), batch)
        sums = zeros(state.params)
        kv_sums = pools.zeros(batch.room, batch.width, jnp.float32)
        totals: dict[str, jax.Array] | None = None
        started: deque[dict[str, jax.Array]] = deque()
        for micro in batch.micros:
            rows, which = put_rows(mesh, micro), micro.prefix
            own = pools.read(kv, which, batch.width)
            sums, kv_grads, metrics = micro_step(state.params, own, frozen, rows, sums)
            kv_sums = pools.add(kv_sums, kv_grads, which)
            totals = metrics if totals is None else combine_metrics(totals, metrics)
            started.append(metrics)
            if len(started) > AHEAD:
                jax.block_until_ready(started.popleft())
        for tokens, lengths, index in grids:
            kv_grads = pools.read(kv_sums, index, tokens.shape[1])
            sums = prefix_backward(state.params, frozen, tokens, lengths, kv_grads, sums)
        state, metrics = apply(state, sums)
        return state, {**(totals or {}), **metrics}

    def score(params: Params, batch: Minibatch) -> list[jax.Array]:
        kv, _ = read_prefixes(params, batch)
        return [
            score_rows(params, pools.read(kv, m.prefix, batch.width), put_rows(mesh, m))
            for m in batch.micros
        ]

    programs = {
        "prefix_forward": prefix_forward,
        "micro_step": micro_step,
        "prefix_backward": prefix_backward,
        "apply": apply,
        "score_rows": score_rows,
    }
    return Updater(update, score, init, abstract_state, programs)


def with_reference(batch: Minibatch, ref: list[jax.Array]) -> Minibatch:
    """`batch` with the reference policy's log-probabilities."""
    micros = [dataclasses.replace(m, ref=r) for m, r in zip(batch.micros, ref, strict=True)]
    return dataclasses.replace(batch, micros=tuple(micros))


def with_old(batch: Minibatch, old: list[jax.Array]) -> Minibatch:
    """`batch` with log-probabilities recomputed by the trainer instead of the sampler's."""
    micros = [dataclasses.replace(m, old=o) for m, o in zip(batch.micros, old, strict=True)]
    return dataclasses.replace(batch, micros=tuple(micros))


def host_metrics(metrics: dict[str, jax.Array]) -> dict[str, float]:
    """Metrics as Python numbers; waits for the device."""
    return {name: float(np.asarray(value)) for name, value in jax.device_get(metrics).items()}
