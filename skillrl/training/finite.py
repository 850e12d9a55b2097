"""Checks that numbers are finite, before they are saved, exported or acted with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from skillrl.errors import SkillRLError


def all_finite(tree: Any) -> jax.Array:
    """Returns whether every number of every floating array of `tree` is finite; bool scalar."""
    return _each(tuple(_floating(tree).values())).all()


def check_finite(tree: Any, subject: str) -> None:
    """Waits for the arrays of `tree` and refuses NaN and infinities.

    Args:
      tree: of arrays; those of integers have nothing to refuse.
      subject: the beginning of the message, up to the name of the array.

    Raises:
      SkillRLError: names the first array with such a number, and how many more there are.
    """
    named = _floating(tree)
    if not named:
        return
    good = np.asarray(jax.device_get(_each_jitted(tuple(named.values()))))
    bad = [name for name, fine in zip(named, good, strict=True) if not fine]
    if bad:
        more = f" (and {len(bad) - 1} other arrays)" if len(bad) > 1 else ""
        raise SkillRLError(
            f"{subject} {bad[0]}{more} holds numbers that are not finite: the policy is broken "
            "since an earlier update, or it was when it was given. Go on from a checkpoint "
            "before, with a lower learning rate, or give other weights."
        )


def _floating(tree: Any) -> dict[str, jax.Array]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }


def _each(leaves: tuple[jax.Array, ...]) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])


_each_jitted = jax.jit(_each)
