"""Learning from episodes, as `import skillrl` offers it: GRPO and SFT updates by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import Suite
from skillrl.errors import SkillRLError
from skillrl.models.policy import Policy
from skillrl.phases.build import make_partition, make_retriever, make_shapes, open_agent
from skillrl.phases.collect import expert_episode
from skillrl.phases.rl import rl_updater
from skillrl.phases.sft import sft_updater
from skillrl.skills.bank import SkillBank
from skillrl.training.batch import make_minibatch
from skillrl.training.demonstrations import examples, sample_of
from skillrl.training.grpo import Learner, make_minibatches, train_on
from skillrl.training.partition import Partition
from skillrl.training.rollouts import to_samples
from skillrl.training.update import TrainState, Updater, host_metrics
from skillrl.types import Task, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A policy that is being trained: what one update hands to the next.

    Attributes:
      start: the policy that training began with; for GRPO it is the reference policy.
      train_state: trained parameters, optimiser moments and the number of updates. An update
        takes its memory over, so only the newest `Training` may be used.
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
        """How many updates there have been."""
        return int(self.train_state.step)

    @property
    def policy(self) -> Policy:
        """A copy of the policy as it is now, which later updates leave alone."""
        trained = jax.tree.map(jnp.copy, self.train_state.params)
        return self.start.replace(self.partition.merge(trained, self.start.params))


def grpo_step(
    policy: Policy | Training,
    episodes: Sequence[Trajectory],
    *,
    config: Config | None = None,
) -> tuple[Training, dict[str, float]]:
    """Makes one GRPO iteration's updates from whole groups of episodes.

    Advantages (``rl.advantage``) come from comparing the members of a group; the loss is that of
    `skillrl.training.losses.grpo_loss`, with the first policy as reference.

    Args:
      policy: what to train, or what the step before returned.
      episodes: whole groups one after the other, as `rollout` returns them.
      config: settings in ``config.rl``; taken from the step before if there was one.

    Returns:
      The state after the updates (its ``policy`` acts) and metrics: ``loss``, ``kl``,
      ``grad_norm``, ``clip_fraction`` and others, means over the minibatches.

    Raises:
      SkillRLError: there are no whole groups, or the episodes hold no tokens.
    """

    size = 1 + max((episode.member for episode in episodes), default=0)
    if not episodes or len(episodes) % size:
        raise SkillRLError(
            f"{len(episodes)} episodes are no whole groups of {size}: give all members of each "
            "group, one group after the other, as rollout returns them"
        )
    state = _training(policy, config, "grpo", rl_updater)
    model, settings = state.start.model, state.config
    learner = Learner(
        updater=state.updater,
        shapes=make_shapes(settings, model, samples_per_row=settings.train_batch.members),
        reference=state.start.params,
        frozen=state.partition.frozen(state.start.params),
        join=state.partition.join,
    )
    rl = dataclasses.replace(settings.rl, group_size=size, batch_size=len(episodes))
    groups = to_samples(episodes, rl)
    batches = make_minibatches(groups, settings.rl, learner.shapes)
    train_state, metrics = train_on(state.train_state, batches, learner, config=settings.rl)
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

    Args:
      policy: what to train, or what the step before returned.
      episodes: demonstrations, as from `demonstrate` or `rollout`; lost ones are left out.
      suite: the environment that they are of.
      bank: skills that the prompts of the demonstrations show; None for no skills.
      config: settings in ``config.sft``; taken from the step before if there was one.

    Returns:
      The state after the update (its ``policy`` acts) and metrics, ``loss`` among them: the mean
      negative log-likelihood of a response token, in nats.

    Raises:
      SkillRLError: none of the episodes was won.
    """

    state = _training(policy, config or presets.resolve(suite.name).config, "sft", sft_updater)
    model, settings = state.start.model, state.config
    agent, retrieve = open_agent(settings, suite, model), make_retriever(settings)
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


def _training(
    policy: Policy | Training, config: Config | None, phase: str, build: Callable[..., Updater]
) -> Training:
    """The state to go on from, or a new one that starts with a policy."""

    if isinstance(policy, Training):
        if policy.phase == phase and config in (None, policy.config):
            return policy
        policy = policy.policy
    settings = config or presets.resolve(None, mock=True).config
    partition = make_partition(settings, policy.model, seed=settings.seed)
    updater = build(settings, policy.model, partition)
    state = updater.init(partition.trained(policy.params))
    return Training(
        start=policy,
        train_state=state,
        config=settings,
        phase=phase,
        updater=updater,
        partition=partition,
    )
