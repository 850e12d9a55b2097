"""Whether what the settings ask for can exist on these devices, asked before it is allocated.

The estimates are of the largest arrays alone, so that nothing is refused that would fit: who
passes may still run out of memory later, but nobody waits for the machine to give up on a typing
error of six zeros.
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig

GIB = 2**30


def devices() -> list[jax.Device]:
    """``jax.devices()``, the first thing that a run asks of JAX.

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


def memory(mesh: Mesh) -> int:
    """Bytes of all devices of a mesh together: their own, or on CPUs the machine's."""
    found = [device.memory_stats() or {} for device in mesh.devices.flat]
    limits = [stats.get("bytes_limit", 0) for stats in found]
    if all(limits):
        return sum(limits)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_grid(
    config: TransformerConfig, mesh: Mesh, *, rows: int, members: int, prefix: int, cell: int
) -> None:
    """Whether a grid of sampling fits: keys and values of all its prefixes and cells.

    Args:
      config: sizes of the policy.
      mesh: where it lies.
      rows: prefixes side by side.
      members: cells of a row.
      prefix: tokens of a prefix, padded.
      cell: tokens of a cell: suffix and response, padded.

    Raises:
      SkillRLError: it does not; gives the bytes and the settings to lower.
    """
    token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * _width(config)
    needed = rows * (prefix + members * cell) * token + rows * members * config.vocab_size * 4
    _check(
        needed,
        mesh,
        f"{rows * members:,} requests side by side (rollout.slots / rollout.lanes) with up to "
        f"{prefix + cell:,} tokens each",
        "rollout.slots, rl.max_prompt_length or rl.max_response_length",
    )


def check_micro_batch(config: TransformerConfig, mesh: Mesh, *, tokens: int) -> None:
    """Whether a micro-batch of training fits: the input of each layer.

    Args:
      config: sizes of the policy.
      mesh: where it lies.
      tokens: that it computes.

    Raises:
      SkillRLError: it does not; gives the bytes and the settings to lower.
    """
    layers = tokens * config.hidden_size * config.num_layers * _width(config)
    _check(layers, mesh, f"a micro-batch of {tokens:,} tokens", "train_batch.tokens")


def _check(needed: int, mesh: Mesh, what: str, settings: str) -> None:
    there = memory(mesh)
    if needed > there:
        raise SkillRLError(
            f"{what} would take at least {needed / GIB:,.1f} GiB, but the {mesh.devices.size} "
            f"{mesh.devices.flat[0].platform} device(s) of this run have {there / GIB:,.1f} GiB. "
            f"Lower {settings}."
        )


def _width(config: TransformerConfig) -> int:
    return jnp.dtype(config.dtype).itemsize
