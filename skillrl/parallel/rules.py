"""Maps logical axes to shardings: one table for parameters, state and batches.

A logical axis says what a dimension *is* (``vocab``, ``heads``, ``rows``); the
table says over which mesh axes it is split. A dimension that the mesh axes do
not divide stays whole along the last of them (kv heads are often fewer than the
tensor axis): correct in every case, at the price of copies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from skillrl.errors import SkillRLError

LogicalAxes = Sequence[str | None]

RULES: Mapping[str, tuple[str, ...]] = {
    # parameters
    "vocab": ("tensor",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "ffn": ("tensor",),
    "head_dim": (),
    "layers": (),
    "rank": (),
    # batches and activations
    "rows": ("data", "fsdp"),
    "tokens": (),
}


def spec(mesh: Mesh, logical_axes: LogicalAxes, shape: Sequence[int]) -> PartitionSpec:
    """Says how an array is split over the mesh.

    Args:
      mesh: of `skillrl.parallel.mesh.make_mesh`.
      logical_axes: one key of `RULES`, or None (never split), per dimension.
      shape: of the array.

    Returns:
      Per dimension its mesh axes: the longest leading part of the rule whose
      product divides the dimension.

    Raises:
      SkillRLError: an unknown axis, another number of axes than of dimensions,
        or two dimensions that the table sends to the same mesh axis.
    """
    logical_axes, shape = tuple(logical_axes), tuple(shape)
    if len(logical_axes) != len(shape):
        raise SkillRLError(f"logical axes {logical_axes} do not fit an array of shape {shape}")
    entries: list[tuple[str, ...] | None] = []
    owner: dict[str, str] = {}
    for name, size in zip(logical_axes, shape, strict=True):
        rule = _rule(name)
        for axis in rule:
            if axis in owner:
                raise SkillRLError(
                    f"logical axes {logical_axes}: {owner[axis]!r} and {name!r} both map to mesh "
                    f"axis {axis!r}; give one of them another rule or None"
                )
            owner[axis] = str(name)
        while rule and size % math.prod(mesh.shape[axis] for axis in rule):
            rule = rule[:-1]
        entries.append(rule or None)
    return PartitionSpec(*entries)


def sharding(mesh: Mesh, logical_axes: LogicalAxes, shape: Sequence[int]) -> NamedSharding:
    """Returns `spec` as a sharding on ``mesh``."""
    return NamedSharding(mesh, spec(mesh, logical_axes, shape))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole: counters, keys, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def tree_shardings(mesh: Mesh, axes_tree: Any, shapes: Any) -> Any:
    """Returns the `sharding` of every array of a tree.

    Args:
      mesh: of `skillrl.parallel.mesh.make_mesh`.
      axes_tree: a tree like ``shapes`` with a tuple of logical axes at each leaf.
      shapes: a tree of arrays or `jax.ShapeDtypeStruct`.

    Raises:
      SkillRLError: as `spec`, with the path of the leaf in the message.
    """

    def one(path: Any, leaf: Any, axes: LogicalAxes) -> NamedSharding:
        try:
            return sharding(mesh, axes, leaf.shape)
        except SkillRLError as error:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise SkillRLError(f"{name}: {error}") from error

    return jax.tree_util.tree_map_with_path(one, shapes, axes_tree)


def _rule(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    if name not in RULES:
        raise SkillRLError(f"unknown logical axis {name!r}; known are: {', '.join(RULES)}")
    return RULES[name]


def put_rows(mesh: Mesh, tree: Any) -> Any:
    """Puts host arrays [rows, ...] on the devices, split by rows.

    With one device they stay as they are: a jitted function takes them up faster. Where devices
    belong to several processes, all must have the same arrays, and each puts its own rows.
    """
    if mesh.size == 1:
        return tree

    def put(x: Any) -> jax.Array:
        where = sharding(mesh, ("rows", *(None,) * (x.ndim - 1)), x.shape)
        if where.is_fully_addressable or isinstance(x, jax.Array):
            return jax.device_put(x, where)
        return jax.make_array_from_callback(x.shape, where, lambda part: x[part])

    return jax.tree.map(put, tree)


def num_row_devices(mesh: Mesh) -> int:
    """Returns among how many devices the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in RULES["rows"])
