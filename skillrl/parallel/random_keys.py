"""Addresses random keys: where in the run a draw is made decides its key, and nothing else does.

    key = fold_in(... fold_in(fold_in(seed key, phase), iteration) ..., step)

An address is `ADDRESS_WIDTH` numbers: phase, iteration, task, group member, repeat, step. A draw's
key does not depend on what was drawn before it, on its neighbours in a batch, or on the number of
workers, and a resumed run needs no saved key. The sampler folds in the token position last.
"""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

COLLECT, SFT, RL, EVAL, INIT, EXAM = 1, 2, 3, 4, 5, 6
"""Phases of a run, the first number of an address. Fixed: they are part of the results."""

ADDRESS_WIDTH = 6
"""Numbers in an address: phase, iteration, task, group member, repeat, step."""


def task_number(task_id: str) -> int:
    """Returns the number of a task in an address: CRC-32 of its id, the same on every machine."""
    return zlib.crc32(task_id.encode("utf-8"))


def fold_keys(seed_key: jax.Array, rng_address: ArrayLike) -> jax.Array:
    """Folds each address into the seed's key; works under jit.

    Args:
      seed_key: typed key, ``jax.random.key(seed)``.
      rng_address: uint32 [B, ADDRESS_WIDTH], one address per row.

    Returns:
      Typed keys [B]; a row's key depends on that row alone.
    """

    def fold_one(address: jax.Array) -> jax.Array:
        key = seed_key
        for index in range(address.shape[0]):
            key = jax.random.fold_in(key, address[index])
        return key

    return jax.vmap(fold_one)(jnp.asarray(rng_address, jnp.uint32))
