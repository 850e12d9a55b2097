"""Lays out a policy's weights as decoding reads them.

A decode step sends few tokens through every matrix, so it waits for reading them and for the start
of kernels. Both are saved by laying the weights out for it, once per policy:

- Layers are a list. Within a loop on the device, taking one out of a stack copies it each turn.
- Projections of the same input may be fused into one matrix: query, key and value; gate and up.
- So are their adapters then (`models.lora`): A side by side, and B with zeros where one
  projection's A would meet another's outputs. Nothing is merged with the kernel: the numbers are
  those of the adapters beside it.

`projection.project_each` takes either form.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from skillrl.models.projection import fused_name

GROUPS = (
    ("attention", ("query", "key", "value")),
    ("mlp", ("gate", "up")),
)
"""Part of a layer, and its projections that have the same input, in order."""


def should_fuse(mesh: jax.sharding.Mesh) -> bool:
    """Tells whether fused projections are faster on these devices.

    CPUs start a product at no cost. Where outputs are split over devices (``mesh.tensor``), those
    of fused projections would have to be put together in every pass.
    """
    return mesh.devices.flat[0].platform != "cpu" and mesh.shape["tensor"] == 1


def to_decode_layout(params: Mapping[str, Any], *, dtype: str, fuse: bool) -> dict[str, Any]:
    """Lays a policy out for decoding; the numbers of its layers are copied.

    Args:
      params: as from `transformer.init`, with or without an adapter in it (`lora.join`), or in
        int8 (`quantised.quantise`).
      dtype: of activations. All matrices are kept in it, but for int8 ones.
      fuse: whether to fuse the projections of `GROUPS`.

    Returns:
      The same policy, its ``layers`` a list.
    """
    layers = _layers(params["layers"], dtype=dtype, fuse=fuse)
    return {
        name: layers if name == "layers" else _cast(part, dtype) for name, part in params.items()
    }


def _cast(part: Any, dtype: str) -> Any:
    """Casts matrices to the dtype of activations, in which every pass would read them."""

    def cast(path: Any, x: jax.Array) -> jax.Array:
        matrix = path[-1].key in ("kernel", "embedding", "lora_a", "lora_b")
        return x.astype(dtype) if matrix and jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree_util.tree_map_with_path(cast, part)


@functools.partial(jax.jit, static_argnames=("dtype", "fuse"))
def _layers(stacked: Mapping[str, Any], *, dtype: str, fuse: bool) -> list[dict[str, Any]]:
    count = len(jax.tree.leaves(stacked)[0])
    cast = _cast(stacked, dtype)
    layers = [jax.tree.map(lambda a, i=i: a[i], cast) for i in range(count)]
    return [_fuse_layer(layer) for layer in layers] if fuse else layers


def _fuse_layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: dict(part) for name, part in layer.items()}
    for part, members in GROUPS:
        made[part][fused_name(members)] = _fuse([made[part].pop(name) for name in members])
    return made


def _fuse(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Puts the leaves of several projections side by side; kernels become ``[I, O]``."""

    def flat(x: jax.Array) -> jax.Array:
        return x.reshape(len(x), -1)

    kernels = [flat(part["kernel"]) for part in parts]
    made: dict[str, Any] = {"kernel": jnp.concatenate(kernels, 1)}
    for name in ("scale", "bias"):
        if name in parts[0]:
            made[name] = jnp.concatenate([part[name].reshape(-1) for part in parts])

    before, low, high = 0, [], []
    for part, kernel in zip(parts, kernels, strict=True):
        width = kernel.shape[1]
        if "lora_a" in part:
            low.append(part["lora_a"])
            after = made["kernel"].shape[1] - before - width
            high.append(jnp.pad(flat(part["lora_b"]), ((0, 0), (before, after))))
        before += width
    if low:
        made["lora_a"] = jnp.concatenate(low, 1)
        made["lora_b"] = jnp.concatenate(high)
    return made
