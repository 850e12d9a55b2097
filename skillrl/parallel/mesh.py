"""Makes the device mesh.

One program text for all sizes: every step is a ``jax.jit`` over arrays with
named shardings on this mesh, and one device is the mesh 1 x 1 x 1. Axes are of
type Auto: the compiler places what is in between, we place parameters,
optimiser state and batches (see `skillrl.parallel.rules`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

from skillrl.errors import SkillRLError
from skillrl.parallel.devices import find_devices

AXES = ("data", "fsdp", "tensor")


def make_mesh(
    data: int = 1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Makes the mesh (data, fsdp, tensor).

    Args:
      data: copies of the model; rows of a batch are split over them.
      fsdp: how many ways parameters and optimiser state are split (rows as well).
      tensor: how many ways heads, feed-forward and vocabulary are split.
      devices: all of ``jax.devices()`` by default. One axis may be -1: as many
        as the others leave. Devices beyond the product stay idle.

    Raises:
      SkillRLError: more devices are asked for than there are, or a size is not
        a positive number.
    """
    devices = list(find_devices() if devices is None else devices)
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
    there = f"{len(devices)} {devices[0].platform if devices else ''} device(s)"

    open_axes = [axis for axis, size in sizes.items() if size == -1]
    if len(open_axes) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise SkillRLError(
            f"{asked}: sizes must be 1 or more, and at most one of them -1 (the rest)"
        )
    if open_axes:
        taken = math.prod(size for size in sizes.values() if size != -1)
        if len(devices) % taken or not devices:
            raise SkillRLError(
                f"{asked}: {there} cannot be divided by {taken}; choose sizes whose product "
                f"divides {len(devices)}"
            )
        sizes[open_axes[0]] = len(devices) // taken

    needed = math.prod(sizes.values())
    if needed > len(devices):
        raise SkillRLError(
            f"{asked} needs {needed} devices, but JAX sees {there}; lower mesh.data, mesh.fsdp "
            "or mesh.tensor so that their product fits, or start on more devices (on CPU: "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={needed})"
        )
    shape = tuple(sizes[axis] for axis in AXES)
    return jax.make_mesh(
        shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices[:needed]
    )
