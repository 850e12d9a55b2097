"""pass@1 and pass@k: hand-counted, against all draws of k episodes, with tasks as the units."""

import itertools

import pytest

from skillrl.errors import SkillRLError
from skillrl.evaluation.intervals import mean_interval, wilson
from skillrl.evaluation.repeats import pass_at_k, pass_rates
from skillrl.types import Task, Trajectory


def episodes(*outcomes: str) -> list[Trajectory]:
    """A task per text: w won, l lost, e errored, one letter a repeat."""
    return [
        Trajectory(
            task=Task(id=f"t{at}", split="valid_seen", category="pick", goal="go"),
            prefix_ids=(),
            steps=(),
            won=letter == "w",
            repeat=repeat,
            error="gone" if letter == "e" else "",
        )
        for at, letters in enumerate(outcomes)
        for repeat, letter in enumerate(letters)
    ]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_pass_at_k_is_the_share_of_draws_with_a_win(n):
    for won in range(n + 1):
        played = [True] * won + [False] * (n - won)
        for k in range(1, n + 1):
            draws = [any(draw) for draw in itertools.combinations(played, k)]
            assert pass_at_k(n, won, k=k) == pytest.approx(sum(draws) / len(draws))


def test_pass_at_k_refuses_what_cannot_be():
    for n, won, k in ((3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)):
        with pytest.raises(SkillRLError, match="pass@"):
            pass_at_k(n, won, k=k)


def test_rates_average_over_tasks():
    found = pass_rates(episodes("ww", "wl", "ll"), 2)
    assert found["1"] == {
        "rate": 0.5,
        "tasks": 3,
        **dict(
            zip(("low", "high"), mean_interval([1.0, 0.5, 0.0], low=0.0, high=1.0), strict=True)
        ),
    }
    assert found["2"]["rate"] == pytest.approx(2 / 3)
    assert (found["2"]["low"], found["2"]["high"]) == wilson(2, 3)


def test_equal_repeats_are_one_sample_of_a_task():
    found = pass_rates(episodes("www", "lll", "lll", "www"), 3)
    assert (
        found["1"]
        == found["3"]
        == {
            "rate": 0.5,
            "tasks": 4,
            **dict(zip(("low", "high"), wilson(2, 4), strict=True)),
        }
    )


def test_errors_leave_a_task_out_of_pass_at_k():
    found = pass_rates(episodes("we", "wl", "ee"), 2)
    assert (found["1"]["rate"], found["1"]["tasks"]) == (0.75, 2)
    assert (found["2"]["rate"], found["2"]["tasks"]) == (1.0, 1)
    none = {"rate": None, "tasks": 0, "low": None, "high": None}
    assert pass_rates(episodes("ee"), 2) == {"1": none, "2": none}
