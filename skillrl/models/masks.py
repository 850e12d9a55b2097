"""Says which keys a query may see: dense masks, and the order of tokens that fused kernels know."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InOrder:
    """Masks tokens so that they see themselves and those before them that exist.

    Attributes:
      exists: ``[B, G, T]`` bool; what is False is padding.
      seen: ``[B, G, T, T]`` bool, the same spelled out. Padding sees itself, so that no row
        of a softmax is empty. What else it sees is up to the implementation: the results of
        padding must not be used.
      right_padded: whether all padding comes after all that exists.
    """

    exists: jax.Array
    seen: jax.Array
    right_padded: bool = dataclasses.field(metadata={"static": True})


Mask = jax.Array | InOrder


def in_order(exists: jax.Array, *, right_padded: bool = False) -> InOrder:
    """Makes the mask of rows of tokens, ``exists [B, G, T]`` bool."""
    at = jnp.arange(exists.shape[-1])
    order = at[:, None] >= at[None, :]
    seen = (order & exists[..., None, :]) | (at[:, None] == at[None, :])
    return InOrder(exists, seen, right_padded)


def causal_mask(lengths: jax.Array, width: int) -> InOrder:
    """Makes the mask of right-padded rows of ``lengths [B, G]``; T is `width`."""
    return in_order(jnp.arange(width) < lengths[..., None], right_padded=True)


def dense(mask: Mask) -> jax.Array:
    """Returns a mask as an array, ``[B, g, T or 1, C]`` bool."""
    return mask.seen if isinstance(mask, InOrder) else mask
