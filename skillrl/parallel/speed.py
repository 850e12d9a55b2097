"""Says how fast a device is: peaks of known accelerators, and a quick measurement of any other."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_TERA = 1e12
_COPY = 2**26  # bytes copied: more than the caches of a CPU hold
_SIDE = 1024  # of the matrices multiplied: a fraction of a second on any CPU


@dataclasses.dataclass(frozen=True)
class Peak:
    """Says how fast one device is at most.

    Attributes:
      bandwidth: bytes per second, None where unknown.
      flops: dense bfloat16 operations per second, None where unknown.
      source: ``data sheet`` or ``measured``.
    """

    bandwidth: float | None
    flops: float | None
    source: str


PEAKS = {
    "NVIDIA H100 80GB HBM3": Peak(3.35 * _TERA, 989 * _TERA, "data sheet"),
    "NVIDIA H200": Peak(4.8 * _TERA, 989 * _TERA, "data sheet"),
    "NVIDIA A100-SXM4-80GB": Peak(2.039 * _TERA, 312 * _TERA, "data sheet"),
}
"""By JAX's name of the device; the SXM boards (an H100 NVL or PCIe is slower and has its own)."""


@functools.lru_cache
def of_device(dtype: Any) -> Peak:
    """Looks up the first device, or measures it with numbers of `dtype` in under a second."""
    known = PEAKS.get(jax.devices()[0].device_kind)
    if known is not None:
        return known
    # What a bare matrix product reaches is what models come near, where a data sheet's is not.
    numbers = jnp.zeros(_COPY // jnp.dtype(dtype).itemsize, dtype)
    matrix = jnp.ones((_SIDE, _SIDE), dtype)
    copy, product = _best(lambda x: x + 1, numbers), _best(lambda x: x @ x, matrix)
    return Peak(2 * _COPY / copy, 2 * _SIDE**3 / product, "measured")


def memory_of_device() -> float | None:
    """Returns the bytes of memory of the first device, or None where they are not known."""
    device = jax.devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit:
        return float(limit)
    if device.platform != "cpu":
        return None
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):  # a system that does not tell
        return None


def _best(work: Callable[[jax.Array], jax.Array], x: jax.Array) -> float:
    compiled = jax.jit(work)
    jax.block_until_ready(compiled(x))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(compiled(x))
        times.append(time.perf_counter() - start)
    return min(times)
