"""Holds keys and values of past tokens: how they lie, and how a pass reads and adds to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from skillrl.models.config import TransformerConfig


class KV(NamedTuple):
    """Holds keys and values of C tokens, for all layers or for one.

    They lie as attention multiplies them: a decode step reads its past where it is. (Laid
    out token by token, all of it was copied at every step, which took most of the time.)

    Attributes:
      k: keys, ``[L, B, g, K, Q, C]``; without L if of one layer. ``g`` is G, or 1 if the G rows
        of a group share them.
      v: values, ``[L, B, g, K, C, Q]``; likewise.
    """

    k: jax.Array
    v: jax.Array

    @property
    def width(self) -> int:
        """C, how many tokens there is room for."""
        return self.v.shape[-2]


def kv_zeros(config: TransformerConfig, rows: tuple[int, int], width: int) -> KV:
    """Allocates room for `width` tokens in each of `rows` (B, g) and in all layers."""
    head = (config.num_layers, *rows, config.num_kv_heads)
    return KV(
        jnp.zeros((*head, config.head_dim, width), config.dtype),
        jnp.zeros((*head, width, config.head_dim), config.dtype),
    )


class Segment(NamedTuple):
    """Holds past tokens that a pass attends to.

    Attributes:
      kv: a KV of all layers, or a list with one per layer.
      mask: ``[B, g, C]`` bool, which of the tokens exist.
    """

    kv: Any
    mask: jax.Array


class Append(NamedTuple):
    """Holds a cache of C slots that a pass of one token writes to.

    Attributes:
      kv: a KV of all layers, or a list with one per layer.
      slot: ``[B, G]`` int32, where a row's new token goes. The row attends to the slots up to
        and including this one.
    """

    kv: Any
    slot: jax.Array

    def write(self, new: KV) -> KV:
        """Returns one layer's cache with the keys and values of the new token in it."""
        b, g = self.slot.shape
        prefixes, members = jnp.arange(b)[:, None], jnp.arange(g)
        k, v = new.k[..., 0].astype(self.kv.k.dtype), new.v[..., 0, :].astype(self.kv.v.dtype)
        return KV(
            self.kv.k.at[prefixes, members, :, :, self.slot].set(k),
            self.kv.v.at[prefixes, members, :, self.slot].set(v),
        )
