"""How a token is drawn, and the prefill that draws a response's first.

1. `prefill_prefix` turns one prefix into keys and values, once per policy version.
2. `prefill` reads suffixes, each after its prefix, and draws one token for each.
3. `skillrl.inference.grid` seats them in cells and decodes.

Parameters are laid out for it (`models.fused`): layers are a list.

At a fixed compiled shape a row's result depends on nothing but its own tokens and its key:
not on its place, its neighbours or how many rows are in use.
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
from skillrl.parallel import addresses


class Drawn(NamedTuple):
    """A token per row and its log-probability (full softmax, temperature 1).

    Attributes:
      token: int32, any shape.
      logprob: float32, likewise.
    """

    token: jax.Array
    logprob: jax.Array


class Prefilled(NamedTuple):
    """What `prefill` found for n suffixes.

    Attributes:
      kv: of the suffixes' tokens, a KV (B = n, m = 1) per layer.
      prefixes: of their prefixes, likewise.
      keys: uint32 [n, 2], of the rows' draws.
      first: first token of each response, [n].
    """

    kv: list[KV]
    prefixes: list[KV]
    keys: jax.Array
    first: Drawn


@functools.partial(jax.jit, static_argnames=("config",))
def prefill_prefix(
    params: Params, tokens: jax.Array, length: jax.Array, *, config: TransformerConfig
) -> KV:
    """KV (B = m = 1) of one right-padded prefix ``tokens [P]``, all layers in one array."""
    width = tokens.shape[0]
    positions = jnp.arange(width)[None, None]
    mask = causal_mask(length[None, None], width)
    keep = jnp.zeros((1, 1, 1), jnp.int32)  # only keys and values are wanted
    _, kv = forward(params, tokens[None, None], positions, config=config, mask=mask, keep=keep)
    return jax.tree.map(lambda *layers: jnp.stack(layers), *kv)


@functools.partial(jax.jit, donate_argnames=("past",))
def extend(past: list[KV], kv: list[KV], length: jax.Array) -> list[KV]:
    """Writes a chunk behind the first `length` tokens of `past` (B = m = 1, per layer)."""
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
    prefix_lengths: jax.Array,
    tokens: jax.Array,
    lengths: jax.Array,
    where: jax.Array,
    seed: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    past: list[KV] | None = None,
    past_lengths: jax.Array | None = None,
    *,
    config: TransformerConfig,
    top_k: int = 0,
    nucleus: bool = False,
) -> Prefilled:
    """Reads n suffixes, or a chunk of each.

    Args:
      params: policy.
      prefixes: KV of each row's prefix (B = m = 1, with L: few arrays, as each costs the host).
      prefix_lengths: ``[n]`` int32 true lengths.
      tokens: ``[n, S]`` int32 right-padded.
      lengths: ``[n]`` int32; 0 marks an empty row.
      where: ``[n, A]`` uint32, the address of each draw; the token index is folded last.
      seed: typed PRNG key of the run.
      temperature: scalar; 0 is greedy.
      top_p: scalar, used if `nucleus`.
      past: KV (B = n, m = 1, per layer) of the suffixes' chunks before this one, if any.
      past_lengths: ``[n]`` int32 tokens of `past` that exist.
      config: sizes.
      top_k: keep that many tokens; 0 keeps all.
      nucleus: whether `top_p` is applied.
    """
    n, s = tokens.shape
    starts = prefix_lengths
    stacked = jax.tree.map(lambda *rows: jnp.concatenate(rows, 1), *prefixes)
    joined = unstack(stacked, config.num_layers)
    segments = [Segment(joined, (jnp.arange(joined[0].width) < starts[:, None])[:, None])]
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
    keys = addresses.fold(seed, where)
    first = draw(
        params,
        hidden[:, 0, 0],
        keys,
        jnp.zeros(n, jnp.int32),
        temperature,
        top_p,
        top_k=top_k,
        nucleus=nucleus,
    )
    return Prefilled(kv, joined, jax.random.key_data(keys), first)


def draw(
    params: Params,
    hidden: jax.Array,
    keys: jax.Array,
    t: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    *,
    top_k: int = 0,
    nucleus: bool = False,
) -> Drawn:
    """Tokens after the states ``hidden [..., D]``; the other arguments as of `choose`."""
    logits = unembed(params, hidden)
    token = choose(logits, keys, t, temperature, top_p, top_k=top_k, nucleus=nucleus)
    chosen = jnp.take_along_axis(logits, token[..., None], -1)[..., 0]
    return Drawn(token, chosen - jax.nn.logsumexp(logits, -1))


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
      logits: ``[..., V]`` float32.
      keys: ``[...]`` typed keys.
      t: ``[...]`` index of the token in its response, folded into the key.
      temperature: scalar.
      top_p: scalar in (0, 1].
      top_k: 0 keeps all.
      nucleus: whether `top_p` is applied.

    Returns:
      ``[...]`` int32.
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

    def gumbel(key: jax.Array, t: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(key, t), logits.shape[-1:])

    flat = jax.vmap(gumbel)(keys.reshape(-1), jnp.broadcast_to(t, keys.shape).reshape(-1))
    noisy = jnp.where(temperature > 0, scaled + flat.reshape(logits.shape), logits)
    return jnp.argmax(noisy, -1).astype(jnp.int32)
