"""Computes scores, and log-probabilities without holding all scores at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


def unembed(params: Mapping[str, Any], hidden: jax.Array) -> jax.Array:
    """Computes logits ``[..., V]`` in float32 of hidden states ``[..., D]``."""
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


def token_logprobs(
    params: Mapping[str, Any], hidden: jax.Array, targets: Any, *, chunk: int = 0
) -> jax.Array:
    """Computes log-probabilities of `targets` under the softmax at temperature 1, in float32.

    The scores of all tokens at once would be the largest array of a training step (1,024
    tokens of a row of Qwen2.5 are 0.6 GB). So tokens are taken in turn, and the backward
    pass computes their scores again.

    Args:
      params: as from `transformer.init`.
      hidden: ``[B, G, A, D]``, the state *before* each target.
      targets: ``[B, G, A]`` int32.
      chunk: how many tokens' scores ``[chunk, V]`` may exist at once; 0 sets no limit. At
        least one token of each of the B * G rows is taken.

    Returns:
      ``[B, G, A]`` float32.
    """
    return _of_scores(_logprob, params, hidden=hidden, targets=targets, chunk=chunk)


def token_logprobs_and_entropies(
    params: Mapping[str, Any], hidden: jax.Array, targets: Any, *, chunk: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Computes what `token_logprobs` does, and the entropy of each distribution.

    Args:
      params: as in `token_logprobs`.
      hidden: as in `token_logprobs`.
      targets: as in `token_logprobs`.
      chunk: as in `token_logprobs`.

    Returns:
      Log-probabilities, and entropies in nats, both ``[B, G, A]`` float32.
    """

    def both(scores: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = jnp.sum(jax.nn.softmax(scores, -1) * scores, -1)
        return _logprob(scores, targets), jax.nn.logsumexp(scores, -1) - mean

    return _of_scores(both, params, hidden=hidden, targets=targets, chunk=chunk)


def _logprob(scores: jax.Array, targets: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(scores, targets[..., None], -1)[..., 0]
    return chosen - jax.nn.logsumexp(scores, -1)


def _of_scores(
    read: Callable[[jax.Array, jax.Array], Any],
    params: Mapping[str, Any],
    *,
    hidden: jax.Array,
    targets: Any,
    chunk: int,
) -> Any:
    """Computes ``read(scores [..., V], targets [...])`` of all tokens, `chunk` scores at a time."""

    def some(hidden: jax.Array, targets: jax.Array) -> Any:
        return read(unembed(params, hidden), targets)

    b, g, a = targets.shape
    width = max(1, chunk // (b * g)) if chunk else a
    if width >= a:
        return some(hidden, targets)
    turns = -(-a // width)
    width = -(-a // turns)  # no wider than needed: less padding
    pad = ((0, 0), (0, 0), (0, turns * width - a))

    def split(x: jax.Array) -> jax.Array:
        """``[B, G, A, ...]`` -> ``[turns, B, G, width, ...]``; rows keep their devices."""
        x = jnp.pad(x, (*pad, *[(0, 0)] * (x.ndim - 3)))
        return jnp.moveaxis(x.reshape(b, g, turns, width, *x.shape[3:]), 2, 0)

    step = jax.checkpoint(some, prevent_cse=False)
    _, out = jax.lax.scan(
        lambda _, xs: (None, step(*xs)), None, (split(hidden), split(jnp.asarray(targets)))
    )
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2).reshape(b, g, turns * width)[:, :, :a], out)
