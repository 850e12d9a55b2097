"""Intervals, levels and bars, by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.ablation.numbers import Wanted, answer, learning_speed
from skillrl.ablation.statistics import (
    Difference,
    compare_speed,
    iterations_to,
    mean_curve,
    pooled_difference,
    pooled_rate,
)
from skillrl.evaluation.intervals import paired_difference, wilson


def outcomes(won, *, repeat=0):
    return {(f"t{at}", repeat): bool(one) for at, one in enumerate(won)}


def test_pairs_are_pooled_and_seeds_are_units():
    first = [outcomes([1, 1, 1, 0]), outcomes([1, 1, 0, 0])]
    second = [outcomes([1, 0, 0, 0]), outcomes([0, 1, 0, 1])]
    found = pooled_difference(first, second)
    assert found.tasks == 8
    assert found.value == pytest.approx(2 / 8)  # gained 3, lost 1
    assert (found.low, found.high) == paired_difference(3, 1, n=8)
    assert found.per_seed == (0.5, 0.0)
    # mean 0.25, s = 0.3536, t_1 = 12.706: half = 12.706 * 0.3536 / sqrt 2 = 3.18, cut at 1
    assert (found.seeds_low, found.seeds_high) == (-1.0, 1.0)


def test_students_interval_over_three_seeds():
    first = [outcomes([1] * 3 + [0] * 7), outcomes([1] * 4 + [0] * 6), outcomes([1] * 5 + [0] * 5)]
    found = pooled_difference(first, [outcomes([0] * 10)] * 3)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert found.seeds_low == pytest.approx(0.4 - half, abs=1e-6)
    assert found.seeds_high == pytest.approx(0.4 + half, abs=1e-6)


def test_only_tasks_of_both_count_and_repeats_are_averaged_first():
    first = outcomes([1, 1]) | outcomes([0, 1], repeat=1) | {("alone", 0): True}
    second = outcomes([0, 1]) | outcomes([0, 0], repeat=1)
    found = pooled_difference([first], [second])  # tasks: (1 + 0) / 2, (0 + 1) / 2
    assert (found.tasks, found.value) == (2, 0.5)
    assert found.seeds_low is None
    assert pooled_difference([{}], [second]) == Difference(tasks=0)


@given(st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1), min_size=1))
def test_a_difference_turns_round_with_its_arms(seeds):
    first = [outcomes([a for a, _ in seed]) for seed in seeds]
    second = [outcomes([b for _, b in seed]) for seed in seeds]
    there, back = pooled_difference(first, second), pooled_difference(second, first)
    assert there.value == pytest.approx(-back.value)
    assert there.low - 1e-9 <= there.value <= there.high + 1e-9
    assert there.low == pytest.approx(-back.high, abs=1e-6)


def test_a_rate_has_its_mean_over_seeds_and_its_pool():
    found = pooled_rate([{"success": 0.5, "n": 10}, {"success": 0.8, "n": 30}])
    assert found.mean == pytest.approx(0.65)
    assert (found.n, found.pooled) == (40, 29 / 40)
    assert (found.pooled_low, found.pooled_high) == wilson(29, 40)
    assert pooled_rate([{"success": None, "n": 0}]) is None
    assert pooled_rate([{"success": 0.5, "n": 10}]).low is None


def test_a_level_is_reached_by_the_mean_of_four_iterations():
    curve = [0.2, 0.2, 0.9, 0.2, 0.2, 0.4, 0.6, 0.8]
    assert iterations_to(curve, 0.375) == 4  # (0.2 + 0.2 + 0.9 + 0.2) / 4
    assert iterations_to(curve, 0.5) == 8  # (0.2 + 0.4 + 0.6 + 0.8) / 4
    assert iterations_to(curve, 0.51) is None
    assert iterations_to([0.9, 0.9, 0.9], 0.5) is None


def test_speed_is_by_the_higher_of_both_starts():
    fast, slow = [0.4, 0.5, 0.6, 0.7], [0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5]
    found = compare_speed(fast, slow)  # level 0.5; means 0.55 after 4; 0.475 and 0.5 after 6 and 7
    assert found.level == pytest.approx(0.5)
    assert (found.first, found.second) == (4, 7)
    assert found.ratio == pytest.approx(4 / 7)
    assert not found.at_most


def test_a_run_that_never_comes_there_stands_for_itself():
    never = compare_speed([0.4, 0.5, 0.6, 0.7], [0.2] * 8)
    assert (never.ratio, never.at_most) == (0.5, True)
    assert compare_speed([0.2] * 8, [0.4, 0.5, 0.6, 0.7]).ratio is None
    assert compare_speed([], [0.2]) is None
    assert learning_speed({"full": [[0.4, 0.5], []], "grpo_sft": [[], []]}) is None


def test_curves_are_averaged_as_far_as_all_go():
    assert mean_curve([[0.0, 1.0, 1.0], [0.5, 0.5]]) == [0.25, 0.75]
    assert mean_curve([]) == []


@pytest.mark.parametrize(
    ("wanted", "value", "low", "met"),
    [
        (Wanted(low=8), 0.08, -0.1, True),
        (Wanted(low=8), 0.0799, 0.01, False),
        (Wanted(low=8, certain=True), 0.1, 0.0, False),
        (Wanted(low=8, certain=True), 0.1, 0.001, True),
        (Wanted(low=0, strictly=True), 0.0, -0.1, False),
        (Wanted(low=0, strictly=True), 0.001, -0.1, True),
        (Wanted(low=-4, high=4), -0.04, -0.1, True),
        (Wanted(low=-4, high=4), 0.041, -0.1, False),
        (Wanted(high=2), 0.02, -0.1, True),
        (Wanted(high=2), None, None, None),
    ],
)
def test_bars(wanted, value, low, met):
    assert wanted.met(Difference(tasks=10, value=value, low=low, high=1.0)) is met


def test_questions_are_answered_by_the_seeds_that_have_both_arms():
    there = {
        (0, "own"): outcomes([1, 1]),
        (0, "none"): outcomes([0, 1]),
        (1, "own"): outcomes([1, 1]),
    }

    def look(seed, played):
        return there.get((seed, played.bank)) if played.run == played.checkpoint == "sft" else None

    (found,) = answer("alfworld", [0, 1], look)
    assert found.what == "after the cold start, own - none"
    assert (found.found.tasks, found.found.value, found.met) == (2, 0.5, True)
