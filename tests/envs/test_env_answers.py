"""The door for an environment's answers: what passes, what is repaired, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from skillrl.envs import answers
from skillrl.envs.answers import BadAnswer, open_handle
from skillrl.envs.base import Move
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.types import Observation, StepResult, Task

TASK = Task(id="train/0000", split="train", category="one", goal="do it")
SEEN = Observation("A room.", ("go", "stay"))
HALF = "\ud83d"  # the first half of an emoji


class Said:
    """A suite and its own handle, which answers with what it was given or raises it."""

    name = "odd"

    def __init__(self, reset=SEEN, step=None):
        self.answers = {"reset": reset, "step": step}

    def make(self):
        return self

    def reset(self, task):
        return self.answer("reset")

    def step(self, action):
        return self.answer("step")

    def answer(self, call):
        if isinstance(self.answers[call], Exception):
            raise self.answers[call]
        return self.answers[call]

    def close(self):
        self.closed = True


def test_valid_answers_pass_as_the_objects_that_they_are():
    result = StepResult(observation=SEEN, done=True, won=False, reward=-3, score=0.5)
    suite = Said(step=result)
    handle = open_handle(suite)
    assert handle.reset(TASK) is SEEN
    assert handle.step("go") is result
    handle.close()
    assert suite.closed


def test_a_list_of_actions_and_numbers_of_numpy_become_plain():
    result = StepResult(
        observation=Observation("x", ["a"]),
        done=np.bool_(True),
        won=np.bool_(False),
        reward=np.float32(0.5),
        score=np.int64(1),
    )
    handle = open_handle(Said(reset=Observation("x", ["a", "b"]), step=result))
    assert handle.reset(TASK) == Observation("x", ("a", "b"))
    made = handle.step("a")
    assert made == StepResult(
        observation=Observation("x", ("a",)), done=True, won=False, reward=0.5, score=1
    )
    kinds = [type(getattr(made, name)) for name in ("done", "won", "reward", "score")]
    assert kinds == [bool, bool, float, int]


def test_half_an_emoji_is_replaced_and_nothing_else():
    result = StepResult(
        observation=Observation(f"a{HALF}b", ("go", HALF)),
        done=True,
        won=True,
        reward=1.0,
        score=1.0,
    )
    handle = open_handle(Said(reset=Observation(HALF), step=result))
    assert handle.reset(TASK) == Observation("\ufffd")
    assert handle.step("go") == StepResult(
        observation=Observation("a\ufffdb", ("go", "\ufffd")),
        done=True,
        won=True,
        reward=1.0,
        score=1.0,
    )


class Unwritable:
    def __repr__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "returned None, which is no skillrl.Observation"),
        ("A room.", "returned 'A room.'"),
        ((SEEN, {}), "returned (Observation"),
        (Unwritable(), "a Unwritable whose repr raises ZeroDivisionError"),
        (Observation(None), "its text is None, a NoneType and no string"),
        (Observation(b"A room."), "its text is b'A room.', a bytes and no string"),
        (Observation("x", {"go"}), "its admissible actions are {'go'}, a set and no tuple"),
        (Observation("x", None), "a NoneType and no tuple"),
        (Observation("x", "go"), "are 'go', a str and no tuple"),
        (Observation("x", ("go", b"stay")), "admissible action 1 is b'stay', a bytes"),
        (Observation("x", [1] * 10**6), "its admissible action 0 is 1, a int and no string"),
        ([1] * 10**6, "[1, 1, 1, ... 999997 more]"),
        (Observation("x" * 16_000_001), "16000001 characters, more than the 16000000"),
        (Observation("", ("x" * 999_999,) * 17), "and 17 admissible actions have 17000000"),
    ],
)
def test_what_is_no_observation_is_refused_with_its_value(value, words):
    with pytest.raises(BadAnswer) as caught:
        open_handle(Said(reset=value)).reset(TASK)
    message = str(caught.value)
    assert message.startswith("odd: reset of task 'train/0000': ")
    assert words in message
    assert len(message) < 500
    if isinstance(value, Observation):  # likewise within the answer to an action
        handle = open_handle(Said(step=StepResult(observation=value, done=False, won=False)))
        with pytest.raises(BadAnswer, match=r"odd: step 1 \('go'\): its "):
            handle.step("go")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned None, which is no skillrl.StepResult"),
        (SEEN, "no skillrl.StepResult"),
        (StepResult(observation=None, done=False, won=False), "its observation is None"),
        (
            StepResult(observation=SEEN, done=1, won=False),
            "done is 1, a int and neither True nor False",
        ),
        (StepResult(observation=SEEN, done=False, won=None), "won is None"),
        (
            StepResult(observation=SEEN, done=False, won=False, reward="1"),
            "reward is '1', a str and no finite number",
        ),
        (StepResult(observation=SEEN, done=False, won=False, reward=float("nan")), "reward is nan"),
        (StepResult(observation=SEEN, done=False, won=False, reward=float("inf")), "reward is inf"),
        (
            StepResult(observation=SEEN, done=False, won=False, reward=0.0, score=float("nan")),
            "score is nan",
        ),
        (
            StepResult(observation=SEEN, done=False, won=False, reward=0.0, score=True),
            "score is True, a bool",
        ),
        (
            StepResult(observation=SEEN, done=False, won=False, reward=0.0, score=1.5),
            "score is 1.5, which does not lie between",
        ),
        (
            StepResult(observation=SEEN, done=False, won=False, reward=0.0, score=-0.1),
            "score is -0.1",
        ),
    ],
)
def test_what_is_no_answer_to_an_action_is_refused_with_its_value(result, words):
    handle = open_handle(Said(step=result))
    handle.reset(TASK)
    with pytest.raises(BadAnswer) as caught:
        handle.step("go")
    assert str(caught.value).startswith("odd: step 1 ('go'): ")
    assert words in str(caught.value)


def test_an_exception_names_the_environment_the_call_and_the_line():
    handle = open_handle(Said(reset=ValueError("no board"), step=KeyError(HALF)))
    with pytest.raises(
        BadAnswer, match=r"^odd: reset of task 'train/0000' raised ValueError: no board \(test_"
    ):
        handle.reset(TASK)
    with pytest.raises(BadAnswer, match=r"^odd: step 1 \('xxx.*\.\.\. .*x'\) raised KeyError: .*"):
        handle.step("x" * 1000)


@pytest.mark.parametrize("error", [SkillRLError("yours"), EnvironmentLost("gone")])
def test_errors_with_a_meaning_pass_as_they_are(error):
    handle = open_handle(Said(reset=error, step=error))
    for call in (lambda: handle.reset(TASK), lambda: handle.step("go")):
        with pytest.raises(type(error)) as caught:
            call()
        assert caught.value is error


def test_a_handle_that_cannot_be_made_or_closed_is_named(caplog):
    suite = Said()
    suite.make = lambda: 1 / 0
    with pytest.raises(BadAnswer, match=r"^odd: make raised ZeroDivisionError: division by zero"):
        open_handle(suite)
    suite = Said()
    suite.close = lambda: 1 / 0
    open_handle(suite).close()  # what was played is not lost for it
    assert (
        "odd: close raised ZeroDivisionError: division by zero (test_env_answers.py" in caplog.text
    )


class Shows:
    def __init__(self, move):
        self.move = move

    def act(self, seen):
        return self.move() if callable(self.move) else self.move


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (None, "the expert's act returned None, no skillrl.envs.Move"),
        (("up", "go up"), "returned ('up', 'go up')"),
        (Move("up", None), "holds a NoneType"),
        (Move(b"up", "go"), "holds a bytes"),
        (lambda: 1 / 0, "the expert's act raised ZeroDivisionError"),
    ],
)
def test_what_is_no_move_of_an_expert_is_refused(move, words):
    with pytest.raises(BadAnswer) as caught:
        answers.next_move(Shows(move), SEEN, "odd")
    assert str(caught.value).startswith("odd: ")
    assert words in str(caught.value)


def test_a_move_passes_as_it_is_but_for_half_characters():
    move = Move("up", "go up")
    assert answers.next_move(Shows(move), SEEN, "odd") is move
    assert answers.next_move(Shows(Move(HALF, "a")), SEEN, "odd") == Move("\ufffd", "a")


def test_a_bad_answer_is_one_episode_and_no_sign_that_the_server_is_gone():
    assert isinstance(BadAnswer("x"), EnvironmentLost)
    assert BadAnswer("x").rejected
