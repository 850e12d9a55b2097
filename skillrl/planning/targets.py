"""Finds devices to compile for: the real kind where its compiler is installed, else virtual CPUs.

No card is needed for either. With libtpu, or JAX's CUDA plugin for an H100, XLA compiles for a
topology that is not there. Without them it compiles for as many virtual devices of the CPU: the
same programs, split in the same way, but laid out by another back end (`measure` says what is
done about that).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from typing import Any

import jax

from skillrl.planning.kinds import DeviceKind

CPU_FLAGS = (
    # As accelerators schedule: by memory, not by what could run at once.
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    # Machine code is never run; half of the time of compiling would go into making it fast.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
"""What makes programs of the CPU keep about what those of accelerators keep, and compile fast."""

_TPU_SHAPES = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16"}
_V5P_SHAPES = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Holds devices to compile for.

    Attributes:
      devices: of JAX; they need not exist.
      real: whether they are of the kind that is planned for.
      said: what they are, for people.
    """

    devices: list[Any]
    real: bool
    said: str


def environment(devices: int, base: dict[str, str]) -> dict[str, str]:
    """Returns the environment of a process that compiles for `devices` without a card.

    Args:
      devices: how many.
      base: the environment to start from.
    """
    flags = [
        flag
        for flag in base.get("XLA_FLAGS", "").split()
        if "host_platform_device_count" not in flag
    ]
    flags += [f"--xla_force_host_platform_device_count={devices}", *CPU_FLAGS]
    return base | {
        "XLA_FLAGS": " ".join(flags),
        "JAX_PLATFORMS": "cpu",
        "HF_HUB_OFFLINE": "1",
        "TPU_SKIP_MDS_QUERY": "1",
    }


def find_target(kind: DeviceKind, count: int) -> Target:
    """Finds devices of `kind` to compile for, virtual ones of the CPU where there is no compiler.

    Args:
      kind: the kind that is planned for.
      count: how many.
    """
    topology = _topology(kind, count)
    if topology is not None:
        return topology
    return Target(
        devices=list(jax.devices("cpu")),
        real=False,
        said=f"{count} virtual devices of the CPU, in place of {kind.title}",
    )


def _topology(kind: DeviceKind, count: int) -> Target | None:
    """Finds the topology of a kind whose compiler is installed; None without it."""
    shapes = _V5P_SHAPES if kind.name == "v5p" else _TPU_SHAPES
    if kind.platform != "tpu" or count not in shapes:
        return None
    if importlib.util.find_spec("libtpu") is None or os.environ.get("SKILLRL_PLAN") == "cpu":
        return None
    from jax.experimental import topologies

    name = f"{kind.name}:{shapes[count]}"
    found = topologies.get_topology_desc(name, platform="tpu")
    return Target(
        devices=list(found.devices), real=True, said=f"the topology {name} of {kind.title}"
    )
