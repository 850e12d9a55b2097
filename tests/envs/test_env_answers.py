"""An environment's answers, checked where they enter."""

import numpy as np
import pytest

from skillrl.envs.answers import Malformed, checked_observation, checked_result
from skillrl.types import Observation, StepResult

SEEN = Observation("a room", ("look",))


def test_valid_answers_come_back_as_they_are():
    assert checked_observation(SEEN) is SEEN
    result = StepResult(SEEN, True, False, 1, 0.5)
    assert checked_result(result) is result


def test_numbers_of_numpy_become_pythons():
    made = checked_result(
        StepResult(SEEN, np.bool_(True), np.bool_(False), np.float32(0.5), np.int64(1))
    )
    assert made == StepResult(SEEN, True, False, 0.5, 1.0)
    assert [type(getattr(made, name)) for name in ("done", "won", "reward", "score")] == [
        bool, bool, float, float,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reward", "score"), [(10**400, 0), (np.array([1.0, 2.0]), 0), (None, 0), (0, float("inf"))]
)
def test_what_is_no_number_is_named(reward, score):
    with pytest.raises(Malformed, match=r"(reward|score) is a finite number"):
        checked_result(StepResult(SEEN, False, False, reward, score))


def test_a_list_of_actions_is_taken_for_a_tuple():
    assert checked_observation(Observation("x", ["a", "b"])) == Observation("x", ("a", "b"))
