"""Draws tokens, and prefills suffixes, which draws the first token of each response.

1. `prefill_prefix` turns one prefix into keys and values, once per policy version.
2. `prefill` reads suffixes, each after its prefix, and draws one token for each.
3. `skillrl.inference.decode_state` inserts them into slots and decodes.

Parameters are laid out for decoding: layers are a list.

At a fixed compiled shape a row's result depends on nothing but its own tokens and its key: not on
its place, its neighbours or how many rows are in use.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, Segment
from skillrl.models.logprobs import unembed
from skillrl.models.masks import causal_mask
from skillrl.models.transformer import Params, forward, unstack
from skillrl.parallel import random_keys


class Drawn(NamedTuple):
    """Holds a token for each row.

    Attributes:
      token: int32, of any shape.
      logprob: float32, of the same shape; in the full softmax at temperature 1.
    """

    token: jax.Array
    logprob: jax.Array


class Prefilled(NamedTuple):
    """Holds what `prefill` computes for N suffixes.

    Attributes:
      kv: a KV per layer, of the suffixes' tokens; B = N.
      prefixes: a KV per layer, of the prefix of each suffix; B = N.
      keys: uint32 [N, 2], data of the keys that the rows' tokens are drawn with.
      first: the first token of each response, [N].
    """

    kv: list[KV]
    prefixes: list[KV]
    keys: jax.Array
    first: Drawn


@functools.partial(jax.jit, static_argnames=("config",))
def prefill_prefix(
    params: Params, tokens: jax.Array, length: jax.Array, *, config: TransformerConfig
) -> KV:
    """Computes the keys and values of one prefix.

    Args:
      params: policy, laid out for decoding.
      tokens: int32 [P], right-padded.
      length: int32 scalar, how many are real.
      config: sizes of the policy.

    Returns:
      A KV of a single row, all layers in one array.
    """
    width = tokens.shape[0]
    positions = jnp.arange(width)[None, None]
    mask = causal_mask(length[None, None], width)
    keep = jnp.zeros((1, 1, 1), jnp.int32)  # only keys and values are wanted
    _, kv = forward(params, tokens[None, None], positions, config=config, mask=mask, keep=keep)
    return jax.tree.map(lambda *layers: jnp.stack(layers), *kv)


@functools.partial(jax.jit, donate_argnames=("past",))
def extend(past: list[KV], kv: list[KV], length: jax.Array) -> list[KV]:
    """Writes the KV of a chunk behind the first `length` tokens of `past`, which is donated."""
    zero = jnp.int32(0)
    at = jnp.asarray(length, jnp.int32)
    return [
        KV(
            jax.lax.dynamic_update_slice(old.k, new.k, (zero, zero, zero, zero, at)),
            jax.lax.dynamic_update_slice(old.v, new.v, (zero, zero, zero, at, zero)),
        )
        for old, new in zip(past, kv, strict=True)
    ]


@functools.partial(jax.jit, static_argnames=("config", "top_k", "nucleus"))
def prefill(
    params: Params,
    prefixes: tuple[KV, ...],
    *,
    prefix_lengths: jax.Array,
    tokens: jax.Array,
    lengths: jax.Array,
    rng_address: jax.Array,
    seed_key: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    past: list[KV] | None = None,
    past_lengths: jax.Array | None = None,
    config: TransformerConfig,
    top_k: int = 0,
    nucleus: bool = False,
) -> Prefilled:
    """Reads N suffixes, or a chunk of each, and draws the token after each.

    Args:
      params: policy, laid out for decoding.
      prefixes: the KV of each row's prefix, from `prefill_prefix`. Each holds all layers: every
        array that is handed over costs the host time.
      prefix_lengths: int32 [N], true lengths.
      tokens: int32 [N, S], right-padded.
      lengths: int32 [N], true lengths; 0 marks an empty row.
      rng_address: uint32 [N, 6], the address of each response's draws.
      seed_key: typed PRNG key of the run.
      temperature: scalar; 0 is greedy.
      top_p: scalar, used if `nucleus`.
      past: a KV per layer, of the suffixes' chunks before this one, if any.
      past_lengths: int32 [N], how many tokens of `past` exist.
      config: sizes of the policy.
      top_k: keep that many tokens; 0 keeps all.
      nucleus: whether `top_p` is applied.
    """
    n, s = tokens.shape
    starts = prefix_lengths
    stacked = jax.tree.map(lambda *rows: jnp.concatenate(rows, 1), *prefixes)
    prefix = unstack(stacked, config.num_layers)
    segments = [Segment(prefix, (jnp.arange(prefix[0].width) < starts[:, None])[:, None])]
    if past is not None:
        before = jnp.asarray(past_lengths)
        segments.append(Segment(past, (jnp.arange(past[0].width) < before[:, None])[:, None]))
        starts = starts + before
    hidden, kv = forward(
        params,
        tokens[:, None],
        starts[:, None, None] + jnp.arange(s),
        config=config,
        mask=causal_mask(lengths[:, None], s),
        segments=tuple(segments),
        keep=jnp.maximum(lengths - 1, 0)[:, None, None],
    )
    keys = random_keys.fold_keys(seed_key, rng_address)
    first = draw(
        params,
        hidden[:, 0, 0],
        keys=keys,
        index=jnp.zeros(n, jnp.int32),
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        nucleus=nucleus,
    )
    return Prefilled(kv, prefix, jax.random.key_data(keys), first)


def draw(
    params: Params,
    hidden: jax.Array,
    *,
    keys: jax.Array,
    index: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    top_k: int = 0,
    nucleus: bool = False,
) -> Drawn:
    """Draws the tokens that follow hidden states.

    Args:
      params: policy, laid out for decoding.
      hidden: [..., D], the state before each token.
      keys: see `choose`.
      index: see `choose`.
      temperature: see `choose`.
      top_p: see `choose`.
      top_k: see `choose`.
      nucleus: see `choose`.
    """
    logits = unembed(params, hidden)
    token = choose(
        logits,
        keys,
        index=index,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        nucleus=nucleus,
    )
    chosen = jnp.take_along_axis(logits, token[..., None], -1)[..., 0]
    return Drawn(token, chosen - jax.nn.logsumexp(logits, -1))


def choose(
    logits: jax.Array,
    keys: jax.Array,
    *,
    index: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    top_k: int = 0,
    nucleus: bool = False,
) -> jax.Array:
    """Chooses a token per row: greedy at temperature 0, else Gumbel-max over the kept tokens.

    Args:
      logits: float32 [..., V].
      keys: typed keys [...].
      index: int32 [...], of the token in its response; folded into the key.
      temperature: scalar.
      top_p: scalar in (0, 1].
      top_k: keep that many tokens; 0 keeps all.
      nucleus: whether `top_p` is applied, to what `top_k` has kept.

    Returns:
      int32 [...].
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

    def gumbel(key: jax.Array, index: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(key, index), logits.shape[-1:])

    flat = jax.vmap(gumbel)(keys.reshape(-1), jnp.broadcast_to(index, keys.shape).reshape(-1))
    noisy = jnp.where(temperature > 0, scaled + flat.reshape(logits.shape), logits)
    return jnp.argmax(noisy, -1).astype(jnp.int32)
