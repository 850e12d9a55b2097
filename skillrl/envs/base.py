"""What an environment is: a suite of tasks, and handles that play them.

To add an environment, write one file with a class like `Suite`, decorate it with
`@register("name")`, and it can be trained with ``--env=name``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task

SPLITS = ("train", "valid_seen", "valid_unseen")


@runtime_checkable
class Environment(Protocol):
    """A handle that plays one episode at a time. Deterministic given the task."""

    def reset(self, task: Task) -> Observation:
        """Starts `task` afresh."""

    def step(self, action: str) -> StepResult:
        """Plays one action. After ``done`` only `reset` may be called."""

    def close(self) -> None:
        """Releases whatever the handle holds. May be called twice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """What an expert does next, and the short reason it gives (for demonstrations)."""

    thought: str
    action: str


class Expert(Protocol):
    """A demonstrator that knows only the goal and the text an agent has seen."""

    def act(self, observation: Observation) -> Move:
        """The next move, given the newest observation. Call once per step, in order."""


@runtime_checkable
class Suite(Protocol):
    """All tasks of an environment, in fixed order, and a way to play them.

    Attributes:
      name: registered name.
      role: the sentence that tells the agent what it is.
      categories: task category -> the name shown in tables, in table order.
      simulated: what is generated rather than real ("generated games"), or "".
      max_steps: step limit of an episode.
    """

    name: str
    role: str
    categories: Mapping[str, str]
    simulated: str
    max_steps: int

    def tasks(self, split: str) -> Sequence[Task]:
        """The manifest of a split: every task once, in an order that never changes."""

    def make(self) -> Environment:
        """A new handle. Handles are independent and may live on different threads."""

    def expert(self, task: Task) -> Expert | None:
        """A fresh demonstrator for one episode of `task`; None where there is none."""


_SUITES: dict[str, Callable[..., Suite]] = {}

# Names that later versions will register; they get a plain answer instead of "unknown".
_PLANNED = {"webshop": "WebShop", "search": "Search QA"}


def register(name: str) -> Callable[[Callable[..., Suite]], Callable[..., Suite]]:
    """Registers a suite class or factory under `name`; it is called with an EnvConfig."""

    def add(factory: Callable[..., Suite]) -> Callable[..., Suite]:
        if name in _SUITES:
            raise SkillRLError(f"environment {name!r} is registered twice; choose another name")
        _SUITES[name] = factory
        return factory

    return add


def names() -> list[str]:
    """Registered environments, sorted."""
    _import_builtin()
    return sorted(_SUITES)


def make_suite(name: str, config: Any) -> Suite:
    """The suite registered as `name`, configured by an `EnvConfig`.

    Raises:
      SkillRLError: no such environment; the message lists those there are.
    """
    _import_builtin()
    if name not in _SUITES:
        if name in _PLANNED:
            raise SkillRLError(
                f"--env={name}: {_PLANNED[name]} is not built yet in this version. "
                f"Use one of: {', '.join(sorted(_SUITES))}."
            )
        raise SkillRLError(
            f"--env={name}: no such environment. Registered: {', '.join(sorted(_SUITES))}. "
            "A new one is one file with a class decorated by @skillrl.envs.register."
        )
    return _SUITES[name](config)


def _import_builtin() -> None:
    from skillrl.envs import alfworld  # noqa: F401  (registers itself)
