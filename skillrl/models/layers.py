"""Defines the Linen modules of a Qwen decoder layer; `models.transformer` explains the shapes."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from skillrl.models.attention import attend
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, Append, Segment
from skillrl.models.masks import Mask, dense
from skillrl.models.projection import LinearMap, Projection, pick, project_each


class RMSNorm(nn.Module):
    """Normalises by the root mean square of the last axis, in float32."""

    eps: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``x`` and scales it; shape and dtype are kept."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + self.eps)
        return (y * scale).astype(x.dtype)


class Attention(nn.Module):
    """Computes grouped-query attention over segments, a cache if any, and the tokens themselves."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        positions: jax.Array,
        mask: Mask,
        segments: tuple[Segment, ...],
        append: Append | None,
        keep: jax.Array | None,
    ) -> tuple[jax.Array, KV]:
        """Attends from all tokens, or from those to `keep`.

        Args:
          x: ``[B, G, T, D]``.
          positions: ``[B, G, T]`` int32.
          mask: as in `transformer.forward`.
          segments: past keys and values of this layer.
          append: the layer's cache to write to, for decoding.
          keep: ``[B, G, A]`` int32, tokens whose output is wanted; None is all.

        Returns:
          The outputs ``[B, G, T or A, D]``, and the KV of all T tokens, or the updated cache.
        """
        c = self.config
        d, h, k_heads, width = c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim

        def to_heads(heads: int) -> LinearMap:
            bias = (heads, width) if c.qkv_bias else None
            return LinearMap("BGTD,DHQ->BGTHQ", (d, heads, width), bias)

        maps = {"query": to_heads(h), "key": to_heads(k_heads), "value": to_heads(k_heads)}
        q, k, v = project_each(self, x, maps, keep={"query": keep})
        if c.qk_norm:
            q = RMSNorm(c.rms_norm_eps, name="query_norm")(q)
            k = RMSNorm(c.rms_norm_eps, name="key_norm")(k)
        k = rotary(k, positions, c.rope_theta)
        if keep is not None:
            positions = jnp.take_along_axis(positions, keep, 2)
            seen = dense(mask)
            mask = pick(jnp.broadcast_to(seen, (*x.shape[:3], seen.shape[-1])), keep)
        q = rotary(q, positions, c.rope_theta) * (width**-0.5)
        own = KV(jnp.transpose(k, (0, 1, 3, 4, 2)), jnp.transpose(v, (0, 1, 3, 2, 4)))
        if append is not None:
            own = append.write(own)
        b, g, t = q.shape[:3]
        parts: list[tuple[KV, Mask]] = [(s.kv, s.mask[:, :, None]) for s in segments]
        parts.append((own, mask))
        y = attend(
            q.reshape(b, g, t, k_heads, h // k_heads, width), parts, name=c.attention, mesh=c.mesh
        )
        y = y.reshape(b, g, t, h, width)
        return Projection("BGTHQ,HQD->BGTD", (h, width, d), name="output")(y), own


class MLP(nn.Module):
    """Computes a gated feed-forward layer with SiLU."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes ``[B, G, T, D]`` -> ``[B, G, T, D]``."""
        d, f = self.config.hidden_size, self.config.intermediate_size
        inner = LinearMap("BGTD,DF->BGTF", (d, f))
        gate, up = project_each(self, x, {"gate": inner, "up": inner})
        return Projection("BGTF,FD->BGTD", (f, d), name="down")(nn.silu(gate) * up)


class Block(nn.Module):
    """Computes one decoder layer."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        mask: Mask,
        *,
        segments: tuple[Segment, ...] = (),
        append: Append | None = None,
        keep: jax.Array | None = None,
    ) -> tuple[jax.Array, KV]:
        """Applies attention and the MLP, each after a norm and added to its input.

        Args:
          x: ``[B, G, T, D]``.
          positions: ``[B, G, T]`` int32.
          mask: as in `transformer.forward`.
          segments: past keys and values of this layer.
          append: the layer's cache to write to, for decoding.
          keep: ``[B, G, A]`` int32, tokens whose output is wanted; None is all.

        Returns:
          The outputs ``[B, G, T or A, D]``, and the KV of all T tokens, or the updated cache.
        """
        c = self.config
        y = RMSNorm(c.rms_norm_eps, name="input_norm")(x)
        y, kv = Attention(c, name="attention")(
            y, positions=positions, mask=mask, segments=segments, append=append, keep=keep
        )
        x = pick(x, keep) + y
        y = RMSNorm(c.rms_norm_eps, name="post_norm")(x)
        return x + MLP(c, name="mlp")(y), kv


class WeightTable(nn.Module):
    """Declares a parameter that is used from outside its module: the embedding or the head."""

    key: str
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        """Returns the parameter."""
        return self.param(self.key, nn.initializers.normal(0.02), self.shape)


def rotary(x: jax.Array, positions: jax.Array, theta: float) -> jax.Array:
    """Rotates ``x [B, G, T, H or K, Q]`` by ``positions [B, G, T]`` (halves, as Qwen does)."""
    half = x.shape[-1] // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None, None].astype(jnp.float32) * frequency
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    a, b = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)
