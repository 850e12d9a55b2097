"""Shared by all tests: no network keys, parsed absl flags, and a tiny environment."""

from __future__ import annotations

import pytest
from absl import flags

from skillrl.envs import base
from skillrl.types import Observation, StepResult, Task

flags.FLAGS.mark_as_parsed()  # libraries read absl flags; pytest's arguments are not theirs


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may pick up, or send, a real API key."""
    for name in ("POLICY", "TEACHER", "EMBEDDING"):
        monkeypatch.delenv(f"SKILLRL_{name}_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


class ToyEnvironment:
    """One step: the action that repeats the goal wins."""

    def reset(self, task: Task) -> Observation:
        self._goal = task.goal
        return Observation(f"Say {task.goal}.", ("yes", "no"))

    def step(self, action: str) -> StepResult:
        won = action == self._goal
        return StepResult(Observation("The end."), True, won, float(won), float(won))

    def close(self) -> None:
        pass


class ToySuite:
    """Four one-step tasks per split, in two categories."""

    name = "toy"
    role = "You answer yes or no."
    categories = {"affirm": "Affirm", "deny": "Deny"}  # noqa: RUF012
    simulated = "toy tasks"
    max_steps = 1

    def __init__(self, config: object):
        self.config = config

    def tasks(self, split: str) -> list[Task]:
        answers = ["yes", "no", "yes", "no"]
        category = {"yes": "affirm", "no": "deny"}
        return [
            Task(f"{split}/{i:04d}", split, category[answer], answer)
            for i, answer in enumerate(answers)
        ]

    def make(self) -> ToyEnvironment:
        return ToyEnvironment()

    def expert(self, task: Task) -> None:
        return None


@pytest.fixture
def toy_env(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a registered environment that costs nothing."""
    monkeypatch.setitem(base._SUITES, "toy", ToySuite)
    return "toy"
