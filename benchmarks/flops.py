"""Shapes that the benchmarks count operations of, by `skillrl.models.flops`."""

from __future__ import annotations

from skillrl.models.flops import (
    Sizes,
    decode_bytes,
    decode_flops,
    prefill_flops,
    rollout_flops,
    step_flops,
    useful_step_flops,
)

__all__ = [
    "SHAPES",
    "Sizes",
    "decode_bytes",
    "decode_flops",
    "prefill_flops",
    "rollout_flops",
    "step_flops",
    "useful_step_flops",
]

SHAPES = {
    "tiny": Sizes(vocab=1024, width=128, layers=4, heads=4, kv_heads=2, head=32, ffn=352),
    "0.5B": Sizes(vocab=151936, width=896, layers=24, heads=14, kv_heads=2, head=64, ffn=4864),
    "1.5B": Sizes(vocab=151936, width=1536, layers=28, heads=12, kv_heads=2, head=128, ffn=8960),
    "7B": Sizes(
        vocab=152064, width=3584, layers=28, heads=28, kv_heads=4, head=128, ffn=18944, tied=False
    ),
}
"""The benchmarks' own, and Qwen2.5's by name."""
