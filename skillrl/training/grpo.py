"""Learns in a GRPO iteration: groups of episodes in, a new train state out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skillrl.config.settings import RLConfig
from skillrl.models.transformer import Params
from skillrl.training.batch import Minibatch, Sample, make_minibatch
from skillrl.training.importance import find_importance, weigh
from skillrl.training.losses import combine_metrics, grpo_loss
from skillrl.training.packing import Shapes
from skillrl.training.update import (
    LossFn,
    TrainState,
    Updater,
    host_metrics,
    with_old,
    with_reference,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """Holds what every iteration learns with; it stays the same throughout the phase.

    Attributes:
      updater: the jitted pieces of a GRPO step.
      shapes: the compiled shapes of a minibatch.
      reference: pi_ref, the parameters of a whole policy.
      frozen: those of its parameters that are not trained and belong to every later policy.
      join: puts ``(trained, frozen)`` together to a whole policy.
    """

    updater: Updater
    shapes: Shapes
    reference: Params
    frozen: Params
    join: Callable[[Params, Params], Params]

    def policy(self, state: TrainState) -> Params:
        """Joins the parameters of the whole policy of `state`.

        The trained ones are the state's own arrays, which the next update donates.
        """
        return self.join(state.params, self.frozen)


def run_now(doing: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Computes ``work(*arguments)`` at once; `doing` says what that is and is not used."""
    return work(*arguments)


def make_loss(config: RLConfig) -> LossFn:
    """Builds the GRPO loss that `config` describes, as `training.update` takes it."""

    def loss(logprobs, batch):
        return grpo_loss(
            logprobs,
            old=batch.old,
            ref=batch.ref,
            advantages=batch.advantages,
            weights=batch.weights,
            clip_low=config.clip_epsilon,
            clip_high=config.clip_epsilon_high or config.clip_epsilon,
            kl_coeff=config.kl_coeff,
            kl_estimator=config.kl_estimator,
            clip_ratio_c=config.clip_ratio_c,
            policy_loss=config.policy_loss,
        )

    return loss


def make_minibatches(
    groups: Sequence[Sequence[Sample]], config: RLConfig, shapes: Shapes
) -> list[Minibatch]:
    """Deals the groups of an iteration out to ``rl.minibatches``, whole and in order."""
    dealt = [
        [sample for index in part for sample in groups[index]]
        for part in np.array_split(np.arange(len(groups)), config.minibatches)
    ]
    return [
        make_minibatch(
            samples,
            shapes,
            aggregation=config.loss_aggregation,
            micro_batch=config.loss_micro_batch,
        )
        for samples in dealt
        if samples
    ]


def train_on(
    state: TrainState,
    batches: Sequence[Minibatch],
    learner: Learner,
    *,
    config: RLConfig,
    stale: bool = False,
    wait_for: Callable[..., Any] = run_now,
    on_update: Callable[[Mapping[str, float]], None] | None = None,
) -> tuple[TrainState, dict[str, float]]:
    """Updates once per minibatch.

    Args:
      state: parameters, moments and step.
      batches: with the log-probabilities that sampling saw.
      learner: what learns.
      config: of RL.
      stale: older policies may have sampled: the log-probabilities before the updates are computed
        in any case, and tokens weighed by ``rl.importance``.
      wait_for: ``(what is being done, function, *arguments) -> result of the function``; computes
        in a way that a user can follow and interrupt.
      on_update: called with the metrics of each update.

    Returns:
      The new state, and the means of the metrics over all minibatches (maxima stay maxima,
      counts stay counts). ``sampler_gap_fresh`` is the gap before any of these updates; where it
      may be stale, `importance.weigh` names further metrics.
    """
    updater = learner.updater
    weighed: list[dict[str, float]] = [{} for _ in batches]
    if stale:
        rule, policy = find_importance(config.importance), learner.policy(state)
        made = [
            weigh(batch, wait_for("scoring", updater.score, policy, batch), rule)
            for batch in batches
        ]
        batches = [batch for batch, _ in made]
        weighed = [host_metrics(metrics) for _, metrics in made]
    elif config.old_logprobs == "recomputed":
        policy = learner.policy(state)
        batches = [
            with_old(batch, wait_for("scoring", updater.score, policy, batch)) for batch in batches
        ]
    totals: dict[str, float] = {}
    fresh: dict[str, float] = {}
    for number, batch in enumerate(batches, 1):
        doing = f"update {number} of {len(batches)}"
        ref = wait_for(f"scoring for {doing}", updater.score, learner.reference, batch)
        state, metrics = wait_for(
            doing, updater.update, state, with_reference(batch, ref), learner.frozen
        )
        numbers = wait_for(doing, host_metrics, metrics) | weighed[number - 1]
        if on_update is not None:
            on_update(numbers)
        fresh = fresh or {"sampler_gap_fresh": numbers["sampler_gap"]}
        totals = combine_metrics(totals, numbers) if totals else numbers
    count = max(1, len(batches))
    means = {
        name: value if name.endswith(("_max", "skipped")) else value / count
        for name, value in totals.items()
    }
    return state, means | fresh
