"""Knows the sizes of the released Qwen policies, for those who plan before they download.

The numbers are those of the ``config.json`` of each repository on the Hugging Face hub; base
and instruction-tuned checkpoints of a size have the same. A test holds them to the parameter
counts that the hub shows for the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from skillrl.models.config import TransformerConfig


def _qwen25(
    hidden: int, *, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int = 151936
) -> TransformerConfig:
    """Describes a Qwen2.5: heads fill the width, and the small ones (vocabulary 151936) are tied.

    Args:
      hidden: D.
      ffn: F.
      layers: L.
      heads: H.
      kv_heads: K.
      vocab: V.
    """
    return TransformerConfig(
        model_type="qwen2",
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=hidden // heads,
        tie_embeddings=vocab == 151936,
        max_positions=32768,
        dtype="bfloat16",
    )


def _qwen3(hidden: int, *, ffn: int, layers: int, heads: int, tied: bool) -> TransformerConfig:
    """Describes a dense Qwen3: heads of 128 numbers whatever the width, and 8 kv heads.

    Args:
      hidden: D.
      ffn: F.
      layers: L.
      heads: H.
      tied: whether logits use the embedding.
    """
    return TransformerConfig(
        model_type="qwen3",
        vocab_size=151936,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=8,
        head_dim=128,
        tie_embeddings=tied,
        max_positions=40960,
        dtype="bfloat16",
    )


RELEASED: Mapping[str, TransformerConfig] = {
    "Qwen2.5-0.5B": _qwen25(896, ffn=4864, layers=24, heads=14, kv_heads=2),
    "Qwen2.5-1.5B": _qwen25(1536, ffn=8960, layers=28, heads=12, kv_heads=2),
    "Qwen2.5-3B": _qwen25(2048, ffn=11008, layers=36, heads=16, kv_heads=2),
    "Qwen2.5-7B": _qwen25(3584, ffn=18944, layers=28, heads=28, kv_heads=4, vocab=152064),
    "Qwen2.5-14B": _qwen25(5120, ffn=13824, layers=48, heads=40, kv_heads=8, vocab=152064),
    "Qwen2.5-32B": _qwen25(5120, ffn=27648, layers=64, heads=40, kv_heads=8, vocab=152064),
    "Qwen3-0.6B": _qwen3(1024, ffn=3072, layers=28, heads=16, tied=True),
    "Qwen3-1.7B": _qwen3(2048, ffn=6144, layers=28, heads=16, tied=True),
    "Qwen3-4B": _qwen3(2560, ffn=9728, layers=36, heads=32, tied=True),
    "Qwen3-8B": _qwen3(4096, ffn=12288, layers=36, heads=32, tied=False),
    "Qwen3-14B": _qwen3(5120, ffn=17408, layers=40, heads=40, tied=False),
    "Qwen3-32B": _qwen3(5120, ffn=25600, layers=64, heads=64, tied=False),
}
"""Sizes by name, without the owner and without what says how a checkpoint was tuned."""

_TUNED = re.compile(r"-(Base|Instruct|Thinking)?(-?\d{4})?$")


def released(name: str) -> TransformerConfig | None:
    """Returns the sizes of a released policy, or None for a name that is none.

    Examples:
      >>> released("Qwen/Qwen2.5-7B-Instruct").num_layers
      28
      >>> released("Qwen/Qwen3-4B-Instruct-2507").num_layers
      36
      >>> released("somebody/else") is None
      True

    Args:
      name: as on the hub, ``Qwen/Qwen2.5-7B-Instruct``, with or without its owner.
    """
    owner, _, size = name.rpartition("/")
    if owner not in ("", "Qwen"):
        return None
    return RELEASED.get(size) or RELEASED.get(_TUNED.sub("", size))
