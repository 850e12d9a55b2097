"""The keys and values of a minibatch's prefixes, and the gradients that add up there.

A pool is a KV (m = 1) with room for U prefixes of P tokens. Grids of prefixes are written
to it, each as wide as it is; micro-batches read the prefixes of their lines from it. How
many prefixes a minibatch has then matters to these copies alone: what runs the model is
compiled for grids and micro-batches, whose shapes come from the config.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV
from skillrl.parallel.rules import sharding

_AXES = (None, "rows", None, "kv_heads", None, None)


@dataclasses.dataclass(frozen=True)
class PrefixPool:
    """Functions on pools that lie on a mesh; jitted, and what they change is donated."""

    config: TransformerConfig
    mesh: jax.sharding.Mesh

    def zeros(self, room: int, width: int, dtype: jax.typing.DTypeLike) -> KV:
        """A pool for `room` prefixes of `width` tokens."""
        c = self.config
        head = (c.num_layers, room, 1, c.num_kv_heads)

        def make(*shape: int) -> jax.Array:
            return jnp.zeros(shape, dtype, device=sharding(self.mesh, _AXES, shape))

        return KV(make(*head, c.head_dim, width), make(*head, width, c.head_dim))

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def write(self, pool: KV, kv: KV, index: ArrayLike) -> KV:
        """`pool` with `kv` (B = lines of a grid) at ``index [B]``; beyond U nothing is written."""
        width = kv.width
        return self._lay(
            KV(
                pool.k.at[:, index, :, :, :, :width].set(kv.k, mode="drop"),
                pool.v.at[:, index, :, :, :width].set(kv.v, mode="drop"),
            )
        )

    @functools.partial(jax.jit, static_argnums=(0, 3))
    def read(self, pool: KV, index: ArrayLike, width: int) -> KV:
        """What stands at ``index [B]``, `width` tokens of it; zeros beyond U."""

        def at(x: jax.Array) -> jax.Array:
            return x.at[:, index].get(mode="fill", fill_value=0)

        return self._lay(KV(at(pool.k[..., :width]), at(pool.v[..., :width, :])))

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def add(self, pool: KV, kv: KV, index: ArrayLike) -> KV:
        """`pool` with `kv` (B lines) added at ``index [B]``, in which numbers may repeat."""
        return self._lay(jax.tree.map(lambda x, y: x.at[:, index].add(y), pool, kv))

    def _lay(self, kv: KV) -> KV:
        """Where the parts of a KV lie: as the lines that were computed, and their heads."""
        return jax.tree.map(
            lambda x: jax.lax.with_sharding_constraint(x, sharding(self.mesh, _AXES, x.shape)), kv
        )
