"""Reads ``adapter_config.json`` of a LoRA adapter as PEFT does, or refuses it.

PEFT has many kinds of adapters under the one name LORA, and adds to them with each release.
What is read is listed here; any other setting that is switched on is refused by its name, so
that a kind that is not known can never pass for plain LoRA. Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.models import directory as model_directory
from skillrl.models import intact
from skillrl.models.directory import ADAPTER, ADAPTER_CONFIG, shown

_SETTING = "model.adapter_path"
_READ = ("r", "lora_alpha", "target_modules", "exclude_modules", "use_rslora", "init_lora_weights")
_FIXED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": (None, "CAUSAL_LM"),
    "bias": (None, "none"),
}
_HARMLESS = (  # of training, of initialisation, or without effect alone
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "lora_dtype",
    "lora_ga_config",
    "lorap_emb_lr",
    "lorap_lr_ratio",
    "loftq_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
)
_KEEP_THE_BASE = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that leave the base model's weights as they are. The others (PiSSA,
OLoRA, CorDA, LoftQ, LoRA-GA) take the first adapter out of them, so that on the plain base the
trained one would be added to it a second time."""


LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What PEFT's ``all-linear`` means in these models: all but the head."""

MERGE = (
    "Merge it into its model with PEFT's merge_and_unload() and save_pretrained, and give that "
    "model as model.policy_path"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Holds what the settings of an adapter say of its shape and place.

    Attributes:
      rank: columns of A and rows of B.
      alpha: their product is scaled by ``alpha / rank``.
      targets: names of the adapted modules, or the ends of their names after a dot.
      excluded: modules that are not adapted though `targets` names them.
      base: the model that it was made for, a path or a name on the hub; may be empty.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]
    excluded: tuple[str, ...]
    base: str

    def adapts(self, module: str) -> bool:
        """Tells whether PEFT would adapt `module`, such as ``model.layers.0.self_attn.q_proj``."""
        return _names(self.targets, module) and not _names(self.excluded, module)


def read(directory: Path) -> AdapterConfig:
    """Reads the settings of an adapter, and checks that its weights are there.

    Raises:
      Corrupt: the file has another hash than is known for it.
      SkillRLError: no adapter is there, or one of a kind that is not read.
    """
    check_directory(directory)
    fields = model_directory.read_object(directory / ADAPTER_CONFIG)
    _refuse_changed_base(directory, fields)  # before the hash: some set it by hand
    intact.check(directory, [ADAPTER_CONFIG])
    odd = [f"{key}={shown(repr(fields[key]))}" for key in fields if not _plain(key, fields[key])]
    if odd:
        raise SkillRLError(
            f"{directory}: the adapter has {', '.join(odd[:4])}; only plain LoRA on the "
            f"projections of the layers is read. {MERGE}"
        )
    rank, alpha = _number(directory, fields, "r"), _number(directory, fields, "lora_alpha")
    if fields.get("use_rslora"):  # alpha / sqrt(r): the same thing with another alpha
        alpha *= rank**0.5
    base = fields.get("base_model_name_or_path")
    return AdapterConfig(
        rank=int(rank),
        alpha=alpha,
        targets=_modules(directory, fields, "target_modules"),
        excluded=_modules(directory, fields, "exclude_modules"),
        base=base if isinstance(base, str) else "",
    )


def check_directory(directory: Path) -> None:
    """Checks that `directory` holds an adapter, judged by its files.

    Raises:
      SkillRLError: it does not; the message says what it is instead.
    """
    if not os.path.isdir(directory):
        named = shown(str(directory))
        advice = model_directory.missing_advice(str(directory), _SETTING)
        raise SkillRLError(f"{_SETTING} '{named}' is not a directory: {advice}")
    wrong = f"{directory}: no LoRA adapter in PEFT's format can be read from it: it"
    if not os.path.isfile(directory / ADAPTER_CONFIG):
        model = os.path.isfile(directory / model_directory.CONFIG)
        advice = " It holds a whole model: give it as model.policy_path" if model else ""
        raise SkillRLError(f"{wrong} has no {ADAPTER_CONFIG}.{advice}")
    if not os.path.isfile(directory / ADAPTER):
        if os.path.isfile(directory / "adapter_model.bin"):
            raise SkillRLError(
                f"{wrong} has no {ADAPTER}. adapter_model.bin is in PyTorch's own format, which "
                "may run code when it is read; if you trust it, load it with PEFT and call "
                "save_pretrained"
            )
        raise SkillRLError(
            f"{wrong} has {ADAPTER_CONFIG}, but no {ADAPTER}: download or copy it again"
        )


def _refuse_changed_base(directory: Path, fields: Mapping[str, Any]) -> None:
    kind = fields.get("init_lora_weights")
    if any(kind is value or (isinstance(kind, str) and kind == value) for value in _KEEP_THE_BASE):
        return
    raise SkillRLError(
        f"{directory}: the adapter was made with init_lora_weights={shown(repr(kind))}, which "
        "changes the weights of the base model at the start: on the base as it is, the adapter "
        "would compute something else. Save it again as plain LoRA with PEFT's "
        "save_pretrained(DIR, path_initial_model_for_weight_conversion=FIRST), FIRST being the "
        "adapter as it was saved before training; or merge it where it was trained with "
        "merge_and_unload() and give that model as model.policy_path"
    )


def _plain(key: str, value: Any) -> bool:
    if key in _FIXED:
        return value in _FIXED[key]
    if key == "use_rslora":
        return value is None or isinstance(value, bool)
    return key in _READ or key in _HARMLESS or not value


def _number(directory: Path, fields: Mapping[str, Any], key: str) -> float:
    value = fields.get(key)
    right = int if key == "r" else (int, float)
    most = 2**20 if key == "r" else 1e9
    if not isinstance(value, right) or isinstance(value, bool) or not 0 < value <= most:
        raise SkillRLError(
            f"{directory / ADAPTER_CONFIG}: {key} is {shown(repr(value))}; use the "
            "adapter_config.json that came with the adapter"
        )
    return value


def _modules(directory: Path, fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    if value == "all-linear" and key == "target_modules":
        return LINEAR
    if not value and key == "exclude_modules":
        return ()
    if not value or not isinstance(value, list) or not all(isinstance(n, str) for n in value):
        raise SkillRLError(
            f"{directory / ADAPTER_CONFIG}: the adapter has {key}={shown(repr(value))}; only a "
            f"list of modules is read. {MERGE}"
        )
    return tuple(value)


def _names(wanted: tuple[str, ...], module: str) -> bool:
    return any(module == name or module.endswith(f".{name}") for name in wanted)
