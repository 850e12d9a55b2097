"""Pure sampling functions over a fixed grid of prompts: prefill, then decode.

1. `prefill_prefix` turns one prefix into keys and values, once per policy version.
2. `sample` takes a grid of suffixes, reads the prefixes' keys and values, and decodes
   until every row has stopped. Prefix, suffix and response are three separate runs of
   keys, each right-padded and masked, so that a decode step writes one slot for all rows.

At a fixed compiled shape a row's result depends on nothing but its own tokens and
its key: not on its place, its neighbours or how many cells are in use.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillrl.models.config import ModelConfig
from skillrl.models.transformer import (
    KV,
    UNROLL,
    Append,
    Params,
    Segment,
    causal_mask,
    forward,
    kv_zeros,
    unembed,
    unstack,
)
from skillrl.parallel import addresses


class Sampled(NamedTuple):
    """Responses of a grid: ``ids [B, M, R]``, ``logprobs [B, M, R]``, ``lengths [B, M]``."""

    ids: jax.Array
    logprobs: jax.Array
    lengths: jax.Array
    finished: jax.Array


@functools.partial(jax.jit, static_argnames=("config",))
def prefill_prefix(
    params: Params, tokens: jax.Array, length: jax.Array, *, config: ModelConfig
) -> KV:
    """KV (B = m = 1) of one right-padded prefix ``tokens [P]``."""
    width = tokens.shape[0]
    positions = jnp.arange(width)[None, None]
    mask = causal_mask(length[None, None], width)
    keep = jnp.zeros((1, 1, 1), jnp.int32)  # only keys and values are wanted
    _, kv = forward(params, tokens[None, None], positions, config=config, mask=mask, keep=keep)
    return kv


@functools.partial(jax.jit, donate_argnames=("pool",))
def store_prefix(pool: KV, kv: KV, slot: jax.Array) -> KV:
    """Writes a prefix into `pool` (B = N) at `slot`."""
    start = (0, slot, 0, 0, 0, 0)
    return KV(
        jax.lax.dynamic_update_slice(pool.k, kv.k.astype(pool.k.dtype), start),
        jax.lax.dynamic_update_slice(pool.v, kv.v.astype(pool.v.dtype), start),
    )


@functools.partial(jax.jit, static_argnames=("config", "limit", "top_k", "nucleus", "stops"))
def sample(
    params: Params,
    pool: KV,
    slots: jax.Array,
    prefix_lengths: jax.Array,
    tokens: jax.Array,
    lengths: jax.Array,
    where: jax.Array,
    seed: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    *,
    config: ModelConfig,
    limit: int,
    stops: tuple[int, ...],
    top_k: int = 0,
    nucleus: bool = False,
) -> Sampled:
    """Samples one response per cell of the grid.

    Args:
      params: policy.
      pool: KV of N prefixes (B = N, m = 1).
      slots: ``[B]`` int32, the prefix of each grid row.
      prefix_lengths: ``[B]`` int32 true lengths.
      tokens: ``[B, M, S]`` int32 right-padded suffixes.
      lengths: ``[B, M]`` int32; 0 marks an empty cell, which costs no decode steps.
      where: ``[B, M, A]`` uint32, the address of each draw; the token index is folded last.
      seed: typed PRNG key of the run.
      temperature: scalar; 0 is greedy.
      top_p: scalar, used if `nucleus`.
      config: sizes.
      limit: R, longest response.
      stops: ids that end a response.
      top_k: keep that many tokens; 0 keeps all.
      nucleus: whether `top_p` is applied.

    Returns:
      `Sampled`; log-probabilities are those of the full softmax at temperature 1.
    """
    b, m, s = tokens.shape
    keys = addresses.fold(seed, where.reshape(b * m, -1)).reshape(b, m)
    shallow = config.num_layers <= UNROLL
    prefix_kv: Any = pool.take(slots)
    cache: Any = kv_zeros(config, (b, m), limit)
    if shallow:
        params = {**params, "layers": unstack(params["layers"], config.num_layers)}
        prefix_kv, cache = (unstack(kv, config.num_layers) for kv in (prefix_kv, cache))
    prefix = Segment(
        prefix_kv,
        (jnp.arange(pool.width) < prefix_lengths[:, None])[:, None],
    )
    starts = prefix_lengths[:, None, None]
    hidden, kv = forward(
        params,
        tokens,
        starts + jnp.arange(s),
        config=config,
        mask=causal_mask(lengths, s),
        segments=(prefix,),
        keep=jnp.maximum(lengths - 1, 0)[..., None],
    )
    hidden = hidden[:, :, 0]
    suffix = Segment(kv, jnp.arange(s) < jnp.maximum(lengths, 1)[..., None])
    stop_ids = jnp.array(stops, jnp.int32)

    def draw(hidden: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = unembed(params, hidden)
        token = choose(logits, keys, t, temperature, top_p, top_k=top_k, nucleus=nucleus)
        logprob = jax.nn.log_softmax(logits)
        return token, jnp.take_along_axis(logprob, token[..., None], -1)[..., 0]

    token, logprob = draw(hidden, jnp.int32(0))
    ids = jnp.zeros((b, m, limit), jnp.int32)
    logprobs = jnp.zeros((b, m, limit), jnp.float32)
    active = lengths > 0

    class Loop(NamedTuple):
        t: jax.Array
        token: jax.Array
        logprob: jax.Array
        cache: Any
        ids: jax.Array
        logprobs: jax.Array
        lengths: jax.Array
        done: jax.Array
        finished: jax.Array

    def record(x: Loop) -> Loop:
        """Writes the token that was drawn for position t."""
        keep = ~x.done
        stopped = keep & jnp.isin(x.token, stop_ids)
        return x._replace(
            ids=x.ids.at[:, :, x.t].set(jnp.where(keep, x.token, 0)),
            logprobs=x.logprobs.at[:, :, x.t].set(jnp.where(keep, x.logprob, 0.0)),
            lengths=x.lengths + keep,
            done=x.done | stopped,
            finished=x.finished | stopped,
        )

    def step(x: Loop) -> Loop:
        positions = starts + lengths[..., None] + x.t
        mask = jnp.broadcast_to(jnp.arange(limit) <= x.t, (b, m, 1, limit))
        hidden, cache = forward(
            params,
            x.token[..., None],
            positions,
            config=config,
            mask=mask,
            segments=(prefix, suffix),
            append=Append(x.cache, x.t),
        )
        token, logprob = draw(hidden[:, :, 0], x.t + 1)
        return record(x._replace(t=x.t + 1, token=token, logprob=logprob, cache=cache))

    zeros = jnp.zeros((b, m), jnp.int32)
    first = Loop(
        jnp.int32(0), token, logprob, cache, ids, logprobs, zeros, ~active, jnp.zeros((b, m), bool)
    )
    end = jax.lax.while_loop(lambda x: (x.t < limit - 1) & ~x.done.all(), step, record(first))
    return Sampled(end.ids, end.logprobs, end.lengths, end.finished)


def choose(
    logits: jax.Array,
    keys: jax.Array,
    t: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    *,
    top_k: int = 0,
    nucleus: bool = False,
) -> jax.Array:
    """One token per row: greedy at temperature 0, else Gumbel-max over the kept tokens.

    Args:
      logits: ``[B, M, V]`` float32.
      keys: ``[B, M]`` typed keys.
      t: index of the token in its response, folded into the keys.
      temperature: scalar.
      top_p: scalar in (0, 1].
      top_k: 0 keeps all.
      nucleus: whether `top_p` is applied.

    Returns:
      ``[B, M]`` int32.
    """
    scaled = logits / jnp.maximum(temperature, 1e-6)
    if top_k:
        floor = jax.lax.top_k(scaled, min(top_k, scaled.shape[-1]))[0][..., -1:]
        scaled = jnp.where(scaled >= floor, scaled, -jnp.inf)
    if nucleus:
        order = jnp.sort(scaled, -1)[..., ::-1]
        mass = jnp.cumsum(jax.nn.softmax(order, -1), -1)
        # A token stays if the mass before it is below top_p: the first always does.
        kept = jnp.where(mass - jax.nn.softmax(order, -1) < top_p, order, jnp.inf)
        scaled = jnp.where(scaled >= kept.min(-1, keepdims=True), scaled, -jnp.inf)
    gumbel = jax.vmap(
        jax.vmap(lambda k: jax.random.gumbel(jax.random.fold_in(k, t), logits.shape[-1:]))
    )(keys)
    noisy = jnp.where(temperature > 0, scaled + gumbel, logits)
    return jnp.argmax(noisy, -1).astype(jnp.int32)
