"""Floating-point operations of a decoder, counted from its sizes: two per multiply-add.

Counted are matrix products only (projections, scores, mixing, unembedding), as is usual; causal
attention as half of the square. What padding costs is not counted: it is a side's own loss.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of a Qwen2-like decoder; `head` is the width of one head."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    ffn: int

    @property
    def per_token(self) -> int:
        """Of one token in all layers, without attention's scores and the unembedding."""
        attention = self.width * self.head * (2 * self.heads + 2 * self.kv_heads)
        return 2 * self.layers * (attention + 3 * self.width * self.ffn)

    @property
    def unembed(self) -> int:
        """Of one token's scores over the vocabulary."""
        return 2 * self.width * self.vocab

    def attention(self, queries: float, keys: float) -> float:
        """Of `queries` tokens that each look at `keys` tokens, in all layers."""
        return 4.0 * self.layers * self.heads * self.head * queries * keys

    def causal(self, tokens: int) -> float:
        """Of `tokens` tokens that look at themselves and what is before."""
        return self.attention(tokens, (tokens + 1) / 2)


SHAPES = {
    "tiny": Sizes(vocab=1024, width=128, layers=4, heads=4, kv_heads=2, head=32, ffn=352),
    "0.5B": Sizes(vocab=151936, width=896, layers=24, heads=14, kv_heads=2, head=64, ffn=4864),
    "1.5B": Sizes(vocab=151936, width=1536, layers=28, heads=12, kv_heads=2, head=128, ffn=8960),
    "7B": Sizes(vocab=152064, width=3584, layers=28, heads=28, kv_heads=4, head=128, ffn=18944),
}
"""The benchmarks' own, and Qwen2.5's by name."""


def rollout_flops(sizes: Sizes, work: Mapping[str, int], *, shared: bool) -> float:
    """Of answering a workload of `rollout.py`; `shared` computes a group's prefix once."""
    prefix, suffix, new = work["prefix"], work["suffix"], work["new"]
    prompts = work["steps"] * work["groups"] * work["members"]
    a_prefix = prefix * sizes.per_token + sizes.causal(prefix)
    prefixes = (work["groups"] if shared else prompts) * a_prefix
    prefill = suffix * sizes.per_token + sizes.causal(suffix) + sizes.attention(suffix, prefix)
    decode = (new - 1) * sizes.per_token + sizes.attention(new - 1, prefix + suffix + new / 2)
    return prefixes + prompts * (prefill + decode + new * sizes.unembed)


def step_flops(sizes: Sizes, work: Mapping[str, int], *, shared: bool) -> float:
    """Of one GRPO gradient over a workload's samples: a forward and twice that backward."""
    prefix, rest = work["prefix"], work["suffix"] + work["new"]
    samples = work["steps"] * work["groups"] * work["members"]
    a_prefix = prefix * sizes.per_token + sizes.causal(prefix)
    # The two passes compute a shared prefix's keys and values once more for its backward.
    prefixes = work["groups"] * a_prefix * 4 / 3 if shared else samples * a_prefix
    row = rest * sizes.per_token + sizes.causal(rest) + sizes.attention(rest, prefix)
    return 3 * (prefixes + samples * (row + work["new"] * sizes.unembed))
