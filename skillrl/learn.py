"""Learns from episodes, as `import skillrl` offers it: GRPO and SFT updates by hand."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from skillrl.api import settings_for
from skillrl.config import rules
from skillrl.config.settings import Config, RLConfig
from skillrl.envs import Suite
from skillrl.errors import SkillRLError
from skillrl.models.policy import Model, Policy
from skillrl.phases.build import (
    make_partition,
    make_retriever,
    make_shapes,
    open_agent,
    rl_updater,
)
from skillrl.phases.collect import expert_episode
from skillrl.phases.sft import sft_updater
from skillrl.skills.bank import SkillBank
from skillrl.training.batch import make_minibatch
from skillrl.training.demonstrations import examples, sample_of
from skillrl.training.grpo import Learner, make_minibatches, train_on
from skillrl.training.partition import Partition
from skillrl.training.rollouts import to_samples
from skillrl.training.update import TrainState, Updater, host_metrics
from skillrl.types import Task, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """Holds a policy that is being trained: what one step hands to the next.

    A step takes over the memory of the train state that it is given: a `Training` can be used
    until the next step, a `policy` that was taken from it at any time.

    Attributes:
      start: the policy that training began with; for GRPO it is the reference policy.
      train_state: trained parameters, optimiser moments and the number of updates.
      config: the settings of the updates.
      phase: ``grpo`` or ``sft``.
      updater: the jitted pieces of an update.
      partition: what of the policy is trained.
    """

    start: Policy
    train_state: TrainState
    config: Config
    phase: str
    updater: Updater = dataclasses.field(repr=False)
    partition: Partition = dataclasses.field(repr=False)

    @property
    def updates(self) -> int:
        """How many updates there have been.

        Raises:
          SkillRLError: a later step has taken this state over.
        """
        self.check_newest()
        return int(self.train_state.step)

    @property
    def policy(self) -> Policy:
        """A copy of the policy as it is now, which later updates leave alone.

        Raises:
          SkillRLError: a later step has taken this state over.
        """
        self.check_newest()
        trained = jax.tree.map(jnp.copy, self.train_state.params)
        params = self.partition.merge(trained, self.start.params)
        return self.start.replace(params, version=self.start.version + self.updates)

    def check_newest(self) -> None:
        """Refuses a state whose memory a later step has taken over.

        Raises:
          SkillRLError: it has.
        """
        if any(leaf.is_deleted() for leaf in jax.tree.leaves(self.train_state)):
            raise SkillRLError(
                "this Training has been trained further, which took its memory over: use the one "
                "that the last step returned, or keep training.policy, a copy, before a step"
            )


def grpo_step(
    policy: Policy | Training,
    episodes: Sequence[Trajectory],
    suite: Suite | None = None,
    *,
    config: Config | None = None,
) -> tuple[Training, dict[str, float]]:
    """Makes one GRPO iteration's updates from whole groups of episodes.

    Advantages (``rl.advantage``) come from comparing the members of a group; the loss is that of
    `skillrl.training.losses.grpo_loss`, with the first policy as reference. There is an update per
    minibatch, of which ``rl.minibatches`` are made where there are as many groups.

    The learning rate climbs over ``rl.warmup_iterations`` and then stays, whatever
    ``rl.lr_schedule``: nobody knows how many steps there will be.

    Args:
      policy: what to train, or what the step before returned. After `sft_step`, or with other
        settings than before, training starts anew: with fresh moments, and with the policy so far
        as reference.
      episodes: whole groups one after the other, as `rollout` returns them.
      suite: the environment that they are of, which says whose settings are taken where none are
        given; None for ALFWorld.
      config: settings in ``config.rl``, ``config.train_batch`` and ``config.model``, which must
        fit the prompts of the episodes: the one that `rollout` got. By default that of the step
        before, and before the first step ``default_config(suite.name)``.

    Returns:
      The state after the updates (its ``policy`` acts) and metrics:
      ``policy_loss``, ``kl``, ``grad_norm``, ``clip_fraction`` and others, means over the
      minibatches.

    Raises:
      SkillRLError: there are no whole groups, the episodes hold no tokens or longer texts than the
        settings allow, or `policy` has been trained further since.
    """
    size = _group_size(episodes)
    settings = _settings(policy, config, env=suite.name if suite else "alfworld")
    rl = dataclasses.replace(
        settings.rl,
        group_size=size,
        batch_size=len(episodes),
        minibatches=min(settings.rl.minibatches, len(episodes) // size),
        lr_schedule="constant",
    )
    rules.check_rl(rl)
    _check_lengths(episodes, rl)
    state = _training(policy, settings, phase="grpo", build=_constant_rl_updater)
    model = state.start.model
    learner = Learner(
        updater=state.updater,
        shapes=make_shapes(settings, model, samples_per_row=settings.train_batch.members),
        reference=state.start.params,
        frozen=state.partition.frozen(state.start.params),
        join=state.partition.join,
    )
    groups = to_samples(episodes, rl)
    batches = make_minibatches(groups, rl, learner.shapes)
    train_state, metrics = train_on(state.train_state, batches, learner, config=rl)
    return dataclasses.replace(state, train_state=train_state), metrics


def sft_step(
    policy: Policy | Training,
    episodes: Sequence[Trajectory],
    suite: Suite,
    bank: SkillBank | None = None,
    *,
    config: Config | None = None,
) -> tuple[Training, dict[str, float]]:
    """Makes one update towards the valid steps of the successes among `episodes`.

    The learning rate is ``sft.learning_rate`` at every step: nobody knows how many there will be.

    Args:
      policy: what to train, or what the step before returned. After `grpo_step`, or with other
        settings than before, training starts anew, with fresh moments.
      episodes: demonstrations, as from `demonstrate` or `rollout`; lost ones are left out. All of
        them make one update, so ``sft.batch_size`` does not count.
      suite: the environment that they are of.
      bank: skills that the prompts of the demonstrations show; None for no skills.
      config: settings in ``config.sft``, of prompts and of retrieval; by default those of the step
        before, and before the first step ``default_config(suite.name)``.

    Returns:
      The state after the update (its ``policy`` acts) and metrics, ``loss`` among them: the mean
      negative log-likelihood of a response token, in nats.

    Raises:
      SkillRLError: none of the episodes was won, a prompt does not fit the settings, or `policy`
        has been trained further since.
    """
    settings = _settings(policy, config, env=suite.name)
    state = _training(policy, settings, phase="sft", build=sft_updater)
    model = state.start.model
    agent, retrieve = open_agent(settings, suite, model), make_retriever(settings, model)
    found = [
        example
        for episode in episodes
        if episode.won
        for example in examples(
            episode,
            [agent.thought(step.response) for step in episode.steps],
            skills=retrieve(bank if bank is not None else SkillBank(), episode.task),
            agent=agent,
        )
    ]
    if not found:
        raise SkillRLError("none of the episodes was won, so there is nothing to imitate")
    shapes = make_shapes(settings, model, samples_per_row=1)
    batch = make_minibatch([sample_of(each, at) for at, each in enumerate(found)], shapes)
    frozen = state.partition.frozen(state.start.params)
    train_state, metrics = state.updater.update(state.train_state, batch, frozen)
    return dataclasses.replace(state, train_state=train_state), dict(host_metrics(metrics))


def demonstrate(suite: Suite, tasks: Sequence[Task]) -> list[Trajectory]:
    """Lets the environment's own expert play tasks, for imitation (`sft_step`).

    Raises:
      SkillRLError: a task has no expert.
    """
    return [expert_episode(suite, task, slips=0.0, seed=0) for task in tasks]


def _settings(policy: Policy | Training, config: Config | None, *, env: str) -> Config:
    """Returns `config`, or where there is none that of the step before, or that of `env`."""
    before = policy.config if isinstance(policy, Training) else None
    return settings_for(env, config or before)


_BUILT: weakref.WeakKeyDictionary[Any, dict[Any, tuple[Partition, Updater]]]
_BUILT = weakref.WeakKeyDictionary()
"""Model -> what was built for (phase, settings): another training of the model compiles nothing."""


def _training(
    policy: Policy | Training,
    settings: Config,
    *,
    phase: str,
    build: Callable[[Config, Model, Partition], Updater],
) -> Training:
    """Returns the state to go on from, or a new one that starts with a policy.

    Args:
      policy: what to train, or what the step before returned.
      settings: of the step.
      phase: the kind of step.
      build: makes the jitted pieces of an update.

    Raises:
      SkillRLError: a later step has taken the state over.
    """
    if isinstance(policy, Training):
        policy.check_newest()
        if (policy.phase, policy.config) == (phase, settings):
            return policy
        policy = policy.policy
    built = _BUILT.setdefault(policy.model, {})
    if (phase, settings) not in built:
        partition = make_partition(settings, policy.model, seed=settings.seed)
        built[phase, settings] = partition, build(settings, policy.model, partition)
    partition, updater = built[phase, settings]
    state = updater.init(partition.trained(policy.params))
    return Training(
        start=policy,
        train_state=state,
        config=settings,
        phase=phase,
        updater=updater,
        partition=partition,
    )


def _constant_rl_updater(settings: Config, model: Model, partition: Partition) -> Updater:
    """Builds the GRPO step of training by hand, which never runs out of learning rate."""
    rl = dataclasses.replace(settings.rl, lr_schedule="constant")
    return rl_updater(dataclasses.replace(settings, rl=rl), model, partition)


def _group_size(episodes: Sequence[Trajectory]) -> int:
    """Finds G, the size of every group.

    Raises:
      SkillRLError: there are no whole groups, or nothing in them to learn from.
    """
    size = 1 + max((episode.member for episode in episodes), default=0)
    groups = [episodes[at : at + size] for at in range(0, len(episodes), size)]
    for group in groups:
        first = group[0]
        wanted = [(first.task.id, first.repeat, member) for member in range(size)]
        if [(episode.task.id, episode.repeat, episode.member) for episode in group] != wanted:
            raise SkillRLError(
                f"{len(episodes)} episodes are no whole groups of {size}: give all members of each "
                "group, one group after the other, as rollout returns them"
            )
    usable = [episode for episode in episodes if not episode.error]
    if not usable:
        raise SkillRLError("there is no episode to learn from, or the environment failed in all")
    for episode in usable:
        if not all(step.response_ids for step in episode.steps):
            raise SkillRLError(
                f"{episode.id} holds no tokens: it was not sampled from a policy here. grpo_step "
                "learns from what rollout returns; demonstrations are for sft_step"
            )
    return size


def _check_lengths(episodes: Sequence[Trajectory], rl: RLConfig) -> None:
    """Refuses episodes that were played with longer prompts or responses than `rl` has room for.

    Raises:
      SkillRLError: there are such.
    """
    steps = [(episode, step) for episode in episodes for step in episode.steps]
    longest = {
        "max_prompt_length": max(len(e.prefix_ids) + len(s.suffix_ids) for e, s in steps),
        "max_response_length": max(len(step.response_ids) for _, step in steps),
    }
    for name, length in longest.items():
        if length > getattr(rl, name):
            raise SkillRLError(
                f"rl.{name} is {getattr(rl, name)}, and there are {length} tokens in these "
                "episodes: give the config that rollout got, or, where it got none, "
                "config=skillrl.default_config(suite.name)"
            )
