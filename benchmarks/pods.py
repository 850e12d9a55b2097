"""What runs need on pods, from shapes and settings alone: the tables of docs/pods.md.

    python benchmarks/pods.py

Memory is counted from the table of parameters and the rules by which a mesh splits them: what lies
on a device from one update to the next. What comes and goes within an update (activations, scores,
keys and values) is not in it; `skillrl train --dry_run` estimates that, `compiled.py` reads it off
the compiled programs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import AbstractMesh

from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.search.suite import SearchSuite
from skillrl.envs.webshop.suite import WebshopSuite
from skillrl.models import lora
from skillrl.models import parameters as table
from skillrl.models.config import TransformerConfig
from skillrl.models.flops import sizes_of
from skillrl.parallel import rules
from skillrl.parallel.mesh import AXES
from skillrl.preflight import estimate

GIB = 2**30
RANK = 32
"""Of the adapters in the tables."""


def _qwen(
    width: int, layers: int, heads: int, kv_heads: int, ffn: int, *, tied: bool, vocab: int = 151936
) -> TransformerConfig:
    return TransformerConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=ffn,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=64 if width == 896 else 128,
        tie_embeddings=tied,
        dtype="bfloat16",
    )


POLICIES = {
    "0.5B": _qwen(896, 24, 14, 2, 4864, tied=True),
    "1.5B": _qwen(1536, 28, 12, 2, 8960, tied=True),
    "3B": _qwen(2048, 36, 16, 2, 11008, tied=True),
    "7B": _qwen(3584, 28, 28, 4, 18944, tied=False, vocab=152064),
    "14B": _qwen(5120, 48, 40, 8, 13824, tied=False, vocab=152064),
    "32B": _qwen(5120, 64, 40, 8, 27648, tied=False, vocab=152064),
}
"""Qwen2.5, by the config.json of each."""

DEVICES = {"v5e": 16, "v6e": 32, "H100, A100": 80, "v5p": 95, "H200": 141}
"""Memory of a device in 10^9 bytes, as it is sold."""

MODES = ("bfloat16", "float32", "lora")
"""All weights trained in either dtype, or an adapter beside bfloat16 weights."""

PRESETS: Mapping[str, Any] = {
    "alfworld_qwen2.5_7b": AlfworldSuite,
    "webshop_qwen2.5_7b": WebshopSuite,
    "search_qwen2.5_7b": SearchSuite,
}


def held(config: TransformerConfig, mode: str, *, fsdp: int = 1) -> dict[str, int]:
    """Counts the bytes on one device between two updates, by what they hold.

    Args:
      config: sizes of the policy.
      mode: one of `MODES`.
      fsdp: ways in which the policy is split.
    """
    specs = table.specs(config)
    count = _numbers(specs, fsdp)
    layers = _numbers({path: spec for path, spec in specs.items() if path[0] == table.LAYERS}, fsdp)
    width = 4 if mode == "float32" else 2
    copied = layers if width == 2 else count  # in float32 the others are cast for sampling, too
    if mode == "lora":
        trained = _numbers(lora.specs(config, lora.Lora(RANK, float(RANK))), fsdp)
        grain, reference = 4, 0  # the policy with its adapter off is the reference
    else:
        trained, grain, reference = count, width, count
    kept = {"parameters": count * width + (trained * grain if mode == "lora" else 0)}
    return kept | {
        "gradients": trained * grain,
        "moments": trained * 8,
        "reference": reference * width,
        "sampling": copied * 2,
    }


def _numbers(specs: Mapping[Any, table.ParameterSpec], fsdp: int) -> int:
    """Counts the numbers of a tree that lie on one device of the mesh (1, fsdp, 1)."""
    mesh: Any = AbstractMesh((1, fsdp, 1), AXES)
    total = 0
    for spec in specs.values():
        split = rules.sharding(mesh, spec.axes, spec.shape)
        total += math.prod(split.shard_shape(spec.shape))
    return total


def smallest(config: TransformerConfig, mode: str, memory: float) -> tuple[int, float]:
    """Finds the fewest devices, a power of two, of which what is held takes at most half.

    Returns:
      How many, and the bytes on each.
    """
    devices = 1
    while (needed := sum(held(config, mode, fsdp=devices).values())) > memory / 2:
        devices *= 2
    return devices, needed


def whole_table() -> str:
    """Lays out what a policy takes in all, by part, GiB."""
    parts = ["parameters", "gradients", "moments", "reference", "sampling"]
    rows = []
    for name, config in POLICIES.items():
        found = held(config, "bfloat16")
        others = [sum(held(config, mode).values()) for mode in ("float32", "lora")]
        token = sizes_of(config).kv_bytes(2)
        rows.append(
            [
                name,
                f"{_numbers(table.specs(config), 1):,}",
                *(_gib(found[part]) for part in parts),
                f"**{_gib(sum(found.values()))}**",
                *map(_gib, others),
                f"{1000 * token / 2**20:.0f}",
            ]
        )
    headers = ["Qwen2.5", "parameters", *parts, "**bfloat16**", "float32", f"LoRA {RANK}"]
    return _markdown([*headers, "1,000 tokens, MiB"], rows)


def mesh_table(mode: str) -> str:
    """Lays out ``mesh.fsdp`` by device, and GiB held on each."""
    rows = []
    for name, config in POLICIES.items():
        found = [smallest(config, mode, memory * 1e9) for memory in DEVICES.values()]
        rows.append([name, *(f"{count} ({_gib(needed)})" for count, needed in found)])
    return _markdown(["", *(f"{name}, {size} GB" for name, size in DEVICES.items())], rows)


def work_table() -> str:
    """Lays out the operations of an iteration of the ALFWorld preset, and what goes to disk."""
    config = _preset("alfworld_qwen2.5_7b")
    rows = []
    for name, policy in POLICIES.items():
        (rl,) = estimate.loads("rl", config, sizes_of(policy), tasks={}, categories=0, chosen={})
        count = _numbers(table.specs(policy), 1)
        rows.append(
            [
                name,
                f"{rl.flops / config.rl.training_epochs / 1e15:,.0f}",
                _gib(count * (2 + 8)),
                _gib(count * (4 + 8)),
                _gib(count * 2),
            ]
        )
    headers = ["Qwen2.5", "PFLOP of an iteration", "a checkpoint, bfloat16", "float32", "an export"]
    return _markdown(headers, rows)


def teacher_table() -> str:
    """Lays out the most questions to the teacher by phase, for the presets."""
    rows = []
    for name, suite in PRESETS.items():
        calls = teacher_calls(_preset(name), len(suite.categories))
        rows.append([f"`{name}`", *calls.values(), sum(calls.values())])
    return _markdown(["preset", "distil", "sft", "rl", "in all"], rows)


def teacher_calls(config: Config, categories: int) -> dict[str, int]:
    """Counts the most questions to the teacher by phase, each answered at once."""
    found = estimate.loads("train", config, None, tasks={}, categories=categories, chosen={})
    return {load.phase: load.calls for load in found if load.phase in ("distill", "sft", "rl")}


def tables() -> dict[str, str]:
    """Makes all tables, by the name that docs/pods.md gives them."""
    return {
        "whole": whole_table(),
        "mesh-bfloat16": mesh_table("bfloat16"),
        "mesh-lora": mesh_table("lora"),
        "work": work_table(),
        "teacher": teacher_table(),
    }


def _preset(name: str) -> Config:
    env = name.partition("_")[0]
    return presets.resolve(env, mock=False, config_path=name).config


def _gib(count: float) -> str:
    gib = count / GIB
    return f"{gib:.1f}" if gib < 100 else f"{gib:.0f}"


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    """Prints all tables."""
    for name, text in tables().items():
        print(f"{name}\n\n{text}\n")


if __name__ == "__main__":
    main()
