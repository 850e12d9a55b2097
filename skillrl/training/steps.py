"""Makes the updater of a phase: what is trained, on which devices, with which optimiser."""

from __future__ import annotations

from typing import Any

import jax

from skillrl.models.config import TransformerConfig
from skillrl.parallel.rules import replicated, tree_shardings
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.partition import Partition
from skillrl.training.update import LossFn, Updater, make_updater


def build_updater(
    *,
    config: TransformerConfig,
    partition: Partition,
    mesh: jax.sharding.Mesh,
    loss: LossFn,
    remat: str,
    logprob_chunk: int,
    entropy_coeff: float = 0.0,
    **optimizer: Any,
) -> Updater:
    """Builds an `Updater` for the part of a policy that is trained.

    Args:
      config: sizes of the policy.
      partition: which part is trained.
      mesh: devices.
      loss: see `make_updater`.
      remat: see `make_updater`; ``model.remat``.
      logprob_chunk: see `make_updater`; ``train_batch.logprob_chunk``.
      entropy_coeff: see `make_updater`.
      **optimizer: arguments of `make_optimizer`.

    Raises:
      SkillRLError: numbers of the optimiser are out of range.
    """
    transform = make_optimizer(**optimizer)
    shardings = tree_shardings(mesh, partition.axes, partition.shapes)
    return make_updater(
        config=config,
        loss=loss,
        optimizer=transform,
        mesh=mesh,
        param_shapes=partition.shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(
            transform, partition.shapes, param_shardings=shardings, scalar=replicated(mesh)
        ),
        join=partition.join,
        remat=remat,
        logprob_chunk=logprob_chunk,
        entropy_coeff=entropy_coeff,
    )
