"""``config.json`` of a Hugging Face checkpoint <-> `ModelConfig`.

Read here rather than through transformers, because the file's spelling changed
over the years (``rope_theta`` moved into ``rope_parameters``, ``torch_dtype``
became ``dtype``) and because a feature that this model lacks must be refused, not
ignored. Both spellings are written, so that old and new readers agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.models.config import ModelConfig

ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
DTYPES = ("float32", "bfloat16")


def read_config(directory: str | Path) -> ModelConfig:
    """Reads ``config.json`` of a Qwen2, Qwen2.5 or Qwen3 checkpoint.

    Raises:
      SkillRLError: if the file is missing or unreadable, a field is missing, or it
        asks for something that this model does not do (another architecture, rope
        scaling, sliding-window attention, quantised weights).
    """
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise SkillRLError(
            f"{path} does not exist: model.policy_path must be a Hugging Face model directory"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SkillRLError(f"cannot read {path}: {error}; download the model again") from error
    if not isinstance(fields, dict):
        raise SkillRLError(f"{path} does not hold a JSON object: download the model again")
    _refuse_unsupported(path, fields)

    def field(name: str) -> Any:
        if fields.get(name) is None:
            raise SkillRLError(
                f"{path} lacks {name!r}: use the config.json that came with the weights"
            )
        return fields[name]

    heads, kv_heads = int(field("num_attention_heads")), int(field("num_key_value_heads"))
    if heads % kv_heads:
        raise SkillRLError(
            f"{path}: num_attention_heads={heads} is not a multiple of "
            f"num_key_value_heads={kv_heads}; use the config.json that came with the weights"
        )
    explicit = fields.get("head_dim") is not None or fields["model_type"] == "qwen3"
    return ModelConfig(
        model_type=fields["model_type"],
        vocab_size=int(field("vocab_size")),
        hidden_size=int(field("hidden_size")),
        intermediate_size=int(field("intermediate_size")),
        num_layers=int(field("num_hidden_layers")),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=int(field("head_dim")) if explicit else int(field("hidden_size")) // heads,
        rope_theta=_rope_theta(path, fields),
        rms_norm_eps=float(field("rms_norm_eps")),
        tie_embeddings=bool(fields.get("tie_word_embeddings", False)),
        max_positions=int(field("max_position_embeddings")),
        dtype=_dtype(path, fields),
    )


def to_json(config: ModelConfig, *, token_ids: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Fields of the ``config.json`` of an exported model.

    Args:
      config: sizes of the model.
      token_ids: further fields such as ``eos_token_id``.
    """
    return {
        "architectures": [ARCHITECTURES[config.model_type]],
        "model_type": config.model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_bias": config.qkv_bias,
        "attention_dropout": 0.0,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rms_norm_eps": config.rms_norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "max_position_embeddings": config.max_positions,
        "use_sliding_window": False,
        "use_cache": True,
        "dtype": config.dtype,
        "torch_dtype": config.dtype,
        **(token_ids or {}),
    }


def _refuse_unsupported(path: Path, fields: Mapping[str, Any]) -> None:
    remedy = "; use a Qwen2, Qwen2.5 or Qwen3 dense checkpoint"
    model_type = fields.get("model_type")
    if model_type not in ARCHITECTURES:
        raise SkillRLError(
            f"{path}: model_type {model_type!r} is not one of {', '.join(ARCHITECTURES)}{remedy}"
        )
    architectures = fields.get("architectures") or [ARCHITECTURES[model_type]]
    if architectures != [ARCHITECTURES[model_type]]:
        raise SkillRLError(
            f"{path}: architectures {architectures} is not a language model of type "
            f"{model_type}{remedy}"
        )
    activation = fields.get("hidden_act", "silu")
    if activation != "silu":
        raise SkillRLError(f"{path}: hidden_act {activation!r} is not supported{remedy}")
    if model_type == "qwen3" and fields.get("attention_bias"):
        raise SkillRLError(f"{path}: attention_bias is not supported for qwen3{remedy}")
    if fields.get("quantization_config"):
        raise SkillRLError(f"{path}: quantised weights cannot be trained; use the bf16 checkpoint")
    sliding = "sliding_attention" in (fields.get("layer_types") or ())
    if fields.get("use_sliding_window") or sliding:
        raise SkillRLError(
            f"{path}: sliding-window attention is not supported; set use_sliding_window to false "
            "and remove layer_types if the contexts fit the window, else use another checkpoint"
        )


def _rope_theta(path: Path, fields: Mapping[str, Any]) -> float:
    """Base of the rotary frequencies, from either spelling."""
    thetas = [fields.get("rope_theta")]
    for key in ("rope_parameters", "rope_scaling"):
        rope = fields.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise SkillRLError(
                f"{path}: {key} of type {kind!r} is not supported; remove it to use the "
                "checkpoint at its original context length"
            )
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise SkillRLError(f"{path}: a partial_rotary_factor in {key} is not supported")
        thetas.append(rope.get("rope_theta"))
    stated = {float(theta) for theta in thetas if theta is not None}
    if len(stated) != 1:
        found = f"states several values: {sorted(stated)}" if stated else "is missing"
        raise SkillRLError(
            f"{path}: rope_theta {found}; use the config.json that came with the weights"
        )
    return stated.pop()


def _dtype(path: Path, fields: Mapping[str, Any]) -> str:
    dtype = fields.get("dtype") or fields.get("torch_dtype") or "float32"
    if dtype not in DTYPES:
        raise SkillRLError(
            f"{path}: dtype {dtype!r} is not one of {', '.join(DTYPES)}; set it to 'bfloat16' "
            "to compute in bfloat16 whatever the weights are stored in"
        )
    return dtype
