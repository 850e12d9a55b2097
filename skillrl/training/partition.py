"""Says which parameters a phase trains, and how the policy is put together from them.

A partition cuts the policy into a *trained* tree, which gradients, optimiser and
checkpoints know, and the rest, which stays where it is and is never copied:

    all parameters      the trained tree is the policy, nothing else is needed
    all but some        the trained tree is the others
    a LoRA adapter      the trained tree is the adapter, the rest is the whole policy

Steps take ``join(trained, base)`` apart and together inside one jitted function, so a
frozen parameter has no gradient, no moments and no second copy.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillrl.errors import SkillRLError
from skillrl.models import lora, parameters
from skillrl.models.config import TransformerConfig
from skillrl.models.transformer import Params, init


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition:
    """Says what is trained of a policy.

    Attributes:
      frozen: what of the policy must be handed to the steps beside the trained tree.
      trained: the trained tree that `base` starts with (arrays of `base`, or new ones).
      join: ``(trained, frozen or base) -> what transformer.forward takes``.
      merge: the same as plain parameters, laid out as in `models.parameters`.
      shapes: the trained tree as `jax.ShapeDtypeStruct`.
      axes: the logical axes of each array of the trained tree.
      whole: whether the trained tree is the whole policy.
    """

    frozen: Callable[[Params], Params]
    trained: Callable[[Params], Params]
    join: Callable[[Params, Params], Params]
    merge: Callable[[Params, Params], Params]
    shapes: Params
    axes: Any
    whole: bool = False


def everything(config: TransformerConfig, dtype: Any = jnp.float32) -> Partition:
    """Trains all parameters, in `dtype`."""
    return Partition(
        frozen=lambda base: {},
        trained=lambda base: base,
        join=lambda trained, base: trained,
        merge=lambda trained, base: trained,
        shapes=_shapes(config, dtype),
        axes=parameters.axes_tree(config),
        whole=True,
    )


def all_but(
    config: TransformerConfig, patterns: Sequence[str], *, dtype: Any = jnp.float32
) -> Partition:
    """Trains all parameters but those whose path, as ``layers/mlp/up/kernel``, fits a pattern.

    Args:
      config: sizes of the policy.
      patterns: shell patterns of paths; ``*`` also stands for slashes.
      dtype: of the parameters.

    Raises:
      SkillRLError: a pattern fits no parameter, or nothing is left to train.
    """
    table = parameters.specs(config)
    names = {path: "/".join(path) for path in table}
    for pattern in patterns:
        if not fnmatch.filter(names.values(), pattern):
            known = ", ".join(sorted(names.values()))
            raise SkillRLError(
                f"model.freeze names {pattern!r}, which fits no parameter; they are: {known}"
            )
    kept = {
        path
        for path, name in names.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not kept:
        raise SkillRLError(
            f"model.freeze={list(patterns)} leaves nothing to train; freeze fewer parameters"
        )

    def part(tree: Any, *, trained: bool) -> Params:
        flat = parameters.flatten(tree)
        return parameters.unflatten({p: x for p, x in flat.items() if (p in kept) == trained})

    def join(trained: Params, base: Params) -> Params:
        return parameters.unflatten(parameters.flatten(base) | parameters.flatten(trained))

    return Partition(
        frozen=lambda base: part(base, trained=False),
        trained=lambda base: part(base, trained=True),
        join=join,
        merge=join,
        shapes=part(_shapes(config, dtype), trained=True),
        axes=part(parameters.axes_tree(config), trained=True),
    )


def adapter(config: TransformerConfig, shape: lora.Lora, *, seed: int) -> Partition:
    """Trains a LoRA adapter (float32) beside a policy that stays as it is."""
    table = lora.specs(config, shape)

    def float32(spec: parameters.ParameterSpec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(spec.shape, jnp.float32)

    return Partition(
        frozen=lambda base: base,
        trained=lambda base: lora.init(jax.random.key(seed), config, shape),
        join=lambda trained, base: lora.join(trained, base, shape),
        merge=lambda trained, base: lora.merge(trained, base, shape),
        shapes=parameters.unflatten({path: float32(spec) for path, spec in table.items()}),
        axes=parameters.unflatten({path: spec.axes for path, spec in table.items()}),
    )


def _shapes(config: TransformerConfig, dtype: Any) -> Params:
    made = jax.eval_shape(lambda: init(jax.random.key(0), config))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), made)
