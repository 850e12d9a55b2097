"""What the numbers of a benchmark were measured on, and the peaks of known accelerators."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp

from skillrl.parallel.speed import PEAKS, Peak

__all__ = ["PEAKS", "Peak", "describe", "peak_gib", "peak_of_device"]

_COPY, _SIDE = 2**30, 8192  # bytes copied, and the side of the matrices multiplied


def peak_of_device() -> Peak:
    """Of the first device: looked up, measured if it is an unknown accelerator, none for a CPU."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return Peak(None, None, "unknown")
    return PEAKS.get(device.device_kind) or _measure()


def describe() -> dict[str, Any]:
    """Machine, device and versions."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "load_before": os.getloadavg()[0],
    }


def peak_gib() -> float | None:
    """The most device memory this process has used so far; None where it is not counted."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**30


def _measure() -> Peak:
    """By a copy (bytes read and written) and a matrix product, the best of five."""
    numbers = jnp.zeros(_COPY // 2, jnp.bfloat16)
    matrix = jax.random.normal(jax.random.key(0), (_SIDE, _SIDE), jnp.bfloat16)

    def best(work: Any, x: jax.Array) -> float:
        compiled = jax.jit(work)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            jax.block_until_ready(compiled(x))
            times.append(time.perf_counter() - start)
        return min(times[1:])

    copy, product = best(lambda x: x + 1, numbers), best(lambda x: x @ x, matrix)
    return Peak(2 * _COPY / copy, 2 * _SIDE**3 / product, "measured: a copy, a matrix product")
