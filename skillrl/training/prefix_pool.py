"""Keeps keys and values of a minibatch's prefixes, and the gradients that add up there.

A pool is a KV with room for U prefixes of P tokens. Batches of prefixes are written to it, each as
wide as it is; micro-batches read the prefixes of their rows from it. How many prefixes a minibatch
has then matters to these copies alone: what runs the model is compiled for blocks (see
`training.packing`), whose shapes come from the settings.
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
    """Makes, writes, reads and adds to pools that lie on a mesh.

    The functions are jitted, and the pool that they change is donated.

    Attributes:
      config: sizes of the policy.
      mesh: devices.
    """

    config: TransformerConfig
    mesh: jax.sharding.Mesh

    def zeros(self, room: int, width: int, *, dtype: jax.typing.DTypeLike) -> KV:
        """Makes a pool for `room` prefixes of `width` tokens."""
        c = self.config
        head = (c.num_layers, room, 1, c.num_kv_heads)

        def make(*shape: int) -> jax.Array:
            return jnp.zeros(shape, dtype, device=sharding(self.mesh, _AXES, shape))

        return KV(make(*head, c.head_dim, width), make(*head, width, c.head_dim))

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def write(self, pool: KV, kv: KV, index: ArrayLike) -> KV:
        """Writes `kv` of B prefixes at ``index [B]``, but nothing where that is U or above."""
        width = kv.width
        return self._split(
            KV(
                pool.k.at[:, index, :, :, :, :width].set(kv.k, mode="drop"),
                pool.v.at[:, index, :, :, :width].set(kv.v, mode="drop"),
            )
        )

    @functools.partial(jax.jit, static_argnums=(0, 3))
    def read(self, pool: KV, index: ArrayLike, width: int) -> KV:
        """Reads `width` tokens of what lies at ``index [B]``; zeros where that is U or above."""

        def at(x: jax.Array) -> jax.Array:
            return x.at[:, index].get(mode="fill", fill_value=0)

        return self._split(KV(at(pool.k[..., :width]), at(pool.v[..., :width, :])))

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def add(self, pool: KV, kv: KV, index: ArrayLike) -> KV:
        """Adds `kv` of B prefix rows at ``index [B]``, in which numbers may repeat."""
        return self._split(jax.tree.map(lambda x, y: x.at[:, index].add(y), pool, kv))

    def _split(self, kv: KV) -> KV:
        """Splits a KV over the devices by prefixes and kv heads, as they were computed."""
        return jax.tree.map(
            lambda x: jax.lax.with_sharding_constraint(x, sharding(self.mesh, _AXES, x.shape)), kv
        )
