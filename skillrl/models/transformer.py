"""Defines Qwen2 / Qwen2.5 / Qwen3 in Flax Linen, once for sampling and training.

Tokens are an array ``[B, G, T]``: ``B`` prompt prefixes, ``G`` rows that continue each of them
(the members of a group; in training its step samples), ``T`` tokens a row. Keys and values that
were computed before are handed in as *segments* of C tokens with ``g`` = G (a row's own past) or
``g`` = 1 (a prefix that all G rows share and that attention reads once for all of them). Nothing
is mutated: a forward pass returns the keys and values of its tokens.

Letters of shapes: B prefixes, G rows of a group, T tokens, A tokens among them whose hidden
states are wanted (those that predict the answer), C keys, D model, H heads, K kv heads, J query
heads that share a kv head (H = K * J), Q head width, F feed-forward, V vocabulary, L layers, R
rank of an adapter, I and O inputs and outputs of a projection, each with its axes flattened.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, Append, Segment
from skillrl.models.layers import Block, RMSNorm, WeightTable
from skillrl.models.logprobs import unembed
from skillrl.models.masks import Mask, causal_mask
from skillrl.models.projection import pick
from skillrl.parallel import rules

Params = dict
REMAT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.save_only_these_names("projection"),
}
UNROLL = 4
"""Models of up to so many layers have no loop over them on the device."""


class Transformer(nn.Module):
    """Declares all parameters, the layers' stacked on a leading axis; see `forward`."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Touches every parameter, so that `init` makes them; ``tokens [1, 1, 1]``."""
        c = self.config
        embedding = WeightTable("embedding", (c.vocab_size, c.hidden_size), name="embed")()
        x = jnp.take(embedding, tokens, axis=0)
        layers = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast),
            length=c.num_layers,
        )(c, name="layers")
        x, _ = layers(x, tokens, jnp.ones((1, 1, 1, 1), bool))
        if not c.tie_embeddings:
            WeightTable("kernel", (c.hidden_size, c.vocab_size), name="head")()
        return RMSNorm(c.rms_norm_eps, name="final_norm")(x)


def init(key: jax.Array, config: TransformerConfig) -> Params:
    """Draws parameters (float32): a plain nested dict laid out as in `models.parameters`."""
    return Transformer(config).init(key, jnp.zeros((1, 1, 1), jnp.int32))["params"]


def forward(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    *,
    config: TransformerConfig,
    mask: Mask,
    segments: tuple[Segment, ...] = (),
    append: Append | None = None,
    keep: jax.Array | None = None,
    remat: str = "none",
) -> tuple[jax.Array, Any]:
    """Passes tokens through all layers.

    Args:
      params: as from `init`. Its ``layers`` may be a list (see `unstack`): then the keys and
        values that are handed in and out are lists too.
      tokens: ``[B, G, T]`` int32.
      positions: ``[B, G, T]`` int32; a suffix starts at its prefix's true length.
      config: sizes.
      mask: over the tokens themselves, an `InOrder` or ``[B, G, T, T]`` bool; over the
        cache slots if `append` is given, ``[B, G, T, C]`` bool. Fused attention is at its best
        with the former.
      segments: past keys and values.
      append: cache to write to, for decoding.
      keep: ``[B, G, A]`` int32, the tokens whose hidden states are wanted; None is all.
        The last layer of a shallow model computes nothing but keys and values for the others.
      remat: what the backward pass computes again: ``none`` nothing, ``full`` all of a layer,
        ``dots`` what lies between the results of its projections, which are kept.

    Returns:
      Final hidden states ``[B, G, T or A, D]``; KV of the T tokens, or the updated cache.
    """
    block = Block(config)

    def layer(x: jax.Array, xs: tuple, keep: jax.Array | None = None) -> tuple[jax.Array, KV]:
        weights, past, cache = xs
        parts = tuple(Segment(kv, s.mask) for kv, s in zip(past, segments, strict=True))
        own = None if append is None else Append(cache, append.slot)
        out: Any = block.apply(
            {"params": weights}, x, positions, mask, segments=parts, append=own, keep=keep
        )
        return out

    x = jnp.take(params["embed"]["embedding"], tokens, axis=0)
    if "scale" in params["embed"]:
        x = x * jnp.take(params["embed"]["scale"], tokens)[..., None]
    x = _by_rows(x.astype(config.dtype), config)
    x, kv = _through_layers(
        layer,
        x,
        weights=params["layers"],
        pasts=tuple(s.kv for s in segments),
        cache=None if append is None else append.kv,
        keep=keep,
        config=config,
        remat=remat,
    )
    norm = RMSNorm(config.rms_norm_eps)
    hidden: Any = norm.apply({"params": params["final_norm"]}, x)
    return hidden, kv


def _through_layers(
    layer: Callable[..., tuple[jax.Array, KV]],
    x: jax.Array,
    *,
    weights: Any,
    pasts: tuple,
    cache: Any,
    keep: jax.Array | None,
    config: TransformerConfig,
    remat: str,
) -> tuple[jax.Array, Any]:
    """Runs `layer` once per layer: for the first of them in a loop on the device, then in line.

    - A deep model has all its layers in the loop. Taking the last out of the stack, for `keep`,
      would copy the others, and so would several in a turn of the loop, whose results would have
      to be put together.
    - A shallow one has all but the last there, and the loop is unrolled: the last computes what
      `keep` asks for and no more.
    - Layers in a list, or with ``model.scan_layers`` off, are all in line.

    Args:
      layer: ``(x, (weights, pasts, cache), keep) -> (x, kv)`` of one layer.
      x: ``[B, G, T, D]``.
      weights: parameters of the layers, stacked or a list.
      pasts: a KV of all layers, stacked or a list, per segment.
      cache: a KV of all layers to write to, stacked or a list; or None.
      keep: as in `forward`.
      config: sizes.
      remat: as in `forward`.

    Returns:
      ``[B, G, T or A, D]``, and the KV of all layers, stacked or a list as the weights are.
    """
    count, listed = config.num_layers, isinstance(weights, list)
    if listed or not (config.scan_layers or count <= UNROLL):
        looped = 0
    else:
        looped = count if count > UNROLL else count - 1
    if remat != "none":
        # Without a loop the compiler would see that a layer is computed again, and keep it.
        prevent_cse = looped < count
        layer = jax.checkpoint(layer, prevent_cse=prevent_cse, policy=REMAT_POLICIES[remat])

    def inputs(at: int | slice) -> tuple:
        if listed:
            return weights[at], tuple(kv[at] for kv in pasts), None if cache is None else cache[at]
        return jax.tree.map(lambda stack: stack[at], (weights, pasts, cache))

    kvs: Any = []
    if looped == count:
        x, kv = jax.lax.scan(layer, x, (weights, pasts, cache))
        return pick(x, keep), kv
    if looped:
        x, kv = jax.lax.scan(layer, x, inputs(slice(looped)), unroll=UNROLL)
    for at in range(looped, count):
        x, new = layer(x, inputs(at), keep if at == count - 1 else None)
        kvs.append(new)
    if listed:
        return x, kvs
    kvs = jax.tree.map(lambda *layers: jnp.stack(layers), *kvs)
    return x, jax.tree.map(lambda *p: jnp.concatenate(p), kv, kvs) if looped else kvs


def unstack(tree: Any, layers: int) -> list:
    """Turns what is stacked over layers into a list with an entry per layer.

    Within a loop on the device, taking a layer out of a stack copies it in every turn.
    """
    return [jax.tree.map(lambda stack, i=i: stack[i], tree) for i in range(layers)]


def _by_rows(x: jax.Array, config: TransformerConfig) -> jax.Array:
    """Splits B of ``x [B, G, T, D]`` over the devices that divide it, if tokens are many.

    The compiler could as well split D as the weights are (``mesh.fsdp``) and add up partial
    products. That sends some numbers per token and output, and splitting by rows sends D weights
    per output: less for a decode step the one, for a prefill or training the other.
    """
    if config.mesh is None or math.prod(x.shape[:3]) < config.hidden_size:
        return x
    split = rules.spec(config.mesh, ("rows", None, None, None), x.shape)
    if split[0] is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(config.mesh, split))


def logits(
    params: Params,
    tokens: jax.Array,
    *,
    config: TransformerConfig,
    lengths: jax.Array | None = None,
) -> jax.Array:
    """Computes plain next-token logits of right-padded rows.

    Args:
      params: as from `init`.
      tokens: ``[B, T]`` int32.
      config: sizes.
      lengths: ``[B]`` true lengths; None means all full.

    Returns:
      ``[B, T, V]`` float32; rows past a length are meaningless.
    """
    b, t = tokens.shape
    if lengths is None:
        lengths = jnp.full((b,), t, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(t), (b, 1, t))
    mask = causal_mask(lengths[:, None], t)
    hidden, _ = forward(params, tokens[:, None], positions, config=config, mask=mask)
    return unembed(params, hidden)[:, 0]
