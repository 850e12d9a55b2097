"""Gives each process of a run on several hosts its own copy of what lies on the devices of all.

Training computes on the devices of all processes together. Episodes are played by each process on
its own devices, at its own pace: for that it has a mesh of these, and the parameters whole on it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from skillrl.errors import SkillRLError
from skillrl.parallel import processes
from skillrl.parallel.mesh import AXES

_HOSTS = "hosts"


def is_local(mesh: Mesh) -> bool:
    """Tells whether all devices of a mesh are this process's."""
    return all(device.process_index == jax.process_index() for device in mesh.devices.flat)


def local_mesh(mesh: Mesh) -> Mesh:
    """Returns the mesh of this process's own devices of `mesh`; the same where all are its own.

    They are split as in `mesh` as far as there are enough: first ``tensor``, then ``fsdp``; the
    rest are ``data``.
    """
    if is_local(mesh):
        return mesh
    return _mesh_of(mesh, _by_process(mesh)[jax.process_index()])


def check_spread(mesh: Mesh) -> None:
    """Checks that each process has as many devices of a mesh as the others.

    Raises:
      SkillRLError: it has not; says which sizes do.
    """
    _by_process(mesh)


def connect(mesh: Mesh) -> None:
    """Lets the processes of a mesh meet, and sets up what carries collectives between them.

    On CPUs that is Gloo, which gives up where one process comes to their first collective half a
    minute after another. Here they come to it together, with nothing left to compile.
    """
    if is_local(mesh):
        return
    ones = jax.make_array_from_callback(
        (mesh.size,),
        NamedSharding(mesh, PartitionSpec(AXES)),
        lambda index: np.ones(1, np.float32),
    )

    def sums(x: jax.Array) -> list[jax.Array]:
        return [jax.lax.psum(x, axes) for axes in (*AXES, AXES)]

    spec = PartitionSpec(AXES)
    program = jax.jit(
        jax.shard_map(sums, mesh=mesh, in_specs=spec, out_specs=[spec] * 4, check_vma=False)
    )
    compiled = program.lower(ones).compile()
    processes.wait_for_all("first collective")
    jax.block_until_ready(compiled(ones))


def localise(params: Any) -> Any:
    """Copies arrays to this process's own devices, whole; all processes take part.

    Args:
      params: a tree of arrays that lie on the devices of all processes.

    Returns:
      The tree on the `local_mesh`, each array split there as before among them. What is all this
      process's own already stays as it is.
    """
    spread = [x.sharding for x in jax.tree.leaves(params) if not x.is_fully_addressable]
    if not spread:
        return params
    mesh = spread[0].mesh
    parts, own = _by_process(mesh), local_mesh(mesh)
    shape = tuple(own.shape[axis] for axis in AXES)
    devices = np.array([parts[process] for process in sorted(parts)]).reshape(-1, *shape)
    every = Mesh(devices, (_HOSTS, *AXES), axis_types=(AxisType.Auto,) * (1 + len(AXES)))

    def copy(x: jax.Array) -> jax.Array:
        if x.is_fully_addressable:
            return jax.device_put(x, NamedSharding(own, PartitionSpec()))
        split = x.sharding.spec if isinstance(x.sharding, NamedSharding) else PartitionSpec()
        # What no axis is named for is whole along it: here, along the hosts.
        whole = jax.device_put(x, NamedSharding(every, split))
        pieces = [shard.data for shard in whole.addressable_shards]
        where = NamedSharding(own, split)
        return jax.make_array_from_single_device_arrays(x.shape, where, pieces)

    return jax.tree.map(copy, params)


def _mesh_of(mesh: Mesh, devices: list[jax.Device]) -> Mesh:
    tensor = math.gcd(mesh.shape["tensor"], len(devices))
    fsdp = math.gcd(mesh.shape["fsdp"], len(devices) // tensor)
    shape = (len(devices) // (tensor * fsdp), fsdp, tensor)
    return Mesh(np.array(devices).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _by_process(mesh: Mesh) -> dict[int, list[jax.Device]]:
    """Sorts the devices of a mesh by the process that they belong to."""
    found: dict[int, list[jax.Device]] = {process: [] for process in range(jax.process_count())}
    for device in mesh.devices.flat:
        found[device.process_index].append(device)
    counts = {process: len(devices) for process, devices in found.items()}
    if len(set(counts.values())) > 1:
        sizes = ", ".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in AXES)
        said = ", ".join(f"process {process} has {n}" for process, n in counts.items())
        raise SkillRLError(
            f"{sizes}: takes {mesh.size} devices, of which {said}; each process must have as many. "
            f"Choose sizes whose product is {jax.device_count()}, all devices of all processes, or "
            "leave all at 1 and they are chosen."
        )
    return found
