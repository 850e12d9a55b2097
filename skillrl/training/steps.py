"""Builds a phase's updater from the session's model, mesh and optimiser settings."""

from __future__ import annotations

from typing import Any

import jax

from skillrl.parallel.rules import replicated
from skillrl.session import Session
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.update import LossFn, Updater, make_updater


def build_updater(session: Session, loss: LossFn, **optimizer: Any) -> Updater:
    """An `Updater` for the session's policy; keywords go to `make_optimizer`."""
    from skillrl.models.transformer import init

    transform = make_optimizer(**optimizer)
    dtype = session.config.model.param_dtype
    shapes = jax.eval_shape(
        lambda: jax.tree.map(lambda x: x.astype(dtype), init(jax.random.key(0), session.model))
    )
    return make_updater(
        config=session.model,
        loss=loss,
        optimizer=transform,
        mesh=session.mesh,
        param_shapes=shapes,
        param_shardings=session.param_shardings,
        optimizer_shardings=state_shardings(
            transform, shapes, session.param_shardings, replicated(session.mesh)
        ),
        remat=session.config.model.remat,
        logprob_chunk=session.config.train_batch.logprob_chunk,
    )
