"""Qwen2 / Qwen2.5 / Qwen3 in Flax Linen: one definition for sampling and training.

Rows of tokens live on a grid ``[B, M, T]``: ``B`` prompts prefixes, ``M`` rows that
continue each of them, ``T`` tokens a row. Keys and values that were computed before
are handed in as *segments* of C tokens with ``m`` = M (a row's own past) or ``m`` = 1 (a
prefix that all M rows share and that attention reads once for all of them). Nothing is
mutated: a forward pass returns the keys and values of its tokens.

Einsum alphabet: B prefixes, M rows of a prefix, T query tokens, C keys, D model,
K kv heads, G query heads per kv head, H = K * G heads, Q head width, F feed-forward,
V vocabulary, L layers, R rank of an adapter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import NamedSharding

from skillrl.models.attention import KV, InOrder, Mask, attend, dense, in_order
from skillrl.models.config import TransformerConfig
from skillrl.models.joined import Joined
from skillrl.parallel import rules

Params = dict
REMAT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.save_only_these_names("projection"),
}
UNROLL = 4
"""Models of up to so many layers have no loop over them."""


def kv_zeros(config: TransformerConfig, rows: tuple[int, int], width: int) -> KV:
    """Room for `width` tokens on a grid of `rows` (B, m), in all layers."""
    head = (config.num_layers, *rows, config.num_kv_heads)
    return KV(
        jnp.zeros((*head, config.head_dim, width), config.dtype),
        jnp.zeros((*head, width, config.head_dim), config.dtype),
    )


class Segment(NamedTuple):
    """Past tokens: ``kv`` (a KV, or a list with one per layer) and which of them exist, ``mask
    [B, m, C]`` bool."""

    kv: Any
    mask: jax.Array


class Append(NamedTuple):
    """A cache of R tokens that this pass writes to, a row's new one at its ``slot [B, m]``.

    Slots up to and including a row's own token are attended to.
    """

    kv: Any
    slot: jax.Array

    def write(self, new: KV) -> KV:
        """A layer's cache with the keys and values of the new token."""
        b, m = self.slot.shape
        rows, members = jnp.arange(b)[:, None], jnp.arange(m)
        k, v = new.k[..., 0].astype(self.kv.k.dtype), new.v[..., 0, :].astype(self.kv.v.dtype)
        return KV(
            self.kv.k.at[rows, members, :, :, self.slot].set(k),
            self.kv.v.at[rows, members, :, self.slot].set(v),
        )


def unstack(tree: Any, layers: int) -> list:
    """What is stacked over layers as a list with an entry per layer.

    Within a loop on the device, taking a layer out of a stack copies it in every turn.
    """
    return [jax.tree.map(lambda a, i=i: a[i], tree) for i in range(layers)]


def rotary(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """Rotates ``x [B, M, T, N, Q]`` by ``positions [B, M, T]`` (halves, as Qwen does)."""
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) * frequency
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    a, b = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm in float32 over the last axis."""

    eps: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``x`` and scales it; shape and dtype are kept."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + self.eps)
        return (y * scale).astype(x.dtype)


class Projection(nn.Module):
    """A linear map written as an einsum, with an optional bias over its output axes.

    What lies beside the kernel counts: the scale of one in int8 (`models.quantised`), a
    low-rank adapter (`models.lora`).
    """

    equation: str
    shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the map in the dtype of ``x``."""
        kernel = self.param("kernel", nn.initializers.normal(0.02), self.shape)
        y = jnp.einsum(self.equation, x, kernel.astype(x.dtype))
        if self.has_variable("params", "scale"):
            scale: Any = self.get_variable("params", "scale")
            y = (y * scale).astype(x.dtype)
        if self.has_variable("params", "lora_a"):
            given, axes, made = re.split(",|->", self.equation)
            inputs = "".join(axis for axis in axes if axis in given)
            outputs = "".join(axis for axis in axes if axis not in given)
            a: Any = self.get_variable("params", "lora_a")
            b: Any = self.get_variable("params", "lora_b")
            # Of two products of the same `x` XLA would make one, and copy both matrices for it.
            low = jax.lax.optimization_barrier(x)
            low = jnp.einsum(f"{given},{inputs}R->BMTR", low, a.astype(x.dtype))
            y += jnp.einsum(f"BMTR,R{outputs}->{made}", low, b.astype(x.dtype))
        if self.bias_shape is not None:
            y += self.param("bias", nn.initializers.zeros, self.bias_shape).astype(x.dtype)
        return checkpoint_name(y, "projection")


class Attention(nn.Module):
    """Grouped-query attention over segments, an optional cache and the tokens themselves."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        segments: tuple[Segment, ...],
        append: Append | None,
        positions: jax.Array,
        mask: Mask,
        keep: jax.Array | None,
    ) -> tuple[jax.Array, KV]:
        """``x [B, M, T, D]`` -> outputs (at `keep`, if given), and the KV of all tokens."""
        c = self.config
        d, h, k_heads, width = c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim

        def project(name: str, heads: int, x: jax.Array) -> jax.Array:
            bias = (heads, width) if c.qkv_bias else None
            return Projection("BMTD,DHQ->BMTHQ", (d, heads, width), bias, name=name)(x)

        joined = self.has_variable("params", "query_key_value")
        if joined:
            shapes = tuple((heads, width) for heads in (h, k_heads, k_heads))
            q, k, v = Joined(shapes, name="query_key_value")(x)
            q = _pick(q, keep)
        else:
            k, v = project("key", k_heads, x), project("value", k_heads, x)
            q = project("query", h, _pick(x, keep))
        if c.qk_norm:
            q = RMSNorm(c.rms_norm_eps, name="query_norm")(q)
            k = RMSNorm(c.rms_norm_eps, name="key_norm")(k)
        k = rotary(k, positions, c.rope_theta)
        if keep is not None:
            positions = jnp.take_along_axis(positions, keep, 2)
            seen = dense(mask)
            mask = _pick(jnp.broadcast_to(seen, (*x.shape[:3], seen.shape[-1])), keep)
        q = rotary(q, positions, c.rope_theta) * (width**-0.5)
        own = KV(jnp.transpose(k, (0, 1, 3, 4, 2)), jnp.transpose(v, (0, 1, 3, 2, 4)))
        if append is not None:
            own = append.write(own)
        b, m, t = q.shape[:3]
        parts: list[tuple[KV, Mask]] = [(s.kv, s.mask[:, :, None]) for s in segments]
        parts.append((own, mask))
        y = attend(
            q.reshape(b, m, t, k_heads, h // k_heads, width), parts, name=c.attention, mesh=c.mesh
        )
        y = y.reshape(b, m, t, h, width)
        if joined:
            return Joined(((d,),), inputs=2, name="output")(y)[0], own
        return Projection("BMTHQ,HQD->BMTD", (h, width, d), name="output")(y), own


class Table(nn.Module):
    """A parameter that is used from outside its module: the embedding or the head."""

    key: str
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        """The table itself."""
        return self.param(self.key, nn.initializers.normal(0.02), self.shape)


class MLP(nn.Module):
    """Gated feed-forward with SiLU."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, M, T, D]`` -> ``[B, M, T, D]``."""
        d, f = self.config.hidden_size, self.config.intermediate_size
        if self.has_variable("params", "gate_up"):
            gate, up = Joined(((f,), (f,)), name="gate_up")(x)
            return Joined(((d,),), name="down")(nn.silu(gate) * up)[0]
        gate = Projection("BMTD,DF->BMTF", (d, f), name="gate")(x)
        up = Projection("BMTD,DF->BMTF", (d, f), name="up")(x)
        return Projection("BMTF,FD->BMTD", (f, d), name="down")(nn.silu(gate) * up)


class Block(nn.Module):
    """One decoder layer."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        mask: Mask,
        segments: tuple[Segment, ...] = (),
        append: Append | None = None,
        keep: jax.Array | None = None,
    ) -> tuple[jax.Array, KV]:
        """``x [B, M, T, D]`` -> the same (at `keep`, if given), and the layer's KV."""
        c = self.config
        y = RMSNorm(c.rms_norm_eps, name="input_norm")(x)
        y, kv = Attention(c, name="attention")(y, segments, append, positions, mask, keep)
        x = _pick(x, keep) + y
        y = RMSNorm(c.rms_norm_eps, name="post_norm")(x)
        return x + MLP(c, name="mlp")(y), kv


class Transformer(nn.Module):
    """All parameters of the decoder, the layers' stacked on a leading axis; see `forward`."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Touches every parameter, so that `init` makes them; ``tokens [1, 1, 1]``."""
        c = self.config
        embedding = Table("embedding", (c.vocab_size, c.hidden_size), name="embed")()
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
            Table("kernel", (c.hidden_size, c.vocab_size), name="head")()
        return RMSNorm(c.rms_norm_eps, name="final_norm")(x)


def _pick(x: jax.Array, keep: jax.Array | None) -> jax.Array:
    """``x [B, M, T, ...]`` at the tokens ``keep [B, M, N]``; all of them if None."""
    if keep is None:
        return x
    return jnp.take_along_axis(x, keep.reshape(*keep.shape, *(1,) * (x.ndim - 3)), 2)


def init(key: jax.Array, config: TransformerConfig) -> Params:
    """Random parameters (float32), a plain nested dict laid out as in `models.parameters`."""
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
    """One pass over a grid of tokens.

    Args:
      params: as from `init`. Its ``layers`` may be a list (see `unstack`): then the keys and
        values that are handed in and out are lists too.
      tokens: ``[B, M, T]`` int32.
      positions: ``[B, M, T]`` int32; a suffix starts at its prefix's true length.
      config: sizes.
      mask: over the tokens themselves, an `InOrder` or ``[B, M, T, T]`` bool; over the
        cache slots if `append` is given, ``[B, M, T, R]`` bool. Fused attention is at its best
        with the former.
      segments: past keys and values.
      append: cache to write to, for decoding.
      keep: ``[B, M, N]`` int32, the tokens whose hidden states are wanted; None is all.
        The last layer of a shallow model computes nothing but keys and values for the others.
      remat: what the backward pass computes again: ``none`` nothing, ``full`` all of a layer,
        ``dots`` what lies between the results of its projections, which are kept.

    Returns:
      Final hidden states ``[B, M, T or N, D]``; KV of the T tokens, or the updated cache.
    """
    block = Block(config)

    def layer(x: jax.Array, xs: tuple, keep: jax.Array | None = None) -> tuple[jax.Array, KV]:
        weights, past, cache = xs
        parts = tuple(Segment(kv, s.mask) for kv, s in zip(past, segments, strict=True))
        own = None if append is None else Append(cache, append.slot)
        out: Any = block.apply({"params": weights}, x, positions, mask, parts, own, keep)
        return out

    weights, pasts = params["layers"], [s.kv for s in segments]
    cache = None if append is None else append.kv
    stacked = not isinstance(weights, list)
    loop = stacked and (config.scan_layers or config.num_layers <= UNROLL)
    if remat != "none":
        # Without a loop the compiler would see that a layer is computed again, and keep it.
        apart = not loop or config.num_layers <= UNROLL
        layer = jax.checkpoint(layer, prevent_cse=apart, policy=REMAT_POLICIES[remat])
    x = jnp.take(params["embed"]["embedding"], tokens, axis=0)
    if "scale" in params["embed"]:
        x = x * jnp.take(params["embed"]["scale"], tokens)[..., None]
    x = _by_rows(x.astype(config.dtype), config)
    if not loop:
        inputs = (weights, tuple(pasts), cache)
        if stacked:
            one_by_one = unstack(inputs, config.num_layers)
        else:
            one_by_one = [
                (own, tuple(kv[i] for kv in pasts), None if cache is None else cache[i])
                for i, own in enumerate(weights)
            ]
        kv: Any = []
        for i, xs in enumerate(one_by_one):
            x, new = layer(x, xs, keep if i == config.num_layers - 1 else None)
            kv.append(new)
        if stacked:
            kv = jax.tree.map(lambda *layers: jnp.stack(layers), *kv)
    elif config.num_layers > UNROLL:
        # All layers alike: taking the last out of the stack would copy the others, and so would
        # several in a turn of the loop, whose results would have to be put together.
        x, kv = jax.lax.scan(layer, x, (weights, tuple(pasts), cache))
        x = _pick(x, keep)
    else:
        inputs = (weights, tuple(pasts), cache)
        head, last = (jax.tree.map(lambda a, at=at: a[at], inputs) for at in (slice(-1), -1))
        x, kv = jax.lax.scan(layer, x, head, unroll=UNROLL)
        x, kv_last = layer(x, last, keep)
        kv = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), kv, kv_last)
    norm = RMSNorm(config.rms_norm_eps)
    hidden: Any = norm.apply({"params": params["final_norm"]}, x)
    return hidden, kv


def _by_rows(x: jax.Array, config: TransformerConfig) -> jax.Array:
    """``x [B, M, T, D]`` with B split over the devices that divide it, if tokens are many.

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


def unembed(params: Params, hidden: jax.Array) -> jax.Array:
    """Logits ``[..., V]`` in float32 of hidden states ``[..., D]``."""
    if "head" in params:
        equation, table = "...D,DV->...V", params["head"]
        kernel = table["kernel"]
    else:
        equation, table = "...D,VD->...V", params["embed"]
        kernel = table["embedding"]
    scores = jnp.einsum(
        equation, hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32
    )
    return scores * table["scale"] if "scale" in table else scores


def token_logprobs(params: Params, hidden: jax.Array, targets: Any, *, chunk: int = 0) -> jax.Array:
    """Log-probabilities of `targets` under the softmax at temperature 1, in float32.

    The scores of all tokens at once would be the largest array of a training step (1,024
    tokens of a row of Qwen2.5 are 0.6 GB). So tokens are taken in turn, and the backward
    pass computes their scores again.

    Args:
      params: as from `init`.
      hidden: ``[B, M, R, D]``, the state *before* each target.
      targets: ``[B, M, R]`` int32.
      chunk: how many tokens' scores ``[chunk, V]`` may exist at once; 0 sets no limit. At
        least one token of each of the B * M rows is taken.

    Returns:
      ``[B, M, R]`` float32.
    """
    return _of_scores(_logprob, params, hidden, targets, chunk)


def token_logprobs_and_entropies(
    params: Params, hidden: jax.Array, targets: Any, *, chunk: int = 0
) -> tuple[jax.Array, jax.Array]:
    """What `token_logprobs` gives, and the entropy in nats of each distribution, ``[B, M, R]``."""

    def both(scores: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = jnp.sum(jax.nn.softmax(scores, -1) * scores, -1)
        return _logprob(scores, targets), jax.nn.logsumexp(scores, -1) - mean

    return _of_scores(both, params, hidden, targets, chunk)


def _logprob(scores: jax.Array, targets: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(scores, targets[..., None], -1)[..., 0]
    return chosen - jax.nn.logsumexp(scores, -1)


def _of_scores(
    read: Callable[[jax.Array, jax.Array], Any],
    params: Params,
    hidden: jax.Array,
    targets: Any,
    chunk: int,
) -> Any:
    """``read(scores [..., V], targets [...])`` of all tokens, `chunk` scores at a time."""

    def some(hidden: jax.Array, targets: jax.Array) -> Any:
        return read(unembed(params, hidden), targets)

    b, m, r = targets.shape
    width = max(1, chunk // (b * m)) if chunk else r
    if width >= r:
        return some(hidden, targets)
    turns = -(-r // width)
    width = -(-r // turns)  # no wider than needed: less padding
    pad = ((0, 0), (0, 0), (0, turns * width - r))

    def split(x: jax.Array) -> jax.Array:
        """``[B, M, R, ...]`` -> ``[turns, B, M, width, ...]``; rows keep their devices."""
        x = jnp.pad(x, (*pad, *[(0, 0)] * (x.ndim - 3)))
        return jnp.moveaxis(x.reshape(b, m, turns, width, *x.shape[3:]), 2, 0)

    step = jax.checkpoint(some, prevent_cse=False)
    _, out = jax.lax.scan(
        lambda _, xs: (None, step(*xs)), None, (split(hidden), split(jnp.asarray(targets)))
    )
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2).reshape(b, m, turns * width)[:, :, :r], out)


def causal_mask(lengths: jax.Array, width: int) -> InOrder:
    """The mask of right-padded rows of ``lengths [B, M]``; T = `width`."""
    return in_order(jnp.arange(width) < lengths[..., None], right_padded=True)


def logits(
    params: Params,
    tokens: jax.Array,
    *,
    config: TransformerConfig,
    lengths: jax.Array | None = None,
) -> jax.Array:
    """Plain next-token logits of right-padded rows.

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
