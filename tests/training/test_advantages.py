import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.training import advantages
from skillrl.training.advantages import EpisodeBatch

# Group 7: returns 1 0 0 0 (mean 1/4, unbiased variance 1/4, so std 1/2); group 3: 1 1.
RETURNS = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
GROUP = [7, 7, 3, 7, 7, 3]


def batch(**changes):
    fields = {
        "returns": RETURNS,
        "group": GROUP,
        "step_episode": [0, 0, 1, 2, 3, 4, 5],
        "invalid": [0, 1, 0, 1, 0, 0, 0],
        "step_rewards": np.zeros(7),
        "anchor": np.arange(7),
    }
    return EpisodeBatch(**(fields | changes))


def test_grpo_by_hand():
    result = advantages.grpo(RETURNS, GROUP)
    np.testing.assert_allclose(result, [1.5, -0.5, 0, -0.5, -0.5, 0], rtol=1e-5)
    np.testing.assert_allclose(result[0], 0.75 / (0.5 + 1e-6), rtol=1e-12)
    assert (result[[2, 5]] == 0).all()


def test_dr_grpo_and_rloo_by_hand():
    np.testing.assert_allclose(
        advantages.grpo(RETURNS, GROUP, standardize=False), [0.75, -0.25, 0, -0.25, -0.25, 0]
    )
    # Against the mean of the three others: 1 - 0, and 0 - 1/3.
    third = -1 / 3
    np.testing.assert_allclose(advantages.rloo(RETURNS, GROUP), [1, third, 0, third, third, 0])


def test_the_order_and_the_names_of_groups_do_not_matter():
    order = np.array([5, 0, 3, 1, 4, 2])
    relabelled = np.array([{7: 100, 3: -2}[g] for g in GROUP])
    np.testing.assert_array_equal(
        advantages.grpo(np.array(RETURNS)[order], relabelled[order]),
        advantages.grpo(RETURNS, GROUP)[order],
    )


@pytest.mark.parametrize("value", [1.0, 0.1, 10.0, -0.3])
def test_a_group_of_ties_is_exactly_zero(value):
    # 0.1 summed three times and divided is not 0.1: the noise over 1e-6 would show.
    for function in (advantages.grpo, advantages.rloo):
        np.testing.assert_array_equal(function([value] * 3, [0] * 3), np.zeros(3))


def test_a_group_of_one_is_zero_and_no_episodes_are_no_advantages():
    for function in (advantages.grpo, advantages.rloo):
        np.testing.assert_array_equal(function([1.0, 0.0], [0, 1]), np.zeros(2))
        assert function([], []).shape == (0,)


def test_the_penalty_falls_on_its_own_step_in_groups_without_variance_too():
    result = advantages.estimate_grpo(batch(), penalty=0.1)
    assert result.dtype == np.float32
    expected = [1.5, 1.5 - 0.1, -0.5, -0.1, -0.5, -0.5, 0]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_grpo_over_steps_by_hand():
    # One group; episode 0 (R = 1) has three steps, the last invalid; episode 1 (R = 0) has one.
    result = advantages.grpo_over_steps(
        [1.0, 0.0], [0, 0], step_episode=[0, 0, 0, 1], invalid=[0, 0, 1, 0], penalty=0.1, eps=0.0
    )
    scores = np.array([1.0, 1.0, 0.9, 0.0])
    mean = 2.9 / 4
    std = np.sqrt((2 * 0.275**2 + 0.175**2 + 0.725**2) / 3)
    np.testing.assert_allclose(result, (scores - mean) / std, rtol=1e-6)


def test_grpo_over_steps_keeps_the_score_of_a_single_step():
    result = advantages.grpo_over_steps([1.0], [0], step_episode=[0], invalid=[1], penalty=0.25)
    np.testing.assert_allclose(result, [0.75], rtol=1e-5)


def test_discounted_returns_of_interleaved_episodes():
    rewards, episode = [0.0, 1.0, 4.0, 1.0, 2.0], [0, 1, 0, 1, 0]
    np.testing.assert_allclose(
        advantages.discounted_returns(rewards, episode, gamma=0.5),
        [0 + 0.5 * 5.0, 1 + 0.5 * 1, 4 + 0.5 * 2, 1, 2],
    )


def gigpo_batch(**changes):
    # Two episodes of one group meet at anchor 5 (step 0 of both); a third, of another
    # group, sees the same observation, which must not count.
    fields = {
        "returns": [1.0, 0.0, 0.0],
        "group": [0, 0, 1],
        "step_episode": [0, 0, 1, 2],
        "invalid": [0, 0, 1, 0],
        "step_rewards": [0.0, 1.0, 0.0, 0.0],
        "anchor": [5, 6, 5, 5],
    }
    return EpisodeBatch(**(fields | changes))


def test_gigpo_by_hand():
    result = advantages.estimate_gigpo(
        gigpo_batch(), penalty=0.1, gamma=0.5, step_weight=2.0, standardize=False
    )
    # Episode term +-1/2; step term at anchor 5: returns 1/2 and 0, so +-1/4, times 2.
    np.testing.assert_allclose(result, [0.5 + 0.5, 0.5, -0.5 - 0.5 - 0.1, 0.0])


def test_gigpo_without_meetings_is_grpo():
    apart = gigpo_batch(anchor=[0, 1, 2, 3])
    np.testing.assert_array_equal(
        advantages.estimate_gigpo(apart, penalty=0.1), advantages.estimate_grpo(apart, penalty=0.1)
    )


def test_gigpo_names_what_is_missing():
    with pytest.raises(SkillRLError, match=r"EpisodeBatch\.anchor"):
        advantages.estimate_gigpo(batch(anchor=None), penalty=0.0)
    with pytest.raises(SkillRLError, match="one entry per step"):
        advantages.estimate_gigpo(batch(anchor=[1, 2]), penalty=0.0)


@pytest.mark.parametrize("name", sorted(advantages.ESTIMATORS))
def test_every_estimator_takes_the_edges(name):
    estimate = advantages.get_estimator(name)
    assert estimate(batch(), penalty=0.1).shape == (7,)
    assert np.isfinite(estimate(batch(), penalty=0.1)).all()
    empty = EpisodeBatch(
        returns=[], group=[], step_episode=[], invalid=[], step_rewards=[], anchor=[]
    )
    assert estimate(empty, penalty=0.1).shape == (0,)
    for bad in (np.nan, np.inf):
        with pytest.raises(SkillRLError, match=r"returns\[1\]"):
            estimate(batch(returns=[1.0, bad, 0, 0, 0, 0]), penalty=0.1)
    with pytest.raises(SkillRLError, match="6 episodes"):
        estimate(batch(step_episode=[0, 0, 1, 2, 3, 4, 6]), penalty=0.1)
    with pytest.raises(SkillRLError, match="one entry per episode"):
        estimate(batch(group=[0, 1]), penalty=0.1)
    with pytest.raises(SkillRLError, match="one entry per step"):
        estimate(batch(invalid=[0, 1]), penalty=0.1)
    with pytest.raises(SkillRLError, match="penalty"):
        estimate(batch(), penalty=-0.1)


def test_a_wrong_name_lists_the_right_ones_and_a_name_is_taken_once():
    with pytest.raises(SkillRLError, match=r"'gpro'.*grpo"):
        advantages.get_estimator("gpro")
    with pytest.raises(SkillRLError, match="twice"):
        advantages.register_advantage("grpo")(advantages.estimate_rloo)
    assert advantages.get_estimator("grpo") is advantages.estimate_grpo
