"""Computes the linear maps of a layer: one einsum, whatever its kernel is.

What lies beside a kernel says how it is applied, and all of it may come together:

========================== =============================================================
leaves                     the kernel is
========================== =============================================================
``kernel``                 plain, ``[inputs..., outputs...]``
``scale``                  int8, and each output is multiplied by its scale
                           (`models.quantised`)
``lora_a``, ``lora_b``     adapted by a product of low rank (`models.lora`)
``bias``                   followed by a bias
========================== =============================================================

Projections of one input may moreover be *fused*: their kernels are one matrix, their outputs side
by side (`models.fused`). `project_each` computes several, fused or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name


class LinearMap(NamedTuple):
    """Holds what defines a projection.

    Attributes:
      equation: einsum of an input and a kernel.
      shape: of the kernel.
      bias_shape: of the bias, over output axes; None if there is none.
    """

    equation: str
    shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None = None


def project(equation: str, x: jax.Array, leaves: Mapping[str, jax.Array]) -> jax.Array:
    """Applies a kernel and what lies beside it, in the dtype of `x`.

    Args:
      equation: einsum of `x` and the kernel, such as ``BGTD,DF->BGTF``. R is no axis of it.
      x: the input, ``[B, G, T, inputs...]``.
      leaves: ``kernel`` and any of ``scale``, ``lora_a``, ``lora_b`` and ``bias``.

    Returns:
      ``[B, G, T, outputs...]``; rematerialisation knows it by the name ``projection``.
    """
    y = jnp.einsum(equation, x, leaves["kernel"].astype(x.dtype))
    if "scale" in leaves:
        y = (y * leaves["scale"]).astype(x.dtype)
    if "lora_a" in leaves:
        given, axes, made = re.split(",|->", equation)
        inputs = "".join(axis for axis in axes if axis in given)
        outputs = "".join(axis for axis in axes if axis not in given)
        # Of two products of the same `x` XLA would make one, and copy both matrices for it.
        low = jax.lax.optimization_barrier(x)
        low = jnp.einsum(f"{given},{inputs}R->BGTR", low, leaves["lora_a"].astype(x.dtype))
        y += jnp.einsum(f"BGTR,R{outputs}->{made}", low, leaves["lora_b"].astype(x.dtype))
    if "bias" in leaves:
        y += leaves["bias"].astype(x.dtype)
    return checkpoint_name(y, "projection")


class Projection(nn.Module):
    """Computes a linear map with parameters of its own; its attributes are a `LinearMap`'s."""

    equation: str
    shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the map; see `project`."""
        self.param("kernel", nn.initializers.normal(0.02), self.shape)
        if self.bias_shape is not None:
            self.param("bias", nn.initializers.zeros, self.bias_shape)
        return project(self.equation, x, self.variables["params"])


class FusedProjection(nn.Module):
    """Computes linear maps of one input, whose kernels `models.fused` made one matrix.

    Attributes:
      outputs: shape of the output of each map.
    """

    outputs: tuple[tuple[int, ...], ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Computes ``x [B, G, T, I]`` -> ``[B, G, T, outputs...]`` of each map."""
        y = project("BGTI,IO->BGTO", x, self.variables["params"])
        sizes = [math.prod(shape) for shape in self.outputs]
        parts = jnp.split(y, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)], -1)
        return [
            part.reshape(*x.shape[:3], *shape)
            for part, shape in zip(parts, self.outputs, strict=True)
        ]


def fused_name(members: tuple[str, ...]) -> str:
    """Returns what projections are called as one: ``gate`` and ``up`` are ``gate_up``."""
    return "_".join(members)


def project_each(
    module: nn.Module,
    x: jax.Array,
    maps: Mapping[str, LinearMap],
    *,
    keep: Mapping[str, jax.Array | None] | None = None,
) -> list[jax.Array]:
    """Applies several linear maps to one input, fused if the parameters are.

    Args:
      module: the module whose children they are; to be called from its compact method.
      x: the input, ``[B, G, T, I]``.
      maps: name -> the map, in the order in which they are fused.
      keep: name -> the tokens ``[B, G, A]`` that this map's output is wanted at; of other maps it
        is wanted at all tokens.

    Returns:
      The output of each map.
    """
    keep = keep or {}
    together = fused_name(tuple(maps))
    if module.has_variable("params", together):
        shapes = tuple(linear.shape[1:] for linear in maps.values())
        outputs = FusedProjection(shapes, name=together)(x)
        return [pick(y, keep.get(name)) for name, y in zip(maps, outputs, strict=True)]
    # Gradients with respect to `x` are added up in this order: first those of all tokens.
    made = {
        name: Projection(*maps[name], name=name)(pick(x, keep.get(name)))
        for name in sorted(maps, key=lambda name: name in keep)
    }
    return [made[name] for name in maps]


def pick(x: jax.Array, keep: jax.Array | None) -> jax.Array:
    """Returns ``x [B, G, T, ...]`` at the tokens ``keep [B, G, A]``; all of them if None."""
    if keep is None:
        return x
    return jnp.take_along_axis(x, keep.reshape(*keep.shape, *(1,) * (x.ndim - 3)), 2)
