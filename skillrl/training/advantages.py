"""Estimates advantages: how much better than its group an episode went.

    A_i = (R_i - mean_j R_j) / (std_j R_j + eps),    j over the group of episode i

An estimator turns an `EpisodeBatch` into one advantage per step sample, which all response tokens
of that step share. Estimators run on the host in float64 over a few hundred numbers, once per
iteration, and return float32. Letters: E episodes, N step samples.

Sources: GRPO (arXiv 2402.03300), Dr. GRPO (2503.20783), RLOO (2402.14740),
GiGPO (2505.10978), and the SkillRL paper's equation 8 (2602.08234).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skillrl import extensions
from skillrl.errors import SkillRLError

Floats = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeBatch:
    """Holds what estimators see of the rollouts of one iteration.

    Attributes:
      returns: float [E], the return of each episode.
      group: int [E], which group an episode belongs to; any ids, in any order.
      step_episode: int [N], index into E of the episode of each step sample;
        the steps of one episode stand in the order of time.
      invalid: bool [N], the step's action was not valid.
      step_rewards: float [N], the environment's reward of each step (gigpo only).
      anchor: int [N], equal where the observation the agent stood before is
        identical (gigpo only); compared within a group only.
    """

    returns: ArrayLike
    group: ArrayLike
    step_episode: ArrayLike
    invalid: ArrayLike
    step_rewards: ArrayLike | None = None
    anchor: ArrayLike | None = None


class Estimator(Protocol):
    """Computes ``(batch, penalty=...) -> float32 [N]``; ``penalty`` >= 0 is for invalid steps."""

    def __call__(self, batch: EpisodeBatch, *, penalty: float) -> NDArray[np.float32]:
        """Returns the advantage of each step sample."""


ESTIMATORS: dict[str, Estimator] = {}


def register_advantage(name: str) -> Callable[[Estimator], Estimator]:
    """Registers an estimator as ``name`` (``rl.advantage`` in a config).

    Raises:
      SkillRLError: the name is taken.
    """

    def register(estimator: Estimator) -> Estimator:
        extensions.register("advantage estimator", name, estimator, registry=ESTIMATORS)
        return estimator

    return register


def get_estimator(name: str) -> Estimator:
    """Returns the estimator that is registered as ``name``.

    Raises:
      SkillRLError: there is none; the message lists those there are.
    """
    if name not in ESTIMATORS:
        known = ", ".join(sorted(ESTIMATORS))
        raise SkillRLError(f"unknown advantage estimator {name!r}; choose one of: {known}")
    return ESTIMATORS[name]


# ---------------------------------------------------------------------------
# Functions of plain arrays
# ---------------------------------------------------------------------------


def grpo(
    returns: ArrayLike, group_ids: ArrayLike, *, standardize: bool = True, eps: float = 1e-6
) -> Floats:
    """Computes the group-relative advantage of each episode.

        A_i = (R_i - mean_j R_j) / (std_j R_j + eps),    j over the group of i

    with the unbiased standard deviation (divisor n - 1).

    Examples:
      >>> grpo([1.0, 0.0, 0.0, 0.0], [7, 7, 7, 7]).round(3).tolist()
      [1.5, -0.5, -0.5, -0.5]
      >>> grpo([1.0, 1.0, 0.0, 1.0], [0, 0, 1, 1], standardize=False).tolist()
      [0.0, 0.0, -0.5, 0.5]

    Args:
      returns: float [E].
      group_ids: int [E].
      standardize: divide by the standard deviation; False is Dr. GRPO.
      eps: added to the standard deviation; 1e-6 in the released code.

    Returns:
      float64 [E]; exactly 0 in a group of one and in a group of equal returns.

    Raises:
      SkillRLError: shapes differ, or a return is NaN or infinite.
    """
    returns, group_ids = _episodes(returns, group_ids)
    return _normalise(returns, group_ids, standardize=standardize, eps=eps)


def rloo(returns: ArrayLike, group_ids: ArrayLike) -> Floats:
    """Computes the leave-one-out advantage of each episode.

        A_i = R_i - mean_{j != i} R_j = n / (n - 1) * (R_i - mean_j R_j)

    Examples:
      >>> rloo([1.0, 0.0, 0.0], [0, 0, 0]).round(3).tolist()
      [1.0, -0.5, -0.5]

    Args:
      returns: float [E].
      group_ids: int [E].

    Returns:
      float64 [E]; 0 in a group of one.

    Raises:
      SkillRLError: shapes differ, or a return is NaN or infinite.
    """
    returns, group_ids = _episodes(returns, group_ids)
    centred = _normalise(returns, group_ids, standardize=False, eps=0.0)
    size = _group_size(group_ids)
    return centred * size / np.maximum(size - 1, 1)


def step_advantages(
    episode_advantage: ArrayLike, step_episode: ArrayLike, *, invalid: ArrayLike, penalty: float
) -> NDArray[np.float32]:
    """Gives every step its episode's advantage, and an invalid step the penalty.

        A_t = A_episode(t) - penalty * [step t is invalid]

    The penalty comes after the group statistics, so it reaches groups without variance too. (The
    released code puts it inside: see `grpo_over_steps`.)

    Examples:
      >>> step_advantages([1.0, -1.0], [0, 0, 1], invalid=[0, 1, 0], penalty=0.5).tolist()
      [1.0, 0.5, -1.0]

    Args:
      episode_advantage: float [E].
      step_episode: int [N], index into E.
      invalid: bool [N].
      penalty: ``rl.invalid_action_penalty``, at least 0.

    Returns:
      float32 [N].
    """
    episode_advantage = np.asarray(episode_advantage, np.float64)
    step_episode, invalid = _steps(step_episode, invalid, episodes=len(episode_advantage))
    _check_penalty(penalty)
    return (episode_advantage[step_episode] - penalty * invalid).astype(np.float32)


def grpo_over_steps(
    returns: ArrayLike,
    group_ids: ArrayLike,
    *,
    step_episode: ArrayLike,
    invalid: ArrayLike,
    penalty: float,
    eps: float = 1e-6,
) -> NDArray[np.float32]:
    """Computes GRPO's advantages as the paper's released code does, over step samples.

        s_t = R_episode(t) - penalty * [t invalid]
        A_t = (s_t - mean_u s_u) / (std_u s_u + eps),    u over all steps of the group

    Long episodes weigh more in the statistics. A group with a single step keeps its score (mean 0
    and standard deviation 1 there, as released).

    Examples:
      >>> steps = {"step_episode": [0, 1, 1, 1], "invalid": [0, 0, 0, 0]}
      >>> grpo_over_steps([1.0, 0.0], [0, 0], **steps, penalty=0.1).round(3).tolist()
      [1.5, -0.5, -0.5, -0.5]

    Args:
      returns: float [E].
      group_ids: int [E].
      step_episode: int [N], index into E.
      invalid: bool [N].
      penalty: subtracted from the return of an invalid step.
      eps: added to the standard deviation.

    Returns:
      float32 [N].
    """
    returns, group_ids = _episodes(returns, group_ids)
    step_episode, invalid = _steps(step_episode, invalid, episodes=len(returns))
    _check_penalty(penalty)
    scores = returns[step_episode] - penalty * invalid
    groups = group_ids[step_episode]
    advantages = _normalise(scores, groups, standardize=True, eps=eps)
    alone = _group_size(groups) == 1
    return np.where(alone, scores / (1.0 + eps), advantages).astype(np.float32)


def discounted_returns(rewards: ArrayLike, step_episode: ArrayLike, *, gamma: float) -> Floats:
    """Computes ``G_t = r_t + gamma * G_{t+1}`` within each episode.

    Examples:
      >>> discounted_returns([0.0, 5.0, 1.0], [0, 1, 0], gamma=0.5).tolist()
      [0.5, 5.0, 1.0]

    Args:
      rewards: float [N].
      step_episode: int [N]; the steps of one episode in the order of time, other episodes may lie
        between them.
      gamma: discount, 0 to 1.

    Returns:
      float64 [N].
    """
    rewards = np.asarray(rewards, np.float64)
    result = np.empty_like(rewards)
    following: dict[int, float] = {}
    for index in range(len(rewards) - 1, -1, -1):
        episode = int(np.asarray(step_episode)[index])
        following[episode] = rewards[index] + gamma * following.get(episode, 0.0)
        result[index] = following[episode]
    return result


# ---------------------------------------------------------------------------
# Registered estimators
# ---------------------------------------------------------------------------


@register_advantage("grpo")
def estimate_grpo(batch: EpisodeBatch, *, penalty: float) -> NDArray[np.float32]:
    """Takes `grpo` over the episodes of a group, then `step_advantages`: the default."""
    advantage = grpo(batch.returns, batch.group)
    return step_advantages(advantage, batch.step_episode, invalid=batch.invalid, penalty=penalty)


@register_advantage("dr_grpo")
def estimate_dr_grpo(batch: EpisodeBatch, *, penalty: float) -> NDArray[np.float32]:
    """Takes `grpo` without the division by the standard deviation, then `step_advantages`."""
    advantage = grpo(batch.returns, batch.group, standardize=False)
    return step_advantages(advantage, batch.step_episode, invalid=batch.invalid, penalty=penalty)


@register_advantage("rloo")
def estimate_rloo(batch: EpisodeBatch, *, penalty: float) -> NDArray[np.float32]:
    """Takes `rloo` over the episodes of a group, then `step_advantages`."""
    advantage = rloo(batch.returns, batch.group)
    return step_advantages(advantage, batch.step_episode, invalid=batch.invalid, penalty=penalty)


@register_advantage("grpo_over_steps")
def estimate_grpo_over_steps(batch: EpisodeBatch, *, penalty: float) -> NDArray[np.float32]:
    """Takes `grpo_over_steps`: the released behaviour."""
    return grpo_over_steps(
        batch.returns,
        batch.group,
        step_episode=batch.step_episode,
        invalid=batch.invalid,
        penalty=penalty,
    )


@register_advantage("gigpo")
def estimate_gigpo(
    batch: EpisodeBatch,
    *,
    penalty: float,
    gamma: float = 0.95,
    step_weight: float = 1.0,
    standardize: bool = True,
) -> NDArray[np.float32]:
    """Adds to the episode term one over the steps that met the same observation (group in group).

        A_t = A^E_episode(t) + w * (G_t - mean_u G_u) / (std_u G_u + 1e-6) - penalty * [t invalid]

    with u over the steps of the group whose anchor observation is identical to
    t's, and G_t the discounted return of `discounted_returns`. A step whose
    anchor nobody else met has no step term. The penalty comes after both
    statistics, where the released code has it inside.

    Args:
      batch: with ``step_rewards`` and ``anchor``.
      penalty: subtracted from the advantage of an invalid step.
      gamma: discount of the step term.
      step_weight: w.
      standardize: divide both terms by their standard deviation.

    Raises:
      SkillRLError: ``step_rewards`` or ``anchor`` is missing, of another
        length, or not finite.
    """
    for field in ("step_rewards", "anchor"):
        if getattr(batch, field) is None:
            raise SkillRLError(f"advantage estimator 'gigpo' needs EpisodeBatch.{field}; fill it")
    returns, group = _episodes(batch.returns, batch.group)
    step_episode, invalid = _steps(batch.step_episode, batch.invalid, episodes=len(returns))
    rewards, anchor = np.asarray(batch.step_rewards, np.float64), np.asarray(batch.anchor)
    if not rewards.shape == anchor.shape == step_episode.shape:
        raise SkillRLError(
            f"EpisodeBatch: step_rewards {rewards.shape} and anchor {anchor.shape} must have "
            f"one entry per step, as step_episode {step_episode.shape} has"
        )
    _check_finite("step_rewards", rewards)
    discounted = discounted_returns(rewards, step_episode, gamma=gamma)
    places = np.stack([_compact(group[step_episode]), _compact(anchor)], axis=1)
    place = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    step_term = _normalise(discounted, place, standardize=standardize, eps=1e-6)
    episode_term = grpo(returns, group, standardize=standardize)
    _check_penalty(penalty)
    advantages = episode_term[step_episode] + step_weight * step_term - penalty * invalid
    return advantages.astype(np.float32)


# ---------------------------------------------------------------------------
# Group statistics and checks
# ---------------------------------------------------------------------------


def _normalise(values: Floats, groups: NDArray, *, standardize: bool, eps: float) -> Floats:
    """Centres (and scales) the values of each group; exactly 0 where a group has no spread."""
    if not len(values):
        return np.zeros(0)
    inverse = _compact(groups)
    count = np.bincount(inverse).astype(np.float64)
    mean = np.bincount(inverse, weights=values) / count
    centred = values - mean[inverse]
    low, high = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(low, inverse, values)
    np.maximum.at(high, inverse, values)
    if standardize:
        squares = np.bincount(inverse, weights=np.square(centred))
        std = np.sqrt(squares / np.maximum(count - 1, 1))
        centred = centred / (std + eps)[inverse]
    # Rounding of the mean would otherwise leave noise, blown up by 1 / eps.
    return np.where((low == high)[inverse], 0.0, centred)


def _compact(ids: NDArray) -> NDArray[np.intp]:
    return np.unique(ids, return_inverse=True)[1].reshape(-1)


def _group_size(groups: NDArray) -> NDArray[np.intp]:
    inverse = _compact(groups)
    return np.bincount(inverse)[inverse] if len(inverse) else inverse


def _episodes(returns: ArrayLike, group: ArrayLike) -> tuple[Floats, NDArray]:
    returns, group = np.asarray(returns, np.float64), np.asarray(group)
    if returns.ndim != 1 or returns.shape != group.shape:
        raise SkillRLError(
            f"returns {returns.shape} and group ids {group.shape} must both be [E], "
            "one entry per episode"
        )
    _check_finite("returns", returns)
    return returns, group


def _steps(
    step_episode: ArrayLike, invalid: ArrayLike, *, episodes: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    step_episode = np.asarray(step_episode)
    invalid = np.asarray(invalid).astype(bool)
    if step_episode.ndim != 1 or step_episode.shape != invalid.shape:
        raise SkillRLError(
            f"step_episode {step_episode.shape} and invalid {invalid.shape} must both be [N], "
            "one entry per step"
        )
    outside = (step_episode < 0) | (step_episode >= episodes)
    if outside.any():
        raise SkillRLError(
            f"step_episode holds {step_episode[outside][0]}, but there are {episodes} episodes; "
            "it must index into returns"
        )
    return step_episode.astype(np.int64), invalid


def _check_finite(name: str, values: Floats) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise SkillRLError(
            f"{name}[{bad[0]}] is {values[bad[0]]}; drop episodes whose environment failed "
            "before advantages are computed"
        )


def _check_penalty(penalty: float) -> None:
    if not penalty >= 0:
        raise SkillRLError(f"invalid-action penalty is {penalty}; it must be 0 or more")
