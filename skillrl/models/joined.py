"""A policy's weights as sampling reads them.

A decode step sends few tokens through every matrix, so it waits for reading them and for the start
of kernels. Both are saved by laying the weights out for it, once per policy:

- Layers are a list. Within a loop on the device, taking one out of a stack copies it each turn.
- Projections of the same input are one matrix, if asked for: query, key and value; gate and up.
- So are their adapters (`models.lora`): A side by side, and B with zeros where one projection's A
  would meet another's outputs. Nothing is merged with the kernel: the numbers are those of the
  adapters beside it.

`lay_out` makes them, `Joined` applies them; `transformer.Attention` and `transformer.MLP` take
either form.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

GROUPS = {
    ("attention", "query_key_value"): ("query", "key", "value"),
    ("attention", "output"): ("output",),
    ("mlp", "gate_up"): ("gate", "up"),
    ("mlp", "down"): ("down",),
}
"""Place of a joined matrix in a layer -> the projections that it holds, side by side."""


class Joined(nn.Module):
    """Projections of one input, side by side as `lay_out` put them.

    Attributes:
      outputs: shapes of the outputs of each.
      inputs: axes of the input.
    """

    outputs: tuple[tuple[int, ...], ...]
    inputs: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """``x [B, M, T, inputs...]`` -> ``[B, M, T, outputs...]`` of each, in its dtype."""
        leaves = {
            name: jnp.asarray(self.get_variable("params", name))
            for name in ("kernel", "scale", "bias", "lora_a", "lora_b")
            if self.has_variable("params", name)
        }
        sizes = [math.prod(shape) for shape in self.outputs]
        rows = x.shape[:3]
        x = x.reshape(*rows, -1)
        y = x @ leaves["kernel"].astype(x.dtype)
        if "scale" in leaves:
            y = (y * leaves["scale"]).astype(x.dtype)
        if "lora_a" in leaves:
            # Of two products of the same `x` XLA would make one, and copy both matrices for it at
            # every step.
            y += jax.lax.optimization_barrier(x) @ leaves["lora_a"] @ leaves["lora_b"]
        if "bias" in leaves:
            y += leaves["bias"].astype(x.dtype)
        parts = jnp.split(y, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)], -1)
        return [p.reshape(*rows, *shape) for p, shape in zip(parts, self.outputs, strict=True)]


def worth_joining(mesh: jax.sharding.Mesh) -> bool:
    """Whether matrices side by side are faster on these devices.

    CPUs start a product at no cost. Where outputs are split over devices (``mesh.tensor``), those
    of joined matrices would have to be put together in every pass.
    """
    return mesh.devices.flat[0].platform != "cpu" and mesh.shape["tensor"] == 1


def lay_out(params: Mapping[str, Any], *, dtype: str, join: bool) -> dict[str, Any]:
    """A policy laid out for sampling; the numbers of its layers are copied.

    Args:
      params: as from `transformer.init`, with or without an adapter in it (`lora.join`), or in
        int8 (`quantised.quantise`).
      dtype: of activations. All matrices are kept in it, but for int8 ones.
      join: whether to put projections of one input side by side.

    Returns:
      The same, its ``layers`` a list and their projections, if joined, grouped as in `GROUPS`.
    """
    layers = _layers(params["layers"], dtype=dtype, join=join)
    return {
        name: layers if name == "layers" else _cast(part, dtype) for name, part in params.items()
    }


def _cast(part: Any, dtype: str) -> Any:
    """A tree whose matrices have the dtype of activations, in which every pass would read them."""

    def cast(path: Any, x: jax.Array) -> jax.Array:
        matrix = path[-1].key in ("kernel", "embedding", "lora_a", "lora_b")
        return x.astype(dtype) if matrix and jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree_util.tree_map_with_path(cast, part)


@functools.partial(jax.jit, static_argnames=("dtype", "join"))
def _layers(stacked: Mapping[str, Any], *, dtype: str, join: bool) -> list[dict[str, Any]]:
    count = len(jax.tree.leaves(stacked)[0])
    cast = _cast(stacked, dtype)
    layers = [jax.tree.map(lambda a, i=i: a[i], cast) for i in range(count)]
    return [_layer(layer) for layer in layers] if join else layers


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: dict(part) for name, part in layer.items()}
    for (part, name), members in GROUPS.items():
        inputs = 2 if name == "output" else 1
        made[part][name] = _side_by_side([made[part].pop(m) for m in members], inputs)
    return made


def _side_by_side(parts: list[dict[str, Any]], inputs: int) -> dict[str, Any]:
    """One projection's leaves of those of several; their kernels have `inputs` axes of inputs."""

    def flat(x: jax.Array) -> jax.Array:
        return x.reshape(math.prod(x.shape[:inputs]), -1)

    kernels = [flat(part["kernel"]) for part in parts]
    made: dict[str, Any] = {"kernel": jnp.concatenate(kernels, 1)}
    for name in ("scale", "bias"):
        if name in parts[0]:
            made[name] = jnp.concatenate([part[name].reshape(-1) for part in parts])

    before, low, high = 0, [], []
    for part, kernel in zip(parts, kernels, strict=True):
        width = kernel.shape[1]
        if "lora_a" in part:
            low.append(flat(part["lora_a"]))
            b = part["lora_b"].reshape(len(part["lora_b"]), width)
            after = made["kernel"].shape[1] - before - width
            high.append(jnp.pad(b, ((0, 0), (before, after))))
        before += width
    if low:
        made["lora_a"] = jnp.concatenate(low, 1)
        made["lora_b"] = jnp.concatenate(high)
    return made
