"""Describes the shape of a policy, as read from a Hugging Face ``config.json``."""

from __future__ import annotations

import dataclasses

from jax.sharding import Mesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Holds sizes and constants of a Qwen2 / Qwen2.5 / Qwen3 decoder.

    Attributes:
      model_type: ``qwen2`` (bias on q, k, v) or ``qwen3`` (norm on q and k, no bias).
      vocab_size: V, rows of the embedding.
      hidden_size: D.
      intermediate_size: F.
      num_layers: L.
      num_heads: H.
      num_kv_heads: K; divides H.
      head_dim: Q; explicit, since Qwen3 does not have D = H * Q.
      rope_theta: base of the rotary frequencies.
      rms_norm_eps: added to the mean square.
      tie_embeddings: logits use the embedding instead of a head of their own.
      max_positions: longest sequence that the checkpoint was made for.
      dtype: of activations; norms, softmax, logits and log-probs are always float32.
      attention: name of an implementation in `models.attention`.
      scan_layers: whether passes over stacked layers loop over them, where there are many.
      mesh: devices that a pass is split over; None is one.
    """

    model_type: str = "qwen2"
    vocab_size: int = 1024
    hidden_size: int = 64
    intermediate_size: int = 192
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 16
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6
    tie_embeddings: bool = True
    max_positions: int = 32768
    dtype: str = "float32"
    attention: str = "xla"
    scan_layers: bool = True
    mesh: Mesh | None = None

    @property
    def qkv_bias(self) -> bool:
        """Tells whether queries, keys and values have a bias, as in Qwen2."""
        return self.model_type == "qwen2"

    @property
    def qk_norm(self) -> bool:
        """Tells whether each query and key head is normalised, as in Qwen3."""
        return self.model_type == "qwen3"
