"""What a skill is worth: its examinations as an estimate with an interval. Pure; no JAX.

A skill s has n_s pairs, tasks played with it and, all else alike, without it. A pair's difference
of success d is -1, 0 or 1.

1. The mean y_s = sum(d) / n_s, and its variance v_s from the three shares under Jeffreys' prior,

       p_k = (n_k + 1/2) / (n_s + 3/2),  k in {-1, 0, 1}
       v_s = (p_1 + p_-1 - (p_1 - p_-1)^2) / n_s,

   so that a few pairs with equal outcomes are not taken for certainty (the plain variance is 0
   there). Jeffreys' prior, since it is the one that does not depend on how shares are written
   down, and its intervals for shares keep their promise from a handful of observations on
   (Brown, Cai, DasGupta 2001).

2. Skills of one category are alike, theta_s ~ N(mu, tau^2), so each is shrunk towards the mean of
   its category (the normal-normal model of empirical Bayes; Morris 1983). Skills that are examined
   on the same tasks share the episode with all of them: about half of the error is common to
   them, no comparison between them lessens it, and only the other half, u_s = v_s / 2, speaks of
   their differences. For a given tau, with w_s = 1 / (u_s + tau^2) and B_s = u_s w_s,

       mu     = sum(w_s y_s) / sum(w_s)
       mean_s = (1 - B_s) y_s + B_s mu
       var_s  = (1 - B_s) u_s + B_s^2 / sum(w_s)  +  v_s / 2.

3. tau is not plugged in but averaged over, with its restricted marginal likelihood

       L(tau) ~ prod(w_s)^1/2 sum(w_s)^-1/2 exp(-1/2 sum(w_s (y_s - mu)^2))

   and a half-Cauchy prior of scale `SPREAD` (Gelman 2006). A plugged-in estimate (DerSimonian and
   Laird 1986) is 0 for most categories of a few skills, which then pass for equally good, with
   intervals that are too short (benchmarks/exam_calibration.py says how often these hold).

The interval is normal, clipped to [-1, 1]. A category with fewer than `FEWEST` measured skills
shares the mean of the whole bank. All pairs of a skill count alike, whatever the policy was.

References:
  Brown, Cai, DasGupta 2001, Statistical Science 16, 101-133. DerSimonian, Laird 1986, Controlled
  Clinical Trials 7, 177-188. Gelman 2006, Bayesian Analysis 1, 515-534. Morris 1983, Journal of
  the American Statistical Association 78, 47-55.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping

import numpy as np

from skillrl.skills.bank import SkillBank
from skillrl.skills.proposals import Retirement
from skillrl.types import Exams

FEWEST = 3
"""Measured skills from which on a category has a mean of its own."""

SPREAD = 0.25
"""Half of the categories have skills that differ by less than this (standard deviation)."""

RETIRE_LEVEL = 0.98
"""Level of the interval that must lie below zero before a skill is retired; see `verdicts`."""

FEWEST_PAIRS = 8
"""A skill with fewer pairs is not retired: the normal interval is too short there."""

_Key = tuple[tuple[str, str, Exams], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """What a skill adds to success, as a fraction of episodes.

    Attributes:
      mean: best estimate.
      low: lower end of its interval.
      high: upper end.
      pairs: tasks that were played both ways.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def state(self) -> int:
        """Tells what is decided: 1 if the interval lies above zero, -1 if below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def estimates(bank: SkillBank, *, level: float = 0.95) -> Mapping[str, Estimate]:
    """Estimates the utility of each measured skill by its id; unmeasured ones are absent.

    Args:
      bank: skills with their examinations.
      level: probability that an interval holds the truth.
    """
    measured = tuple((s.id, s.category, s.exams) for s in bank.skills if s.exams.pairs)
    return dict(_estimates(measured, level))


def state_of(skill_id: str, found: Mapping[str, Estimate]) -> int:
    """Tells what is decided of a skill (`Estimate.state`); 0 for one that is unmeasured."""
    return found[skill_id].state if skill_id in found else 0


def verdicts(bank: SkillBank, *, level: float = RETIRE_LEVEL) -> tuple[Retirement, ...]:
    """Proposes to retire the skills whose interval lies below zero.

    A skill is looked at after every examination, and each look may err. One look at a skill that is
    worth nothing retires it with probability (1 - level) / 2, which is 1 %, so k looks do with at
    most k times that: 8 % in eight looks. This bound is loose, since looks at the same pairs err
    together and few pairs are shrunk: benchmarks/exam_calibration.py measures 0 to 2 % of neutral
    skills after eight looks, 2 % after 24, and no helpful one. At 95 % it measures 4 % after eight.
    A skill with fewer than `FEWEST_PAIRS` pairs stays.

    Args:
      bank: skills with their examinations.
      level: of the interval that must lie below zero.
    """
    return tuple(
        Retirement(target=skill_id, reason=f"hurts: {describe(estimate)}")
        for skill_id, estimate in estimates(bank, level=level).items()
        if estimate.state < 0 and estimate.pairs >= FEWEST_PAIRS
    )


def describe(estimate: Estimate) -> str:
    """Writes an estimate in points of success: ``-12 points (-25 to -2) in 40 pairs``."""
    mean, low, high = (f"{100 * v:+.0f}" for v in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} points ({low} to {high}) in {estimate.pairs} pairs"


@functools.lru_cache(maxsize=16)  # retrieval asks again for every task
def _estimates(measured: _Key, level: float) -> Mapping[str, Estimate]:
    if not measured:
        return {}
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    moments = np.array([moments_of(exams) for _, _, exams in measured])
    categories = [category for _, category, _ in measured]
    every = np.arange(len(measured))
    rows = {
        name: members if len(members := every[[c == name for c in categories]]) >= FEWEST else every
        for name in categories
    }
    posteriors = {name: posterior(*moments[of].T) for name, of in rows.items()}
    found = {}
    for at, (skill_id, category, exams) in enumerate(measured):
        mean, deviation = (v[list(rows[category]).index(at)] for v in posteriors[category])
        low, high = np.clip([mean - z * deviation, mean + z * deviation], -1, 1)
        found[skill_id] = Estimate(float(mean), float(low), float(high), exams.pairs)
    return found


def moments_of(exams: Exams) -> tuple[float, float]:
    """Computes the mean difference y of at least one pair, and its variance v."""
    better, worse = (exams.squares + exams.gain) / 2, (exams.squares - exams.gain) / 2
    up, down = ((count + 0.5) / (exams.pairs + 1.5) for count in (better, worse))
    return exams.gain / exams.pairs, (up + down - (up - down) ** 2) / exams.pairs


def posterior(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrinks the skills of a category towards their mean; see the module.

    Args:
      means: ``[skills]`` y.
      variances: ``[skills]`` v, all above 0.

    Returns:
      ``[skills]`` posterior means, and standard deviations.
    """
    own = variances / 2
    shrunk, spread, likelihood = given_tau(means, own, _spreads()[:, None])
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    mean = weights @ shrunk
    variance = weights @ (spread + (shrunk - mean) ** 2)
    return mean, np.sqrt(variance + own)


def given_tau(
    means: np.ndarray, own: np.ndarray, tau: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the normal-normal posterior for given spreads of the skills.

    Args:
      means: ``[skills]`` y.
      own: ``[skills]`` u, the part of the variance that skills do not share.
      tau: ``[spreads, 1]`` standard deviations between the skills.

    Returns:
      ``[spreads, skills]`` posterior means and variances, and ``[spreads]`` logarithms of L(tau).
    """
    weights = 1 / (own + tau**2)
    total = weights.sum(axis=-1, keepdims=True)
    centre = (weights * means).sum(axis=-1, keepdims=True) / total
    pull = own * weights
    fit = np.log(weights).sum(axis=-1) - np.log(total[..., 0])
    fit -= (weights * (means - centre) ** 2).sum(axis=-1)
    return (1 - pull) * means + pull * centre, (1 - pull) * own + pull**2 / total, fit / 2


def _spreads(count: int = 64) -> np.ndarray:
    """Returns values of tau that are equally likely under its prior, those up to 1."""
    quantiles = (np.arange(count) + 0.5) / count
    taus = SPREAD * np.tan(np.pi / 2 * quantiles)
    return taus[taus <= 1]
