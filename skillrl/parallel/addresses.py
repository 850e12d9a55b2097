"""Randomness by address: which draw it is decides the key, nothing else does.

    key = fold_in(... fold_in(fold_in(seed key, phase), iteration) ..., step)

A draw's key does not depend on what was drawn before it, on the rows beside it
in a batch, or on how many workers there are; a resumed run needs no saved key.
The token position is folded last, by the sampler.
"""

from __future__ import annotations

import zlib

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from skillrl.errors import SkillRLError

COLLECT, SFT, RL, EVAL, INIT = 1, 2, 3, 4, 5
"""Phases of a run, the first number of an address. Fixed: they are part of the results."""


WIDTH = 6
"""Numbers in an address: phase, iteration, task, member, repeat, step."""


def task_number(task_id: str) -> int:
    """A number for a task in an address: CRC-32 of its id, the same everywhere."""
    return zlib.crc32(task_id.encode("utf-8"))


def address_rows(
    phase: ArrayLike,
    *,
    iteration: ArrayLike = 0,
    task: ArrayLike = 0,
    member: ArrayLike = 0,
    repeat: ArrayLike = 0,
    step: ArrayLike = 0,
) -> NDArray[np.uint32]:
    """Addresses in the order in which `fold` reads them.

    Args:
      phase: ``COLLECT``, ``SFT``, ``RL``, ``EVAL`` or ``INIT``.
      iteration: of training; 0 elsewhere.
      task: see `task_number`.
      member: index within the group.
      repeat: of an evaluation; in RL, of a task drawn twice in an iteration.
      step: of the episode.

    Returns:
      uint32 [N, 6], the arguments broadcast against each other (N = 1 for scalars).

    Raises:
      SkillRLError: a number is negative or does not fit 32 bits.
    """
    named = {
        "phase": phase,
        "iteration": iteration,
        "task": task,
        "member": member,
        "repeat": repeat,
        "step": step,
    }
    columns = np.broadcast_arrays(*(np.atleast_1d(value) for value in named.values()))
    for name, column in zip(named, columns, strict=True):
        if (
            not np.issubdtype(column.dtype, np.integer)
            or (column < 0).any()
            or (column > np.iinfo(np.uint32).max).any()
        ):
            raise SkillRLError(f"address: {name} must be an integer from 0 to 2^32 - 1: {column}")
    return np.stack(columns, axis=-1).astype(np.uint32)


def fold(seed_key: jax.Array, addresses: ArrayLike) -> jax.Array:
    """The key of each address, folded on the device; may be called under jit.

    Args:
      seed_key: typed key, ``jax.random.key(seed)``.
      addresses: uint32 [N, A].

    Returns:
      keys [N]; a row's key depends on that row alone.
    """

    def one(address: jax.Array) -> jax.Array:
        key = seed_key
        for index in range(address.shape[0]):
            key = jax.random.fold_in(key, address[index])
        return key

    return jax.vmap(one)(jax.numpy.asarray(addresses, jax.numpy.uint32))
