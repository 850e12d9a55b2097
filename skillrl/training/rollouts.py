"""Turns the episodes of groups into samples with advantages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skillrl.config.settings import RLConfig
from skillrl.training.advantages import EpisodeBatch, get_estimator
from skillrl.training.batch import Sample
from skillrl.types import Task, Trajectory


def choose_tasks(tasks: Sequence[Task], count: int, *, iteration: int, seed: int) -> list[Task]:
    """Chooses the tasks of an iteration: shuffled passes over all tasks, without repeats.

    (seed, count) fix every pass, so any iteration can be computed on its own and a resumed run
    needs no cursor but its number. No iteration holds a task twice, unless there are fewer than
    `count`: where it takes the end of one pass and the beginning of the next, the tasks of that end
    come later in the next.

    Args:
      tasks: all that may be chosen, in manifest order.
      count: how many an iteration plays.
      iteration: from 0.
      seed: of the run.
    """
    size = len(tasks)
    order: list[int] = []
    passes: dict[int, list[int]] = {}
    for epoch in range(((iteration + 1) * count - 1) // size + 1):
        shuffled = np.random.default_rng([seed, epoch]).permutation(size).tolist()
        taken = epoch * size % count
        late = set(order[size - taken :]) if taken and count <= size else set()
        first = [i for i in shuffled if i not in late][: count - taken] if late else []
        order = first + [i for i in shuffled if i not in first]
        passes[epoch] = order
    spots = (divmod(at, size) for at in range(iteration * count, (iteration + 1) * count))
    return [tasks[passes[epoch][index]] for epoch, index in spots]


def episode_return(trajectory: Trajectory, reward: str) -> float:
    """Returns an episode's return: 1 on success else 0, or its score with ``rl.reward=score``."""
    return trajectory.score if reward == "score" else float(trajectory.won)


def zero_variance(trajectories: Sequence[Trajectory], config: RLConfig) -> float:
    """Computes the share of groups whose episodes all ended alike.

    The advantages in such a group are 0, so it teaches through the KL term alone.
    """
    size = config.group_size
    groups = [trajectories[at : at + size] for at in range(0, len(trajectories), size)]
    same = [
        len({episode_return(t, config.reward) for t in group if not t.error}) <= 1
        for group in groups
    ]
    return sum(same) / max(1, len(same))


def to_samples(trajectories: Sequence[Trajectory], config: RLConfig) -> list[list[Sample]]:
    """Makes samples with advantages, in canonical order (task, group member, step).

    Args:
      trajectories: whole groups of ``rl.group_size`` one after the other; those whose environment
        failed are left out.
      config: group size, estimator and penalty.

    Returns:
      One list of samples per group; an empty one where all episodes failed, or where
      ``rl.zero_variance_filter`` finds nothing to learn.
    """
    group_size = config.group_size
    usable = [(i // group_size, t) for i, t in enumerate(trajectories) if not t.error]
    steps = [(e, step) for e, (_, t) in enumerate(usable) for step in t.steps]
    anchors: dict[tuple[int, str], int] = {}
    batch = EpisodeBatch(
        returns=np.array([episode_return(t, config.reward) for _, t in usable]),
        group=np.array([group for group, _ in usable], int),
        step_episode=np.array([e for e, _ in steps], int),
        invalid=np.array([bool(step.invalid) for _, step in steps], bool),
        step_rewards=np.array([step.reward for _, step in steps], float),
        anchor=np.array(
            [anchors.setdefault((usable[e][0], s.observation), len(anchors)) for e, s in steps],
            int,
        ),
    )
    estimator = get_estimator(config.advantage)
    advantages = estimator(batch, penalty=config.invalid_action_penalty)
    teaching = set(range(-(-len(trajectories) // group_size)))
    if config.zero_variance_filter:
        of_step = np.array([usable[e][0] for e, _ in steps], int)
        teaching = set(of_step[np.asarray(estimator(batch, penalty=0.0)) != 0].tolist())
    groups: list[list[Sample]] = [[] for _ in range(-(-len(trajectories) // group_size))]
    for (e, step), advantage in zip(steps, advantages, strict=True):
        group, trajectory = usable[e]
        if group not in teaching:
            continue
        groups[group].append(
            Sample(
                prefix_ids=trajectory.prefix_ids,
                suffix_ids=step.suffix_ids,
                response_ids=step.response_ids,
                old_logprobs=step.logprobs,
                advantage=float(advantage),
                trajectory=e,
            )
        )
    return groups
