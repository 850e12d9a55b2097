"""Refuses shapes that cannot fit on the devices, before anything is allocated.

Only the largest arrays are counted, so that nothing is refused that would fit. What passes may
still run out of memory later; the checks are there so that nobody waits for the machine to give
up on a mistyped setting.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.sharding import Mesh

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.models.flops import sizes_of
from skillrl.parallel.devices import device_memory

GIB = 2**30


def check_decode_state(
    config: TransformerConfig, mesh: Mesh, *, rows: int, members: int, prefix: int, slot: int
) -> None:
    """Checks that a decode state fits: keys and values of all its prefixes and slots.

    Args:
      config: sizes of the policy.
      mesh: the devices that it lies on.
      rows: prefixes side by side.
      members: slots that share a prefix.
      prefix: tokens of a prefix, padded.
      slot: tokens of a slot, which are a suffix and its response, padded.

    Raises:
      SkillRLError: it does not fit; gives the bytes and the settings to lower.
    """
    token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * _itemsize(config)
    needed = rows * (prefix + members * slot) * token + rows * members * config.vocab_size * 4
    _check(
        needed,
        mesh,
        what=f"{rows * members:,} requests side by side (rollout.slots / rollout.lanes) with up to "
        f"{prefix + slot:,} tokens each",
        settings="rollout.slots, rl.max_prompt_length or rl.max_response_length",
    )


def check_micro_batch(config: TransformerConfig, mesh: Mesh, *, tokens: int) -> None:
    """Checks that a micro-batch of training fits: the input of each layer.

    Args:
      config: sizes of the policy.
      mesh: the devices that it lies on.
      tokens: how many it has, padding included.

    Raises:
      SkillRLError: it does not fit; gives the bytes and the settings to lower.
    """
    layers = tokens * config.hidden_size * config.num_layers * _itemsize(config)
    _check(layers, mesh, what=f"a micro-batch of {tokens:,} tokens", settings="train_batch.tokens")


def axis_for(
    config: TransformerConfig, *, held: int, trained: float, devices: int, limit: int | None
) -> tuple[str, str]:
    """Chooses the axis of the mesh that all devices go to, where nobody has.

    Args:
      config: sizes of the policy.
      held: bytes of a parameter.
      trained: which part of the parameters has gradients and moments, from 0 to 1.
      devices: how many there are.
      limit: bytes of one of them; None for CPUs.

    Returns:
      ``data`` where each device can hold the whole policy with all that training adds to it, else
      ``fsdp``; and the reason.
    """
    count = sizes_of(config).parameters
    # The policy, its reference, the copy that samples; gradients and two moments in float32.
    needed = count * (2 * held + _itemsize(config)) + trained * count * (held + 8)
    if limit is None:
        return "data", f"{devices} CPU devices, each with a copy of the policy"
    said = (
        f"policy, reference, sampler, gradients and moments take {needed / GIB:,.1f} GiB, and each "
        f"of {devices} devices has {limit / GIB:,.1f} GiB"
    )
    return ("data" if needed < _SHARE * limit else "fsdp"), said


_SHARE = 0.6
"""Which part of a device's memory parameters may take; the rest is for what is computed."""


def _check(needed: int, mesh: Mesh, *, what: str, settings: str) -> None:
    there = device_memory(mesh)
    if needed > there:
        raise SkillRLError(
            f"{what} would take at least {needed / GIB:,.1f} GiB, but the {mesh.devices.size} "
            f"{mesh.devices.flat[0].platform} device(s) of this run have {there / GIB:,.1f} GiB. "
            f"Lower {settings}."
        )


def _itemsize(config: TransformerConfig) -> int:
    return jnp.dtype(config.dtype).itemsize
