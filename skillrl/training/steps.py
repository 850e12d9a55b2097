"""Builds a phase's updater from the session's model, mesh and optimiser settings."""

from __future__ import annotations

from typing import Any

from skillrl.parallel.rules import replicated, tree_shardings
from skillrl.phases.session import Session
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.update import LossFn, Updater, make_updater


def build_updater(
    session: Session, loss: LossFn, *, entropy_coeff: float = 0.0, **optimizer: Any
) -> Updater:
    """An `Updater` for what is trained of the policy; other keywords go to `make_optimizer`."""
    transform = make_optimizer(**optimizer)
    partition, mesh = session.partition, session.mesh
    shardings = tree_shardings(mesh, partition.axes, partition.shapes)
    return make_updater(
        config=session.model,
        loss=loss,
        optimizer=transform,
        mesh=mesh,
        param_shapes=partition.shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(
            transform, partition.shapes, shardings, replicated(mesh)
        ),
        join=partition.join,
        remat=session.config.model.remat,
        logprob_chunk=session.config.train_batch.logprob_chunk,
        entropy_coeff=entropy_coeff,
    )
