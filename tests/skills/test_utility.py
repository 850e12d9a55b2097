"""What examinations say: numbers by hand, an independent integration, and coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from benchmarks.exams import simulated
from skillrl.skills.bank import SkillBank
from skillrl.skills.utility import (
    SPREAD,
    Estimate,
    describe,
    estimates,
    given_tau,
    moments_of,
    posterior,
    verdicts,
)
from skillrl.types import Exams, Skill


def bank_of(*exams, category="heat"):
    """A bank with a skill per (pairs, gain, squares)."""
    return SkillBank(
        tuple(
            Skill(
                id=f"s{i}",
                title=f"t{i}",
                principle="p",
                category=category,
                exams=Exams(pairs=pairs, gain=gain, squares=squares),
            )
            for i, (pairs, gain, squares) in enumerate(exams)
        )
    )


def test_mean_and_variance_by_hand():
    # 10 pairs, 4 better, 1 worse: shares (4.5, 1.5) / 11.5 under Jeffreys' prior.
    mean, variance = moments_of(Exams(pairs=10, gain=3, squares=5))
    assert mean == 0.3
    assert variance == pytest.approx((6 / 11.5 - (3 / 11.5) ** 2) / 10)
    # Four pairs, all better: the plain variance would be 0.
    mean, variance = moments_of(Exams(pairs=4, gain=4, squares=4))
    assert mean == 1
    assert variance == pytest.approx((5 / 5.5 - (4 / 5.5) ** 2) / 4)


def test_given_tau_by_hand():
    # u = 1 and tau = 1, so that half of each distance to the mean, 2, is believed.
    mean, variance, fit = given_tau(np.array([1.0, 3.0]), np.array([1.0, 1.0]), np.array([[1.0]]))
    np.testing.assert_allclose(mean, [[1.5, 2.5]])
    np.testing.assert_allclose(variance, [[0.75, 0.75]])  # 1/2 + 1/4 / (1/2 + 1/2)
    # log of 1/sqrt(2) * 1/sqrt(2) / sqrt(1) * exp(-(1/2 + 1/2) / 2)
    np.testing.assert_allclose(fit, [np.log(0.5) - 0.5])


def test_tau_is_integrated_over_its_prior():
    means, variances = np.array([0.3, -0.1, 0.05, 0.1]), np.array([0.02, 0.03, 0.01, 0.02])

    def weighted(of):
        def density(tau):
            mean, variance, fit = given_tau(means, variances / 2, np.array([[tau]]))
            return (
                of(mean[0, 0], variance[0, 0])
                * np.exp(fit[0])
                * stats.halfcauchy.pdf(tau, scale=SPREAD)
            )

        return integrate.quad(density, 0, 1)[0]

    norm = weighted(lambda m, v: 1.0)
    mean = weighted(lambda m, v: m) / norm
    variance = weighted(lambda m, v: v + m**2) / norm - mean**2 + variances[0] / 2
    found, deviation = posterior(means, variances)
    assert found[0] == pytest.approx(mean, abs=2e-3)
    assert deviation[0] == pytest.approx(np.sqrt(variance), abs=2e-3)


def test_a_skill_alone_is_not_shrunk():
    (found,) = estimates(bank_of((10, 3, 5))).values()
    mean, variance = moments_of(Exams(pairs=10, gain=3, squares=5))
    half = 1.959964 * np.sqrt(variance)
    assert (found.mean, found.pairs) == (pytest.approx(mean), 10)
    assert (found.low, found.high) == (
        pytest.approx(mean - half, abs=1e-6),
        pytest.approx(mean + half, abs=1e-6),
    )


def test_unmeasured_skills_are_absent():
    assert estimates(SkillBank()) == {}
    assert list(estimates(bank_of((0, 0, 0), (6, 1, 3)))) == ["s1"]


def test_a_category_of_three_has_its_own_mean_and_a_smaller_one_that_of_the_bank():
    alike = [(20, -6, 10)] * 3
    low = bank_of(*alike).skills
    other = Skill(
        id="o", title="o", principle="p", category="cool", exams=Exams(pairs=20, gain=6, squares=10)
    )
    found = estimates(SkillBank((*low, other)))
    assert found["s0"].mean == pytest.approx(-0.3)  # not pulled up by the other category
    assert -0.3 < found["o"].mean < 0.3  # pulled down by the rest of the bank


def test_shrinkage_is_stronger_for_fewer_pairs_and_keeps_half_of_the_error():
    found = estimates(bank_of((8, 4, 4), (80, 40, 40), (40, 0, 10), (40, 2, 10)))
    assert found["s0"].mean < found["s1"].mean <= 0.5
    _, variance = moments_of(Exams(pairs=8, gain=4, squares=4))
    assert found["s0"].high - found["s0"].low > 2 * 1.96 * np.sqrt(variance / 2)


def test_states_and_words():
    assert Estimate(0.1, 0.01, 0.2, 9).state == 1
    assert Estimate(-0.1, -0.2, -0.01, 9).state == -1
    assert Estimate(0.1, 0.0, 0.2, 9).state == 0
    assert describe(Estimate(-0.12, -0.25, -0.02, 40)) == "-12 points (-25 to -2) in 40 pairs"


def test_only_an_interval_below_zero_retires():
    bank = bank_of((40, -24, 26), (40, -4, 20), (40, 20, 24), (0, 0, 0))
    (verdict,) = verdicts(bank)
    assert verdict.target == "s0"
    assert verdict.reason.startswith("hurts: -")
    assert "in 40 pairs" in verdict.reason
    left = bank.apply(verdicts(bank), step=7)
    assert [skill.id for skill in left.skills] == ["s1", "s2", "s3"]
    assert left.history[-1].action == "retired"
    assert left.history[-1].reason == verdict.reason


def test_a_handful_of_pairs_retires_nothing():
    assert verdicts(bank_of((7, -7, 7))) == ()
    assert verdicts(bank_of((12, -12, 12)))


counts_of_outcomes = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))


@settings(max_examples=30, deadline=None)
@given(st.lists(counts_of_outcomes, max_size=6))
def test_intervals_hold_their_mean_and_stay_in_bounds(counts):
    exams = [(b + w + s, b - w, b + w) for b, w, s in counts]
    found = estimates(bank_of(*exams))
    mirrored = estimates(bank_of(*((n, -g, q) for n, g, q in exams)))
    assert len(found) == sum(n > 0 for n, _, _ in exams)
    for name, estimate in found.items():
        assert -1 <= estimate.low < estimate.high <= 1
        assert estimate.low - 1e-9 <= estimate.mean <= estimate.high + 1e-9
        assert estimate.mean == pytest.approx(-mirrored[name].mean, abs=1e-9)
        assert estimate.low == pytest.approx(-mirrored[name].high, abs=1e-9)


def test_intervals_hold_the_truth_and_harmful_skills_go():
    """Calibration in small; benchmarks/exam_calibration.py has more seeds, budgets and designs."""
    outcomes = [simulated.run(s, design="paired", episodes=192, events=6) for s in range(4)]
    looks = [covered for outcome in outcomes for covered in outcome.covered]
    retired = {
        kind: np.mean([outcome.reached[-1][kind] for outcome in outcomes])
        for kind in simulated.WORTHS
    }
    assert np.mean(looks) > 0.9
    assert retired["harmful"] >= 0.75
    assert retired["helpful"] == 0
    assert retired["neutral"] <= 0.1
