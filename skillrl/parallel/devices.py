"""Finds the devices that JAX has, and how much memory they have."""

from __future__ import annotations

import os

import jax
from jax.sharding import Mesh

from skillrl.errors import SkillRLError


def find_devices() -> list[jax.Device]:
    """Returns ``jax.devices()``; a run calls this before it asks JAX for anything else.

    Raises:
      SkillRLError: the environment variable JAX_PLATFORMS names what is not here.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError: cuda without its plugin
        asked = os.environ.get("JAX_PLATFORMS", "")
        if not asked:
            raise
        raise SkillRLError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device on this machine. Unset the "
            "variable to take what there is, set JAX_PLATFORMS=cpu, or install JAX for the device "
            "(pip install 'skillrl[cuda12]', 'skillrl[cuda13]' or 'skillrl[tpu]')."
        ) from error


def device_memory(mesh: Mesh) -> int:
    """Counts the bytes of all devices of a mesh together: their own, or on CPUs the machine's.

    Devices of other processes are taken to be like this one's own.
    """
    here = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    found = [device.memory_stats() or {} for device in here]
    limits = [stats.get("bytes_limit", 0) for stats in found]
    if all(limits):
        return sum(limits) * mesh.size // len(here)
    hosts = len({device.process_index for device in mesh.devices.flat})
    return hosts * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
