"""Counts how many arms may run at once, and gives each process devices of its own.

JAX is not asked: a process that has asked it holds the devices that its children need.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping

from skillrl.config.settings import MeshConfig
from skillrl.errors import SkillRLError

_GPUS = "CUDA_VISIBLE_DEVICES"


def find_places(jobs: int | None, mesh: MeshConfig) -> list[dict[str, str]]:
    """Returns the environment variables of each process that there is room for.

    NVIDIA GPUs are dealt out, as many to a process as its mesh has devices. TPUs belong to one
    process at a time. On CPUs a process gets two cores by default.

    Args:
      jobs: as many as the user wants; None for as many as there are cores or devices for.
      mesh: of every run.

    Raises:
      SkillRLError: a GPU would have to serve two processes.
    """
    gpus, size = _gpus(os.environ), math.prod((mesh.data, mesh.fsdp, mesh.tensor))
    if not gpus:
        alone = os.path.exists("/dev/accel0") and os.environ.get("JAX_PLATFORMS") != "cpu"
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return [{} for _ in range(jobs or (1 if alone else max(1, (cores or 1) // 2)))]
    each = size if size > 0 else len(gpus)  # -1: all that there are
    most = max(1, len(gpus) // each)
    if jobs is not None and jobs > most:
        raise SkillRLError(
            f"--jobs={jobs}: there are {len(gpus)} GPUs and a run takes {each} (mesh), so at most "
            f"{most} can run at once. Use --jobs={most}."
        )
    return [{_GPUS: ",".join(gpus[at * each : (at + 1) * each])} for at in range(jobs or most)]


def _gpus(environment: Mapping[str, str]) -> list[str]:
    """Names the NVIDIA GPUs that JAX would use, as ``CUDA_VISIBLE_DEVICES`` does."""
    if environment.get("JAX_PLATFORMS", "").split(",")[0] not in ("", "cuda", "gpu"):
        return []
    if _GPUS in environment:
        return [name for name in environment[_GPUS].split(",") if name.strip() not in ("", "-1")]
    numbers = (re.fullmatch(r"nvidia(\d+)", name) for name in os.listdir("/dev"))
    return sorted((found[1] for found in numbers if found), key=int)
