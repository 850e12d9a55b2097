"""Makes one optimiser step over a minibatch, with every prefix computed once.

1. Prefixes forward, block by block: tokens -> keys and values.
2. Micro-batches of suffixes and responses: gradients with respect to (parameters, prefix KV), added
   up.
3. One backward pass through each block of prefixes takes the summed KV gradient.
4. Clip, AdamW, new state.

By the chain rule this equals the gradient of the plain computation over whole prompts: a prefix's
KV is the only path from its tokens to the loss, since no prefix token is trained on. It costs one
prefix pass per prefix instead of one per sample.

`make_updater` builds the jitted pieces once; `Updater.update` and `Updater.score` are pure: state
and batch in, state and metrics out. Letters are those of `training.batch`.
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
from skillrl.training.batch import MicroBatch, Minibatch
from skillrl.training.finite import all_finite
from skillrl.training.losses import combine_metrics
from skillrl.training.masked import masked_sum
from skillrl.training.prefix_pool import PrefixPool

LossFn = Callable[[jax.Array, MicroBatch], tuple[jax.Array, dict[str, jax.Array]]]
"""``(logprobs [N, A], micro-batch with B and G flattened to N) -> (sum over samples, metrics)``."""


AHEAD = 2
"""Micro-batches that are handed to the device before it is done with an earlier one: it always
has the next, while inputs and gradients of a few exist at once and not those of all."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Holds everything that training changes on the devices.

    Attributes:
      params: the trained tree, all of the policy or part of it (`training.partition`).
      optimizer: Optax state, float32.
      step: int32 scalar, updates so far.
    """

    params: Params
    optimizer: Any
    step: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Updater:
    """Holds the jitted functions of one phase; see `make_updater`.

    Attributes:
      update: ``(state, minibatch, frozen={}) -> (state, metrics)``; the state is donated, what is
        frozen of the policy stays.
      score: ``(params, minibatch) -> log-probabilities [B, G, A] of each micro-batch``; the
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
    """Computes the keys and values of prefixes.

    Args:
      params: policy.
      tokens: int32 [B, P], right-padded.
      lengths: int32 [B].
      config: sizes of the policy.
      remat: see `transformer.forward`.
    """
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
    batch: MicroBatch,
    *,
    config: TransformerConfig,
    remat: str,
    logprob_chunk: int = 0,
) -> jax.Array:
    """Computes the log-probabilities of response tokens at temperature 1.

    Args:
      params: policy.
      kv: keys and values of the prefix of each prefix row.
      batch: a micro-batch.
      config: sizes of the policy.
      remat: see `transformer.forward`.
      logprob_chunk: see `logprobs.token_logprobs`.

    Returns:
      float32 [B, G, A].
    """
    hidden, targets = response_states(params, kv, batch, config=config, remat=remat)
    return token_logprobs(params, hidden, targets, chunk=logprob_chunk)


def response_states(
    params: Params, kv: KV, batch: MicroBatch, *, config: TransformerConfig, remat: str
) -> tuple[jax.Array, jax.Array]:
    """Computes the states that response tokens are predicted from.

    Args:
      params: policy.
      kv: keys and values of the prefix of each prefix row.
      batch: a micro-batch.
      config: sizes of the policy.
      remat: see `transformer.forward`.

    Returns:
      The states before the response tokens [B, G, A, D], and these tokens, int32 [B, G, A].
    """
    tokens = jnp.asarray(batch.tokens)
    width, scored = tokens.shape[-1], batch.weights.shape[-1]
    before = jnp.asarray(batch.prefix_lengths)[:, None]
    prefix = Segment(kv, (jnp.arange(kv.width) < before)[:, None])
    positions = jnp.broadcast_to(jnp.arange(width) + before[..., None], tokens.shape)
    own = jnp.asarray(batch.suffix_lengths)
    # A response token is scored by the token before it; past the response nothing is read.
    at = jnp.clip(own[..., None] + jnp.arange(scored), 1, width - 1)
    hidden, _ = forward(
        params,
        tokens,
        positions,
        config=config,
        mask=causal_mask(own + batch.response_lengths, width),
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
    """Builds the jitted functions of one phase.

    Args:
      config: sizes of the policy.
      loss: from log-probabilities to a sum over samples, as in `training.losses`.
      optimizer: as from `training.optimizer`.
      mesh: devices.
      param_shapes: tree of the trained parameters' shapes and dtypes.
      param_shardings: tree like these.
      optimizer_shardings: tree like the optimiser state.
      join: ``(trained, frozen) -> parameters of the whole policy``.
      remat: what the backward pass computes again.
      logprob_chunk: tokens whose scores exist at once, see `logprobs.token_logprobs`.
      entropy_coeff: by how much a nat of entropy at a token of weight 1 lowers the loss. Where it
        is not 0 there is a metric ``entropy``, the weighted mean.
    """
    kv_of = lambda params, tokens, lengths: prefix_kv(  # noqa: E731
        params, tokens, lengths, config=config, remat=remat
    )
    prefix_forward = jax.jit(kv_of)
    pools = PrefixPool(config, mesh)

    def micro_loss(trained: Params, kv: KV, frozen: Params, batch: MicroBatch):
        """Computes the loss of one micro-batch, with its metrics.

        Args:
          trained: the parameters that the gradient is taken of.
          kv: keys and values of the prefixes of `batch`, of which it is taken, too.
          frozen: the other parameters of the policy.
          batch: the samples.
        """
        params = join(trained, frozen)
        states = response_states(params, kv, batch, config=config, remat=remat)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]) if x.ndim > 1 else x, batch)
        if not entropy_coeff:
            logprobs = token_logprobs(params, *states, chunk=logprob_chunk)
            return loss(logprobs.reshape(-1, logprobs.shape[-1]), flat)
        logprobs, entropies = token_logprobs_and_entropies(params, *states, chunk=logprob_chunk)
        value, metrics = loss(logprobs.reshape(-1, logprobs.shape[-1]), flat)
        entropy = masked_sum(entropies * batch.weights, batch.weights != 0)
        return value - entropy_coeff * entropy, metrics | {
            "entropy": jax.lax.stop_gradient(entropy)
        }

    def micro_step(trained, kv, frozen, batch, sums):
        """Adds the gradient of one micro-batch to `sums`, which it may overwrite.

        Args:
          trained: the parameters that are trained.
          kv: keys and values of the prefixes of `batch`.
          frozen: the other parameters of the policy.
          batch: the samples.
          sums: gradients of the micro-batches before; a tree like `trained`.

        Returns:
          The new sums, the gradient with respect to `kv`, and the metrics.
        """
        (grads, kv_grads), metrics = jax.grad(micro_loss, argnums=(0, 1), has_aux=True)(
            trained, kv, frozen, batch
        )
        return jax.tree.map(jnp.add, sums, grads), kv_grads, metrics

    micro_step = jax.jit(micro_step, donate_argnums=4)
    score_micro_batch = jax.jit(
        lambda params, kv, batch: response_logprobs(
            params, kv, batch, config=config, remat="none", logprob_chunk=logprob_chunk
        )
    )

    def prefix_backward(trained, frozen, tokens, lengths, kv_grads, sums):
        """Adds the part of the gradient that came through the prefixes to `sums`.

        Args:
          trained: the parameters that are trained.
          frozen: the other parameters of the policy.
          tokens: ``[N, P]`` int32, the prefixes.
          lengths: ``[N]`` int32, how many of the P tokens exist.
          kv_grads: gradients with respect to their keys and values.
          sums: a tree like `trained`, which it may overwrite.
        """
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

    def read_prefixes(params: Params, minibatch: Minibatch) -> tuple[KV, list[tuple]]:
        """Computes the KV of all prefixes; also returns what of them is on the devices."""
        room, width = minibatch.prefix_room, minibatch.prefix_width
        kv, placed = pools.zeros(room, width, dtype=config.dtype), []
        for prefixes in minibatch.prefixes:
            tokens, lengths = put_rows(mesh, (prefixes.tokens, prefixes.lengths))
            kv = pools.write(kv, prefix_forward(params, tokens, lengths), prefixes.index)
            placed.append((tokens, lengths, prefixes.index))
        return kv, placed

    def update(
        state: TrainState, minibatch: Minibatch, frozen: Params | None = None
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        frozen = {} if frozen is None else frozen
        kv, prefixes = read_prefixes(join(state.params, frozen), minibatch)
        sums = zeros(state.params)
        width = minibatch.prefix_width
        kv_sums = pools.zeros(minibatch.prefix_room, width, dtype=jnp.float32)
        totals: dict[str, jax.Array] | None = None
        started: deque[dict[str, jax.Array]] = deque()
        for batch in minibatch.micro_batches:
            placed, which = put_rows(mesh, batch), batch.prefix
            own = pools.read(kv, which, width)
            sums, kv_grads, metrics = micro_step(state.params, own, frozen, placed, sums)
            kv_sums = pools.add(kv_sums, kv_grads, which)
            totals = metrics if totals is None else combine_metrics(totals, metrics)
            started.append(metrics)
            if len(started) > AHEAD:
                jax.block_until_ready(started.popleft())
        for tokens, lengths, index in prefixes:
            kv_grads = pools.read(kv_sums, index, tokens.shape[1])
            sums = prefix_backward(state.params, frozen, tokens, lengths, kv_grads, sums)
        state, metrics = apply(state, sums)
        return state, {**(totals or {}), **metrics}

    def score(params: Params, minibatch: Minibatch) -> list[jax.Array]:
        kv, _ = read_prefixes(params, minibatch)
        width = minibatch.prefix_width
        return [
            score_micro_batch(params, pools.read(kv, batch.prefix, width), put_rows(mesh, batch))
            for batch in minibatch.micro_batches
        ]

    programs = {
        "prefix_forward": prefix_forward,
        "micro_step": micro_step,
        "prefix_backward": prefix_backward,
        "apply": apply,
        "score_micro_batch": score_micro_batch,
    }
    return Updater(
        update=update, score=score, init=init, abstract_state=abstract_state, programs=programs
    )


def with_reference(minibatch: Minibatch, ref: list[jax.Array]) -> Minibatch:
    """Returns `minibatch` with the reference policy's log-probabilities [B, G, A]."""
    return dataclasses.replace(
        minibatch,
        micro_batches=tuple(
            dataclasses.replace(batch, ref=logprobs)
            for batch, logprobs in zip(minibatch.micro_batches, ref, strict=True)
        ),
    )


def with_old(minibatch: Minibatch, old: list[jax.Array]) -> Minibatch:
    """Returns `minibatch` with log-probabilities of the trainer in place of the sampler's."""
    return dataclasses.replace(
        minibatch,
        micro_batches=tuple(
            dataclasses.replace(batch, old=logprobs)
            for batch, logprobs in zip(minibatch.micro_batches, old, strict=True)
        ),
    )


def host_metrics(metrics: dict[str, jax.Array]) -> dict[str, float]:
    """Returns metrics as Python numbers; waits for the device."""
    return {name: float(np.asarray(value)) for name, value in jax.device_get(metrics).items()}
