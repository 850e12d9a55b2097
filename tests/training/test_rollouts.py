"""Groups of episodes as samples with advantages, and which tasks an iteration plays."""

import dataclasses

import numpy as np
import pytest

from skillrl.config.settings import RLConfig
from skillrl.training.rollouts import choose_tasks, episode_return, to_samples
from skillrl.types import Step, Task, Trajectory

TASKS = [
    Task(id=f"train/{i:04d}", split="train", category="pick", goal=f"goal {i}") for i in range(10)
]
PAIRS = RLConfig(group_size=2)


def episode(won, invalid, *, member=0, error="", score=None, task=TASKS[0]):
    """An episode with a step per entry of `invalid`; tokens say member and step."""
    steps = tuple(
        Step(
            observation=f"see {i}",
            admissible=(),
            suffix_ids=(member, i),
            response_ids=(50 + member, i),
            logprobs=(-0.5, -0.25),
            response="",
            action="look",
            invalid=why,
        )
        for i, why in enumerate(invalid)
    )
    score = float(won) if score is None else score
    return Trajectory(
        task=task, prefix_ids=(1, 2), steps=steps, won=won, score=score, member=member, error=error
    )


def advantages(groups):
    return [[s.advantage for s in group] for group in groups]


def test_success_failure_and_invalid_by_hand():
    group = [
        episode(True, ["", ""], member=0),
        episode(False, ["", "malformed"], member=1),
        episode(False, [""], member=2),
        episode(True, ["not admissible"], member=3),
    ]
    found = to_samples(group, RLConfig(group_size=4, invalid_action_penalty=0.1))
    high = 0.5 / (np.sqrt(4 * 0.25 / 3) + 1e-6)  # (1 - 0.5) / (unbiased std + eps)
    expected = [high, high, -high, -high - 0.1, -high, high - 0.1]
    np.testing.assert_allclose(advantages(found)[0], expected, rtol=1e-6)
    first, second = found[0][0], found[0][3]
    assert (first.prefix_ids, first.suffix_ids, first.response_ids) == ((1, 2), (0, 0), (50, 0))
    assert first.old_logprobs == (-0.5, -0.25)
    assert (second.suffix_ids, second.response_ids) == ((1, 1), (51, 1))
    assert [s.trajectory for s in found[0]] == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize("won", [True, False])
def test_a_group_without_variance_has_the_penalty_alone(won):
    group = [episode(won, ["", "malformed"]), episode(won, [""], member=1)]
    found = to_samples(group, RLConfig(group_size=2, invalid_action_penalty=0.25))
    assert advantages(found) == [[0.0, -0.25, 0.0]]


def test_a_filter_leaves_out_groups_that_teach_nothing_but_the_penalty():
    lost = [episode(False, ["", "malformed"]), episode(False, [""], member=1)]
    mixed = [episode(True, [""], task=TASKS[1]), episode(False, ["bad"], member=1, task=TASKS[1])]
    whole = to_samples([*lost, *mixed], PAIRS)
    kept = to_samples([*lost, *mixed], dataclasses.replace(PAIRS, zero_variance_filter=True))
    assert [len(group) for group in whole] == [3, 2]
    assert kept == [[], whole[1]]  # trajectories keep their numbers


def test_a_filter_keeps_what_another_estimator_learns_from_episodes_that_ended_alike():
    # Both win, one sooner: the steps that they share differ in their discounted returns.
    group = [episode(True, [""] * 4), episode(True, [""] * 2, member=1)]
    group = [
        dataclasses.replace(t, steps=(*t.steps[:-1], dataclasses.replace(t.steps[-1], reward=1.0)))
        for t in group
    ]
    filtered = RLConfig(group_size=2, zero_variance_filter=True)
    assert to_samples(group, filtered) == [[]]
    found = to_samples(group, dataclasses.replace(filtered, advantage="gigpo"))
    assert len(found[0]) == 6


def test_errored_episodes_are_left_out_of_rows_and_statistics():
    trajectories = [
        episode(True, [""]),
        episode(False, [""], member=1),
        episode(False, [], member=2, error="ConnectionError: gone"),
        *(episode(False, [], member=m, error="gone", task=TASKS[1]) for m in range(3)),
        episode(True, [""], task=TASKS[2]),
        episode(True, [""], member=1, task=TASKS[2]),
        episode(True, [""], member=2, task=TASKS[2]),
    ]
    found = to_samples(trajectories, RLConfig(group_size=3))
    high = 0.5 / (np.sqrt(0.5) + 1e-6)
    assert [len(group) for group in found] == [2, 0, 3]
    np.testing.assert_allclose(advantages(found)[0], [high, -high], rtol=1e-6)
    assert advantages(found)[2] == [0.0] * 3
    # Trajectory numbers are of the episodes that count, over all groups.
    assert [s.trajectory for group in found for s in group] == [0, 1, 2, 3, 4]


def test_all_errored_or_nothing_at_all():
    assert to_samples([episode(False, [], error="gone")] * 4, PAIRS) == [[], []]
    assert to_samples([], PAIRS) == []


def test_groups_do_not_mix():
    trajectories = [
        episode(True, [""]),
        episode(False, [""], member=1),
        episode(True, [""], task=TASKS[1]),
        episode(True, [""], member=1, task=TASKS[1]),
    ]
    found = advantages(to_samples(trajectories, PAIRS))
    assert found[0][0] > 0 > found[0][1]
    assert found[1] == [0.0, 0.0]


def test_the_reward_is_success_or_score():
    half = episode(False, [""], score=0.5)
    assert episode_return(half, "success") == 0.0
    assert episode_return(half, "score") == 0.5
    assert episode_return(episode(True, [""], score=0.5), "success") == 1.0
    group = [half, episode(False, [""], member=1, score=0.0)]
    assert advantages(to_samples(group, PAIRS)) == [[0.0, 0.0]]
    found = advantages(to_samples(group, RLConfig(group_size=2, reward="score")))[0]
    assert found[0] > 0 > found[1]


# --- tasks ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_every_task_once_per_pass_and_none_twice_in_an_iteration(count):
    iterations = [choose_tasks(TASKS, count, iteration=i, seed=5) for i in range(30)]
    played = [task.id for tasks in iterations for task in tasks]
    assert all(len(tasks) == len({t.id for t in tasks}) == count for tasks in iterations)
    everything = sorted(t.id for t in TASKS)
    passes = [played[at : at + 10] for at in range(0, len(played) - 9, 10)]
    assert all(sorted(one) == everything for one in passes)
    if len(passes) > 3:
        assert len({tuple(one) for one in passes}) > 1  # each pass has an order of its own


def test_an_iteration_needs_only_its_number_and_the_seed():
    assert choose_tasks(TASKS, 4, iteration=17, seed=5) == choose_tasks(
        list(TASKS), 4, iteration=17, seed=5
    )
    assert choose_tasks(TASKS, 10, iteration=0, seed=5) != choose_tasks(
        TASKS, 10, iteration=0, seed=6
    )


def test_fewer_tasks_than_asked_for_come_again():
    found = [t.id for t in choose_tasks(TASKS[:3], 8, iteration=0, seed=0)]
    assert sorted(found[:3]) == sorted(found[3:6]) == [t.id for t in TASKS[:3]]
    assert len(found) == 8
