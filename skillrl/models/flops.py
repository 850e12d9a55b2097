"""Counts floating-point operations and bytes of a decoder from its sizes: two per multiply-add.

Counted are matrix products only (projections, scores, mixing, unembedding), as is usual; causal
attention as half of the square. What padding costs is not counted: it is a side's own loss.

`rollout_flops` and `step_flops` are what a side computes, a second computation of the same thing
included. `prefill_flops`, `decode_flops` and `useful_step_flops` are what the task needs at
least: nothing twice, and no last layer for tokens of which only keys and values are read. They are
what a share of a device's peak (MFU) is taken of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skillrl.models.config import TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Holds the sizes of a Qwen2-like decoder that its cost depends on.

    Attributes:
      vocab: V.
      width: D.
      layers: L.
      heads: H.
      kv_heads: K.
      head: Q, the width of one head.
      ffn: F.
      tied: whether it unembeds with the embedding.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    tied: bool = True

    @property
    def per_token(self) -> int:
        """Counts operations of a token in all layers, but for attention scores and logits."""
        attention = self.width * self.head * (2 * self.heads + 2 * self.kv_heads)
        return 2 * self.layers * (attention + 3 * self.width * self.ffn)

    @property
    def unembed(self) -> int:
        """Counts operations of one token's scores over the vocabulary."""
        return 2 * self.width * self.vocab

    @property
    def unread(self) -> int:
        """Counts operations that the last layer spares a token read for keys and values alone."""
        return 2 * (2 * self.width * self.head * self.heads + 3 * self.width * self.ffn)

    @property
    def parameters(self) -> int:
        """Counts parameters in matrices; norms and biases are less than a thousandth."""
        return self.per_token // 2 + self.width * self.vocab * (1 if self.tied else 2)

    def adapter(self, rank: int) -> int:
        """Counts parameters of a LoRA adapter of this rank on all projections."""
        attention = 2 * (2 * self.width + self.head * (self.heads + self.kv_heads))
        return self.layers * rank * (attention + 3 * (self.width + self.ffn))

    def kv_bytes(self, width: int = 2) -> int:
        """Counts bytes of one token's keys and values in all layers, `width` bytes a number."""
        return 2 * self.layers * self.kv_heads * self.head * width

    def attention(self, queries: float, keys: float) -> float:
        """Counts operations of `queries` tokens that attend to `keys` tokens each."""
        return 4.0 * self.layers * self.heads * self.head * queries * keys

    def causal(self, tokens: float) -> float:
        """Counts operations of `tokens` tokens that attend to themselves and those before."""
        return self.attention(tokens, (tokens + 1) / 2)


def sizes_of(config: TransformerConfig) -> Sizes:
    """Returns the sizes of a policy."""
    return Sizes(
        vocab=config.vocab_size,
        width=config.hidden_size,
        layers=config.num_layers,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head=config.head_dim,
        ffn=config.intermediate_size,
        tied=config.tie_embeddings,
    )


def rollout_flops(sizes: Sizes, work: Mapping[str, float], *, shared: bool) -> float:
    """Counts operations of answering all prompts of a workload.

    Args:
      sizes: sizes of the policy.
      work: ``steps`` of an episode, ``groups``, ``members`` of a group, and the tokens of a
        ``prefix``, of a ``suffix`` and of a ``new`` response.
      shared: whether the prefix of a group is computed once.
    """
    prefix, suffix, new = work["prefix"], work["suffix"], work["new"]
    prompts = work["steps"] * work["groups"] * work["members"]
    a_prefix = prefix * sizes.per_token + sizes.causal(prefix)
    prefixes = (work["groups"] if shared else prompts) * a_prefix
    prefill = suffix * sizes.per_token + sizes.causal(suffix) + sizes.attention(suffix, prefix)
    decode = (new - 1) * sizes.per_token + sizes.attention(new - 1, prefix + suffix + new / 2)
    return prefixes + prompts * (prefill + decode + new * sizes.unembed)


def step_flops(sizes: Sizes, work: Mapping[str, float], *, shared: bool) -> float:
    """Counts operations of one GRPO gradient over a workload's samples.

    The backward pass costs twice the forward pass.

    Args:
      sizes: sizes of the policy.
      work: as in `rollout_flops`.
      shared: whether the prefix of a group is computed once.
    """
    prefix, rest = work["prefix"], work["suffix"] + work["new"]
    samples = work["steps"] * work["groups"] * work["members"]
    a_prefix = prefix * sizes.per_token + sizes.causal(prefix)
    # The two passes compute a shared prefix's keys and values once more for its backward.
    prefixes = work["groups"] * a_prefix * 4 / 3 if shared else samples * a_prefix
    row = rest * sizes.per_token + sizes.causal(rest) + sizes.attention(rest, prefix)
    return 3 * (prefixes + samples * (row + work["new"] * sizes.unembed))


def prefill_flops(sizes: Sizes, work: Mapping[str, float], *, shared: bool) -> float:
    """Counts the least operations that answer the prompts of one step with a first token."""
    prefix, suffix = work["prefix"], work["suffix"]
    prompts = work["groups"] * work["members"]
    rows = prompts * (_past(sizes, suffix, prefix) + _read(sizes, 1, prefix + suffix))
    prefixes = (work["groups"] if shared else prompts) * _past(sizes, prefix, 0)
    return prefixes + rows + prompts * sizes.unembed


def decode_flops(sizes: Sizes, work: Mapping[str, float]) -> float:
    """Counts operations of one more token for each prompt, halfway through the responses."""
    keys = work["prefix"] + work["suffix"] + work["new"] / 2
    prompts = work["groups"] * work["members"]
    return prompts * (sizes.per_token + sizes.unembed + sizes.attention(1, keys))


def decode_bytes(sizes: Sizes, work: Mapping[str, float], *, shared: bool, width: int = 2) -> float:
    """Counts the bytes that the step of `decode_flops` reads at least.

    They are all matrices once, and all keys and values, those of a shared prefix once a group.

    Args:
      sizes: sizes of the policy.
      work: as in `rollout_flops`.
      shared: whether the prefix of a group is read once.
      width: bytes of a number.
    """
    prompts = work["groups"] * work["members"]
    own = prompts * (work["suffix"] + work["new"] / 2)
    prefixes = (work["groups"] if shared else prompts) * work["prefix"]
    weights = (sizes.per_token + sizes.unembed) / 2 * width
    return weights + (own + prefixes) * sizes.kv_bytes(width)


def useful_step_flops(sizes: Sizes, work: Mapping[str, float], *, rank: int = 0) -> float:
    """Counts operations that one GRPO gradient needs at least, with nothing recomputed.

    The backward pass of a product costs twice its forward pass: once for its input, once for its
    weights. With a LoRA adapter of `rank` the weights are frozen and the second half falls away,
    but for the adapter's own.
    """
    prefix, suffix, new = work["prefix"], work["suffix"], work["new"]
    groups, samples = work["groups"], work["steps"] * work["groups"] * work["members"]
    row = suffix + new - 1  # the last token is only predicted
    past, read = _past(sizes, row, prefix), _read(sizes, new, prefix + suffix + new / 2)
    total = groups * _past(sizes, prefix, 0) + samples * (past + read)
    tokens = groups * prefix + samples * row
    unread = tokens - samples * new
    weights = tokens * sizes.per_token - unread * sizes.unread
    scores = total - weights
    weights += samples * new * sizes.unembed
    if not rank:
        return 3 * (scores + weights)
    low = tokens * 2 * sizes.adapter(rank)
    return 3 * (scores + low) + 2 * weights


def _past(sizes: Sizes, tokens: float, before: float) -> float:
    """Counts operations of tokens of whose last layer only keys and values are read."""
    scores = sizes.causal(tokens) + sizes.attention(tokens, before)
    return tokens * (sizes.per_token - sizes.unread) + scores * (1 - 1 / sizes.layers)


def _read(sizes: Sizes, tokens: float, keys: float) -> float:
    """Counts operations that `_past` leaves out, for tokens whose output is read."""
    return tokens * (sizes.unread + sizes.attention(1, keys) / sizes.layers)
