"""Adds LoRA's low-rank adapters to frozen kernels, and reads and writes them in PEFT's format.

An adapter adds ``scale * (x A) B`` to a projection of ``x`` (arXiv 2106.09685, section 4.1;
scale = alpha / rank). Its leaves ``lora_a`` and ``lora_b`` are laid into the tree of
parameters beside the kernel that they adapt, and `projection.project` adds them up:
the kernel itself is neither copied nor changed. Without the leaves the same tree is the
policy with its adapter off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from skillrl.errors import SkillRLError
from skillrl.models import adapter_config, parameters, tensors, weights
from skillrl.models.config import TransformerConfig
from skillrl.models.directory import ADAPTER, ADAPTER_CONFIG, expanded
from skillrl.models.parameters import LAYERS, ParameterSpec

A, B = "lora_a", "lora_b"
TARGETS = {
    "q_proj": ("attention", "query"),
    "k_proj": ("attention", "key"),
    "v_proj": ("attention", "value"),
    "o_proj": ("attention", "output"),
    "gate_proj": ("mlp", "gate"),
    "up_proj": ("mlp", "up"),
    "down_proj": ("mlp", "down"),
}
"""Projections that can be adapted: Hugging Face's name -> path in a layer."""
_INPUTS = {"output": ("heads", "head_dim"), "down": ("ffn",)}  # the others read ``embed``


@dataclasses.dataclass(frozen=True)
class Lora:
    """Describes the shape of an adapter.

    Attributes:
      rank: R, columns of A and rows of B.
      alpha: the product is scaled by ``alpha / rank``.
      targets: names of `TARGETS`.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = tuple(TARGETS)

    @property
    def scale(self) -> float:
        """Returns what the product of A and B is multiplied by."""
        return self.alpha / self.rank


def specs(config: TransformerConfig, lora: Lora) -> dict[parameters.Path, ParameterSpec]:
    """Describes every leaf of an adapter, as `parameters.specs` does those of the policy.

    Here A is ``[L, inputs..., R]`` and B ``[L, R, outputs...]``; in PEFT's files they are
    ``[R, I]`` and ``[O, R]``, one pair per layer.

    Raises:
      SkillRLError: an unknown target.
    """
    table: dict[parameters.Path, ParameterSpec] = {}
    kernels = parameters.specs(config)
    for target in lora.targets:
        if target not in TARGETS:
            raise SkillRLError(
                f"lora target {target!r} is not a projection of the model; choose from: "
                f"{', '.join(TARGETS)}"
            )
        path = (LAYERS, *TARGETS[target])
        kernel = kernels[(*path, "kernel")]
        sizes = kernel.sizes | {"rank": lora.rank}
        inputs = _INPUTS.get(path[-1], ("embed",))
        outputs = tuple(name for name in kernel.axes[1:] if name not in inputs)
        stem = f"base_model.model.{kernel.hf_name.removesuffix('.weight')}"
        for leaf, axes, name, hf_axes in (
            (A, (*inputs, "rank"), "lora_A", (("rank",), inputs)),
            (B, ("rank", *outputs), "lora_B", (outputs, ("rank",))),
        ):
            axes = (LAYERS, *axes)
            shape = tuple(sizes[axis] for axis in axes)
            table[(*path, leaf)] = ParameterSpec(
                axes=axes, shape=shape, hf_name=f"{stem}.{name}.weight", hf_axes=hf_axes
            )
    return table


def init(key: jax.Array, config: TransformerConfig, lora: Lora) -> dict[str, Any]:
    """Draws a fresh adapter, float32: A uniform in +-1/sqrt(inputs) as in PEFT, B zero.

    The policy with it is the policy without it.
    """
    flat = {}
    for number, (path, spec) in enumerate(specs(config, lora).items()):
        if path[-1] == B:
            flat[path] = jnp.zeros(spec.shape, jnp.float32)
        else:
            bound = math.prod(spec.shape[1:-1]) ** -0.5
            draw = jax.random.fold_in(key, number)
            flat[path] = jax.random.uniform(draw, spec.shape, jnp.float32, -bound, bound)
    return parameters.unflatten(flat)


def join(adapter: Mapping[str, Any], base: Mapping[str, Any], lora: Lora) -> dict[str, Any]:
    """Switches the adapter on: returns the kernels of `base` with its leaves beside them."""
    flat = parameters.flatten(adapter)
    scaled = {path: x * lora.scale if path[-1] == B else x for path, x in flat.items()}
    return parameters.unflatten(parameters.flatten(base) | scaled)


def merge(adapter: Mapping[str, Any], base: Mapping[str, Any], lora: Lora) -> dict[str, Any]:
    """Merges the adapter into plain parameters: kernel + scale * A B, summed in float32."""
    flat, adapted = parameters.flatten(base), parameters.flatten(adapter)
    for path, a in adapted.items():
        if path[-1] == A:
            at = (*path[:-1], "kernel")
            flat[at] = _add(flat[at], a=a, b=adapted[(*path[:-1], B)], scale=lora.scale)
    return parameters.unflatten(flat)


def stack(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Makes one adapter that adds what two add to the same base, side by side in its rank.

        x [A1 A2] [B1; B2] = x A1 B1 + x A2 B2

    Its scale is theirs where rank and alpha of its `Lora` are the sums of theirs.

    Args:
      first: an adapter as from `init`.
      second: another of the same targets and the same scale.
    """
    flat, other = parameters.flatten(first), parameters.flatten(second)
    return parameters.unflatten(
        {
            path: jnp.concatenate([leaf, other[path]], axis=-1 if path[-1] == A else 1)
            for path, leaf in flat.items()
        }
    )


@jax.jit
def _add(kernel: jax.Array, *, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    low = a.reshape(a.shape[0], -1, a.shape[-1])  # [L, I, R]
    high = b.reshape(b.shape[0], b.shape[1], -1)  # [L, R, O]
    product = jnp.einsum("LIR,LRO->LIO", low, high, precision="highest")
    full = kernel.astype(jnp.float32) + scale * product.reshape(kernel.shape)
    return full.astype(kernel.dtype)


def save(
    directory: str | Path,
    adapter: Mapping[str, Any],
    *,
    config: TransformerConfig,
    lora: Lora,
    base: str = "",
) -> None:
    """Writes a directory that ``peft.PeftModel.from_pretrained(model, directory)`` loads.

    It is sealed with ``SHA256SUMS``.

    Every process of a multi-host run must call it; the first one writes.

    Args:
      directory: is created, or replaced if it is an adapter directory.
      adapter: as from `init`.
      config: sizes of the model.
      lora: shape of the adapter.
      base: path or name of the model that it adapts.

    Raises:
      SkillRLError: the directory holds something that is not an adapter, or a number of the
        adapter is not finite.
    """
    flat = parameters.flatten(adapter)
    values = {
        name: spec.to_hf(weights.fetch(flat[path], layer).astype(np.float32))
        for path, spec in specs(config, lora).items()
        for layer, name in enumerate(spec.hf_names)
    }
    for name, value in values.items():
        tensors.check_numbers(value, f"nothing is exported: tensor {name!r}")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(lora.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }
    with weights.replacing(Path(directory), marker=ADAPTER_CONFIG) as temporary:
        if temporary is not None:
            safetensors.numpy.save_file(values, temporary / ADAPTER, metadata={"format": "pt"})
            text = json.dumps(settings, indent=2) + "\n"
            (temporary / ADAPTER_CONFIG).write_text(text, encoding="utf-8")


def load(directory: str | Path, config: TransformerConfig) -> tuple[dict[str, Any], Lora]:
    """Reads an adapter in PEFT's format.

    Returns:
      The adapter (float32, whole on the first local device) and its shape.

    Raises:
      Corrupt: a file has another hash than is known for it, or a number is not finite.
      SkillRLError: no adapter is there, it is of another kind than plain LoRA on the
        projections of `TARGETS`, or its tensors do not fit the model.
    """
    directory = expanded(directory)
    settings = adapter_config.read(directory)
    lora = Lora(settings.rank, settings.alpha, _targets(directory, settings, config))
    table = specs(config, lora)
    with contextlib.ExitStack() as stack:
        found = tensors.open_tensors(directory, stack, single=ADAPTER)
        tensors.check_tensors(directory, found, table)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        flat = {
            path: tensors.read(found, spec, sharding=device, dtype=np.float32)
            for path, spec in table.items()
        }
        jax.block_until_ready(flat)
    return parameters.unflatten(flat), lora


def _targets(
    directory: Path, settings: adapter_config.AdapterConfig, config: TransformerConfig
) -> tuple[str, ...]:
    """Finds the projections that PEFT would adapt, which must be the same in all layers."""
    targets = []
    for target, at in TARGETS.items():
        stem = parameters.specs(config)[(LAYERS, *at, "kernel")].hf_names
        adapted = [settings.adapts(name.removesuffix(".weight")) for name in stem]
        if all(adapted):
            targets.append(target)
        elif any(adapted):
            _refuse_targets(directory, settings, f"adapts {target} in some layers only")
    for other in ("lm_head", "model.embed_tokens"):
        if settings.adapts(other):
            _refuse_targets(directory, settings, f"adapts {other}")
    if not targets:
        _refuse_targets(directory, settings, "adapts none of them")
    return tuple(targets)


def _refuse_targets(directory: Path, settings: adapter_config.AdapterConfig, what: str) -> None:
    raise SkillRLError(
        f"{directory}: the adapter has target_modules={list(settings.targets)!r}, which {what}; "
        f"only plain LoRA on {', '.join(TARGETS)} of all layers is read. {adapter_config.MERGE}"
    )
