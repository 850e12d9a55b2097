"""Holds weights in int8 for sampling: half the bytes of bfloat16, which decoding waits for.

Every kernel of a projection becomes int8 with a float32 ``scale`` per output channel beside it
(symmetric: the largest weight of a channel is 127), and so does what makes the logits: the head,
or a tied embedding, by vocabulary entry. Biases, norms, an untied embedding and the leaves of an
adapter stay as they are. A matrix product takes the int8 numbers in the dtype of its
activations, where they are exact, and multiplies its result by the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from skillrl.models.parameters import LAYERS, Path, flatten, unflatten

SCALE = "scale"


def quantise(params: Mapping[str, Any]) -> dict[str, Any]:
    """Copies a policy, with or without an adapter in it, and makes its large weights int8.

    Every number is within half a scale of what it was. Each array is split over the devices as
    the original, and a scale as its channels. The original stays.
    """
    flat = flatten(params)
    inputs = {path: _inputs(path) for path in flat}
    chosen = {path: x for path, x in flat.items() if inputs[path]}
    if ("head", "kernel") in chosen:
        del chosen["embed", "embedding"]  # looked up, never multiplied
    shardings = {path: (x.sharding, _of_scale(x, inputs[path])) for path, x in chosen.items()}
    for path, (kernel, scale) in jax.jit(_int8, out_shardings=shardings)(chosen).items():
        flat |= {path: kernel, (*path[:-1], SCALE): scale}
    return unflatten(flat)


def _int8(chosen: dict[Path, jax.Array]) -> dict[Path, tuple[jax.Array, jax.Array]]:
    made = {}
    for path, x in chosen.items():
        x, inputs = x.astype(jnp.float32), _inputs(path)
        largest = jnp.abs(x).max(inputs, keepdims=True)
        scale = jnp.where(largest > 0, largest / 127, 1.0)  # a channel of zeros has no largest
        made[path] = jnp.round(x / scale).astype(jnp.int8), scale.squeeze(inputs)
    return made


def _inputs(path: Path) -> tuple[int, ...]:
    """Returns the axes of a kernel that a product sums over; none if it is not to be quantised."""
    if path == ("embed", "embedding"):
        return (1,)
    if path[-1] != "kernel":
        return ()
    first = 1 if path[0] == LAYERS else 0
    return (first, first + 1) if path[-2] == "output" else (first,)


def _of_scale(x: jax.Array, inputs: tuple[int, ...]) -> jax.sharding.Sharding:
    """Returns how the scale of a kernel is split over devices."""
    if not isinstance(x.sharding, NamedSharding):
        return x.sharding
    spec = (*x.sharding.spec, *(None,) * (x.ndim - len(x.sharding.spec)))
    kept = [names for axis, names in enumerate(spec) if axis not in inputs]
    return NamedSharding(x.sharding.mesh, PartitionSpec(*kept))
