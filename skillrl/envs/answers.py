"""Checks the answers of an environment where they come in: here once, for everybody.

Whoever plays an environment opens its handles with `open_handle`. What passes has the types
that `skillrl.types` promises, finite numbers and valid text (a list of actions becomes a tuple,
a number of NumPy's one of Python's); everything else ends the one episode with a message that
names the environment, the call and the value.
"""

from __future__ import annotations

import dataclasses
import logging
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.envs.base import Environment, Expert, Move, Suite
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.io.numbers import is_number
from skillrl.io.text import repair
from skillrl.types import Observation, StepResult, Task

MAX_CHARACTERS = 16_000_000
"""Of an observation and its admissible actions together."""

_LOG = logging.getLogger(__name__)
_SHOWN = 160


class BadAnswer(EnvironmentLost):
    """An environment raised in a call, or its answer is none. Ends this one episode."""

    def __init__(self, message: str):
        super().__init__(message, rejected=True)  # the others are in no danger


class Handle:
    """Wraps the handle of an environment and checks its answers.

    A `SkillRLError` (what is the user's to repair) and an `EnvironmentLost` pass as they are.
    """

    def __init__(self, environment: Environment, name: str):
        """Wraps a handle; `name` is that of the environment, for messages."""
        self._environment, self._name = environment, name
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        """Starts `task` afresh.

        Raises:
          BadAnswer: the environment raised, or answered with something else.
        """
        self._steps = 0
        try:
            seen = self._environment.reset(task)
        except (SkillRLError, EnvironmentLost):
            raise
        except Exception as error:
            raise _raised(self._name, f"reset of task {shown(task.id)}", error) from error
        seen = _plain_observation(seen)
        problem = problem_of_observation(seen)
        if problem:
            raise BadAnswer(f"{self._name}: reset of task {shown(task.id)}: {problem}")
        return valid_text(seen)

    def step(self, action: str) -> StepResult:
        """Plays one action.

        Raises:
          BadAnswer: the environment raised, or answered with something else.
        """
        self._steps += 1
        try:
            result = self._environment.step(action)
        except (SkillRLError, EnvironmentLost):
            raise
        except Exception as error:
            raise _raised(self._name, self._step(action), error) from error
        result = _plain_result(result)
        problem = problem_of_result(result)
        if problem:
            raise BadAnswer(f"{self._name}: {self._step(action)}: {problem}")
        seen = valid_text(result.observation)
        if seen is result.observation:
            return result
        return dataclasses.replace(result, observation=seen)

    def close(self) -> None:
        """Releases whatever the handle holds; an exception there is logged, and costs nothing."""
        try:
            self._environment.close()
        except Exception as error:
            _LOG.warning("%s", _raised(self._name, "close", error))

    def _step(self, action: str) -> str:
        return f"step {self._steps} ({shown(action, 80)})"


def open_handle(suite: Suite) -> Handle:
    """Returns a new handle of `suite` whose answers are checked.

    Raises:
      BadAnswer: the suite raised.
    """
    name = name_of(suite)
    try:
        return Handle(suite.make(), name)
    except (SkillRLError, EnvironmentLost):
        raise
    except Exception as error:
        raise _raised(name, "make", error) from error


def next_move(expert: Expert, seen: Observation, name: str) -> Move:
    """Returns what an expert of the environment `name` does next.

    Raises:
      BadAnswer: it raised, or its answer is no `Move` of two strings.
    """
    try:
        move: object = expert.act(seen)
    except (SkillRLError, EnvironmentLost):
        raise
    except Exception as error:
        raise _raised(name, "the expert's act", error) from error
    if not isinstance(move, Move):
        raise BadAnswer(f"{name}: the expert's act returned {shown(move)}, no skillrl.envs.Move")
    for value in (move.thought, move.action):
        if not isinstance(value, str):
            raise BadAnswer(f"{name}: the expert's {shown(move)} holds a {type(value).__name__}")
    thought, action = repair(move.thought), repair(move.action)
    return move if (thought, action) == (move.thought, move.action) else Move(thought, action)


def name_of(suite: Suite) -> str:
    """Returns the environment's name, for messages."""
    return getattr(suite, "name", type(suite).__name__)


def problem_of_observation(seen: object) -> str:
    """Says why `seen` is no observation, or "".

    It is one where it is an `Observation` of a string and a tuple of strings, no longer than
    `MAX_CHARACTERS` in all.
    """
    if not isinstance(seen, Observation):
        return f"returned {shown(seen)}, which is no skillrl.Observation"
    text: object = seen.text
    offers: object = seen.admissible
    if not isinstance(text, str):
        return f"its text is {shown(text)}, a {type(text).__name__} and no string"
    if not isinstance(offers, tuple):
        kind = type(offers).__name__
        return f"its admissible actions are {shown(offers)}, a {kind} and no tuple of strings"
    size = len(text)
    for number, offer in enumerate(offers):
        if not isinstance(offer, str):
            kind = type(offer).__name__
            return f"its admissible action {number} is {shown(offer)}, a {kind} and no string"
        size += len(offer) + 1
    if size > MAX_CHARACTERS:
        return (
            f"its text ({len(text)} characters) and {len(offers)} admissible actions have {size} "
            f"characters, more than the {MAX_CHARACTERS} that are taken"
        )
    return ""


def problem_of_result(result: object) -> str:
    """Says why `result` is no answer to an action, or "".

    It is one where it is a `StepResult` with an observation, truth values, a finite reward and
    a score from 0 to 1.
    """
    if not isinstance(result, StepResult):
        return f"returned {shown(result)}, which is no skillrl.StepResult"
    problem = problem_of_observation(result.observation)
    if problem:
        return problem.replace("returned", "its observation is", 1)
    for name in ("done", "won"):
        value = getattr(result, name)
        if not isinstance(value, bool):
            return f"{name} is {shown(value)}, a {type(value).__name__} and neither True nor False"
    for name in ("reward", "score"):
        value = getattr(result, name)
        if not is_number(value):
            return f"{name} is {shown(value)}, a {type(value).__name__} and no finite number"
    if not 0 <= result.score <= 1:
        return f"score is {result.score!r}, which does not lie between 0 and 1"
    return ""


def valid_text(seen: Observation) -> Observation:
    """Replaces lone surrogates in `seen`; returns the same object where it has none."""
    text, offers = repair(seen.text), repair(seen.admissible)
    if text is seen.text and offers is seen.admissible:
        return seen
    return Observation(text, offers)


def _plain_observation(seen: Any) -> Any:
    """Makes a list of admissible actions a tuple."""
    if isinstance(seen, Observation) and isinstance(seen.admissible, list):
        return dataclasses.replace(seen, admissible=tuple(seen.admissible))
    return seen


def _plain_result(result: Any) -> Any:
    """Makes NumPy's numbers Python's; returns the same object where `result` has none."""
    if not isinstance(result, StepResult):
        return result
    found = {
        name: value.item()
        for name in ("done", "won", "reward", "score")
        if isinstance(value := getattr(result, name), np.generic)
    }
    seen = _plain_observation(result.observation)
    if seen is not result.observation:
        found["observation"] = seen
    return dataclasses.replace(result, **found) if found else result


def _raised(name: str, call: str, error: Exception) -> BadAnswer:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name} line {last.lineno}"
    said = repair(f"{type(error).__name__}: {error}")
    return BadAnswer(f"{name}: {call} raised {said} ({place})")


def shown(value: object, limit: int = _SHOWN) -> str:
    """Returns a value as Python writes it, its middle left out where it is long; never raises."""
    if isinstance(value, str) and len(value) > 4 * limit:  # not written out to be cut
        value = value[: 2 * limit] + value[-2 * limit :]
    elif isinstance(value, bytes):
        value = value[: 4 * limit]
    elif isinstance(value, list | tuple) and len(value) > limit:
        return f"{shown(list(value[:3]), limit)[:-1]}, ... {len(value) - 3} more]"
    try:
        text = repr(value)
    except Exception as error:
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    half = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"
