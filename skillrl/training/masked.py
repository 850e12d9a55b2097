"""Reduces the part of an array that a mask selects.

What lies outside the mask is never read: it may hold NaN or infinity without reaching the value or
the gradient. An empty mask gives 0, with a zero gradient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Axis = int | tuple[int, ...] | None


def zero_outside(x: ArrayLike, mask: ArrayLike) -> jax.Array:
    """Returns ``x`` as float32 with zeros outside the mask (where, so NaN * 0 cannot arise)."""
    x = jnp.asarray(x)
    mask = jnp.broadcast_to(jnp.asarray(mask), x.shape).astype(bool)
    return jnp.where(mask, x.astype(jnp.float32), 0.0)


def masked_sum(x: ArrayLike, mask: ArrayLike, *, axis: Axis = None) -> jax.Array:
    """Returns the sum of ``x`` where ``mask`` is true, in float32.

    Examples:
      >>> float(masked_sum([1.0, 2.0, float("nan")], [1, 1, 0]))
      3.0

    Args:
      x: [...] values.
      mask: boolean or 0/1, broadcastable to ``x``.
      axis: axes to reduce; all of them by default.
    """
    return jnp.sum(zero_outside(x, mask), axis=axis)


def masked_mean(x: ArrayLike, mask: ArrayLike, *, axis: Axis = None) -> jax.Array:
    """Returns the mean of ``x`` where ``mask`` is true, in float32; 0 where nothing is selected.

    Examples:
      >>> masked_mean([[1.0, 2.0], [5.0, 9.0]], [[1, 1], [1, 0]], axis=1).tolist()
      [1.5, 5.0]

    Args:
      x: [...] values.
      mask: boolean or 0/1, broadcastable to ``x``.
      axis: axes to reduce; all of them by default.
    """
    count = _count(x, mask, axis=axis)
    return masked_sum(x, mask, axis=axis) / jnp.maximum(count, 1.0)


def masked_std(x: ArrayLike, mask: ArrayLike, *, axis: Axis = None, ddof: int = 0) -> jax.Array:
    """Returns the standard deviation of ``x`` where ``mask`` is true, in float32.

    Examples:
      >>> float(masked_std([1.0, 5.0, 7.0], [1, 1, 0]))
      2.0

    Args:
      x: [...] values.
      mask: boolean or 0/1, broadcastable to ``x``.
      axis: axes to reduce; all of them by default.
      ddof: the divisor is ``count - ddof``; 1 gives the unbiased variance.

    Returns:
      0 where at most ``ddof`` elements are selected or all selected are equal;
      the gradient is 0 there as well, not NaN as of a bare square root.
    """
    count = _count(x, mask, axis=axis, keepdims=True)
    x = zero_outside(x, mask)
    mean = jnp.sum(x, axis=axis, keepdims=True) / jnp.maximum(count, 1.0)
    squares = jnp.sum(zero_outside(jnp.square(x - mean), mask), axis=axis)
    count = jnp.squeeze(count) if axis is None else jnp.squeeze(count, axis=axis)
    variance = squares / jnp.maximum(count - ddof, 1.0)
    positive = (variance > 0) & (count > ddof)
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1.0)), 0.0)


def _count(x: ArrayLike, mask: ArrayLike, *, axis: Axis, keepdims: bool = False) -> jax.Array:
    mask = jnp.broadcast_to(jnp.asarray(mask), jnp.asarray(x).shape).astype(bool)
    return jnp.sum(mask, axis=axis, keepdims=keepdims, dtype=jnp.float32)
