"""Converts ``config.json`` of a Hugging Face checkpoint to a `TransformerConfig` and back.

Read here rather than through transformers, because the file's spelling changed
over the years (``rope_theta`` moved into ``rope_parameters``, ``torch_dtype``
became ``dtype``) and because a feature that this model lacks must be refused, not
ignored. Both spellings are written, so that old and new readers agree.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.models import directory as model_directory
from skillrl.models.config import TransformerConfig

ARCHITECTURES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float32"}
"""Dtype of the file -> dtype to compute in, unless a run says otherwise. float16 is not computed
in: its range is too small for training; float32 holds its numbers as they are."""

_SIZES = {  # the largest value; beyond them a table of the parameters alone fills the memory
    "vocab_size": 2**24,
    "hidden_size": 2**17,
    "intermediate_size": 2**20,
    "num_hidden_layers": 1024,
    "num_attention_heads": 4096,
    "num_key_value_heads": 4096,
    "head_dim": 4096,
    "max_position_embeddings": 2**40,
}
_OWN = "; use the config.json that came with the weights"


def read_config(directory: str | Path) -> TransformerConfig:
    """Reads ``config.json`` of a Qwen2, Qwen2.5 or Qwen3 checkpoint.

    Raises:
      SkillRLError: if the file is missing or unreadable, a field is missing, or it
        asks for something that this model does not do (another architecture, rope
        scaling, sliding-window attention, quantised weights).
    """
    path = Path(directory) / model_directory.CONFIG
    if not os.path.isfile(path):
        raise SkillRLError(
            f"{path} does not exist: model.policy_path must be a Hugging Face model directory"
        )
    fields = model_directory.read_object(path)
    _refuse_unsupported(path, fields)

    def size(name: str) -> int:
        value, most = _present(path, fields, name), _SIZES[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise SkillRLError(
                f"{path}: {name} is {_shown(value)}, not a whole number from 1 to {most}{_OWN}"
            )
        return value

    heads, kv_heads = size("num_attention_heads"), size("num_key_value_heads")
    if heads % kv_heads:
        raise SkillRLError(
            f"{path}: num_attention_heads={heads} is not a multiple of "
            f"num_key_value_heads={kv_heads}{_OWN}"
        )
    explicit = fields.get("head_dim") is not None or fields["model_type"] == "qwen3"
    head_dim = size("head_dim") if explicit else size("hidden_size") // heads
    if not head_dim or head_dim % 2:
        raise SkillRLError(
            f"{path}: heads of width {head_dim} cannot be rotated, which takes pairs{_OWN}"
        )
    return TransformerConfig(
        model_type=fields["model_type"],
        vocab_size=size("vocab_size"),
        hidden_size=size("hidden_size"),
        intermediate_size=size("intermediate_size"),
        num_layers=size("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        rope_theta=_rope_theta(path, fields),
        rms_norm_eps=_number(
            path, "rms_norm_eps", _present(path, fields, "rms_norm_eps"), below=1.0
        ),
        tie_embeddings=_truth(path, fields, "tie_word_embeddings"),
        max_positions=size("max_position_embeddings"),
        dtype=_dtype(path, fields),
    )


def to_json(
    config: TransformerConfig, *, token_ids: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes sizes as the fields of the ``config.json`` of an exported model.

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
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        if model_directory.is_run(path.parent):
            raise SkillRLError(
                f"{path.parent} is the directory of a run, not a model: give its policy, "
                f"{path.parent / 'policy'}, or the run with --workdir"
            )
        raise SkillRLError(
            f"{path}: model_type {_shown(model_type)} is not one of "
            f"{', '.join(ARCHITECTURES)}{remedy}"
        )
    wanted = ARCHITECTURES[model_type]
    architectures = fields.get("architectures") or [wanted]
    if architectures not in ([wanted], [f"FSDP{wanted}"]):  # as wrapped when it was saved
        raise SkillRLError(
            f"{path}: architectures {_shown(architectures)} is not a language model of type "
            f"{model_type}{remedy}"
        )
    activation = fields.get("hidden_act", "silu")
    if activation != "silu":
        raise SkillRLError(f"{path}: hidden_act {_shown(activation)} is not supported{remedy}")
    if model_type == "qwen3" and _truth(path, fields, "attention_bias"):
        raise SkillRLError(f"{path}: attention_bias is not supported for qwen3{remedy}")
    for key in ("quantization_config", "compression_config"):
        if fields.get(key):
            method = fields[key].get("quant_method") if isinstance(fields[key], dict) else None
            raise SkillRLError(
                f"{path}: {key}{f' of {_shown(method)}' if method else ''}: quantised weights "
                "cannot be trained; use the checkpoint in bfloat16, float16 or float32 that it "
                "was made from"
            )
    if fields.get("transformers_weights") not in (None, model_directory.SINGLE):
        raise SkillRLError(
            f"{path}: transformers_weights names {_shown(fields['transformers_weights'])}: weights "
            f"are read from {model_directory.SINGLE} or its shards; rename the file and remove it"
        )
    layer_types = fields.get("layer_types") or []
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        if isinstance(layer_types, list) and "sliding_attention" in layer_types:
            raise SkillRLError(f"{path}: {_SLIDING}")
        raise SkillRLError(f"{path}: layer_types {_shown(layer_types)} is not supported{remedy}")
    if _truth(path, fields, "use_sliding_window"):
        raise SkillRLError(f"{path}: {_SLIDING}")


_SLIDING = (
    "sliding-window attention is not supported; set use_sliding_window to false "
    "and remove layer_types if the contexts fit the window, else use another checkpoint"
)


def _rope_theta(path: Path, fields: Mapping[str, Any]) -> float:
    """Reads the base of the rotary frequencies, from either spelling."""
    thetas = [fields.get("rope_theta")]
    factors = [fields.get("partial_rotary_factor")]
    for key in ("rope_parameters", "rope_scaling"):
        rope = fields.get(key) or {}
        if not isinstance(rope, dict):
            raise SkillRLError(f"{path}: {key} is {_shown(rope)}, not an object{_OWN}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise SkillRLError(
                f"{path}: {key} of type {_shown(kind)} is not supported; remove it to use the "
                "checkpoint at its original context length"
            )
        factors.append(rope.get("partial_rotary_factor"))
        thetas.append(rope.get("rope_theta"))
    if any(factor not in (None, 1) for factor in factors):
        raise SkillRLError(f"{path}: a partial_rotary_factor is not supported")
    stated = {_number(path, "rope_theta", theta) for theta in thetas if theta is not None}
    if len(stated) != 1:
        found = f"states several values: {sorted(stated)}" if stated else "is missing"
        raise SkillRLError(f"{path}: rope_theta {found}{_OWN}")
    return stated.pop()


def _dtype(path: Path, fields: Mapping[str, Any]) -> str:
    dtype = fields.get("dtype") or fields.get("torch_dtype") or "float32"
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise SkillRLError(
            f"{path}: dtype {_shown(dtype)} is not one of {', '.join(DTYPES)}; set it to "
            "'bfloat16' to compute in bfloat16 whatever the weights are stored in"
        )
    return DTYPES[dtype]


def _present(path: Path, fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise SkillRLError(f"{path} lacks {name!r}{_OWN.replace(';', ':')}")
    return fields[name]


def _number(path: Path, name: str, value: Any, *, below: float = math.inf) -> float:
    """Checks that a field is a finite number above 0, and returns it."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < below
    if not good or value > 1e300:
        raise SkillRLError(f"{path}: {name} is {_shown(value)}, not a number above 0{_OWN}")
    return float(value)


def _truth(path: Path, fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise SkillRLError(f"{path}: {name} is {_shown(value)}, neither true nor false{_OWN}")
    return bool(value)


def _shown(value: Any) -> str:
    return model_directory.shown(repr(value))
