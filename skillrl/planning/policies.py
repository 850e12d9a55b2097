"""Finds the sizes of the policy that a config names, without weights and without the hub."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from skillrl.config import presets
from skillrl.config.settings import ModelConfig
from skillrl.errors import SkillRLError
from skillrl.models import weights
from skillrl.models.config import TransformerConfig
from skillrl.models.released import RELEASED, released


def find_sizes(model: ModelConfig) -> tuple[TransformerConfig, str]:
    """Finds the sizes of a policy, to be computed as `model` says.

    Args:
      model: ``policy_path`` is a directory with a ``config.json`` (it may have nothing else), a
        shipped ``asset:NAME``, or the name of a released policy; ``policy_model_id`` is such a
        name, and counts where there is no path.

    Returns:
      The sizes, and where they come from.

    Raises:
      SkillRLError: the name is none that is known here and no directory; or its config.json
        cannot be read.
    """
    setting = "model.policy_path" if model.policy_path else "model.policy_model_id"
    name = model.policy_path or model.policy_model_id
    here = name.startswith("asset:") or os.path.isdir(Path(name).expanduser())
    if model.policy_path and here:
        directory = presets.resolve_path(name)
        found, source = weights.read_config(directory), f"{directory}/config.json"
    else:
        known = released(name)
        if known is None:
            raise SkillRLError(
                f"{setting}={name:.200}: neither a directory here nor a released policy whose "
                f"sizes are known without the hub. Known are {', '.join(RELEASED)} (with "
                "-Instruct or -Base behind them too); of any other Qwen2, Qwen2.5 or Qwen3, copy "
                "its config.json into a directory and set model.policy_path to that."
            )
        found, source = known, "the released sizes that ship with the package"
    return (
        dataclasses.replace(
            found, dtype=model.dtype, attention=model.attention, scan_layers=model.scan_layers
        ),
        f"{name}, {source}",
    )
