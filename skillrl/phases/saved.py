"""Opens the checkpoints of a run, and reads its policies: needs neither environment nor lock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.phases.build import make_partition, make_updater
from skillrl.phases.run_directory import RunDirectory
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.update import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saved:
    """Holds what a checkpoint has of a policy; the state of the optimiser is not kept.

    Attributes:
      step: number of the checkpoint: epochs of the cold start, or iterations of RL.
      trained: the trained tree, which is the policy or a part of it (`training.partition`).
      extra: what was saved beside the arrays.
    """

    step: int
    trained: Params
    extra: Mapping[str, Any]


def checkpoints(run: RunDirectory, phase: str) -> Checkpoints:
    """Opens the checkpoints that a phase writes, of which stay those that the settings say.

    Args:
      run: the run directory.
      phase: ``sft`` or ``rl``.
    """
    settings = run.config.checkpoint
    return Checkpoints(
        run.file("checkpoints", phase),
        keep=settings.keep,
        keep_every=settings.keep_every,
        keep_best=settings.keep_best,
    )


def read(run: RunDirectory, model: Model, phase: str, *, step: int | None = None) -> Saved | None:
    """Reads a checkpoint of a phase.

    Args:
      run: the run directory.
      model: the policy that it trains; says on which devices the arrays come to lie.
      phase: ``sft`` or ``rl``.
      step: number of the checkpoint; the latest by default.

    Returns:
      What the checkpoint holds, or None if the phase has no checkpoint.

    Raises:
      SkillRLError: there is none of this number, it is of another model, or it cannot be read.
      Corrupt: it is not what was saved.
    """
    partition = make_partition(run.config, model, seed=run.config.seed)
    # The tree of a state does not depend on the loss, nor on the numbers of the optimiser.
    updater = make_updater(
        run.config, model, partition, loss=_no_loss, learning_rate=0.0, total_steps=1
    )
    with Checkpoints(run.file("checkpoints", phase)) as checkpoints:
        step = checkpoints.latest() if step is None else step
        if step is None:
            return None
        state, extra = checkpoints.restore(step, updater.abstract_state)
    assert isinstance(state, TrainState)
    return Saved(step=step, trained=state.params, extra=extra)


def whole(run: RunDirectory, model: Model, saved: Saved, *, base: Callable[[], Params]) -> Params:
    """Puts a policy together from what of it was trained and the rest.

    Args:
      run: the run directory.
      model: the policy.
      saved: what `read` has found.
      base: reads the policy that the phase started from; called only where a part was trained.
    """
    partition = make_partition(run.config, model, seed=run.config.seed)
    return saved.trained if partition.whole else partition.merge(saved.trained, base())


def cold_started(run: RunDirectory, model: Model, *, base: Callable[[], Params]) -> Params | None:
    """Reads the policy of a finished cold start, or returns None where there is none.

    Args:
      run: the run directory.
      model: the policy.
      base: reads the base policy of the run.
    """
    found = read(run, model, "sft") if run.finished("sft") is not None else None
    return None if found is None else whole(run, model, found, base=base)


def _no_loss(*arguments: Any) -> Any:
    raise NotImplementedError("checkpoints are read here; nothing is trained")
