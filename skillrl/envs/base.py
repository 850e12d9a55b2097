"""Defines what an environment is: a suite of tasks, and handles that play them.

To add an environment, write one file with a class like `Suite`, decorate it with
`@register("name")`, and train with ``--env=name --set env.module=FILE.py``.
docs/new_environment.md builds one from nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Protocol, runtime_checkable

from skillrl import extensions
from skillrl.envs.module import load_module
from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task, valid_texts

SPLITS = ("train", "valid_seen", "valid_unseen")


@runtime_checkable
class Environment(Protocol):
    """Plays one episode at a time. Deterministic given the task."""

    def reset(self, task: Task) -> Observation:
        """Starts `task` afresh."""

    def step(self, action: str) -> StepResult:
        """Plays one action. After ``done`` only `reset` may be called."""

    def close(self) -> None:
        """Releases whatever the handle holds. May be called twice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """Holds what an expert does next, and the short reason it gives (for demonstrations)."""

    thought: str
    action: str

    def __post_init__(self) -> None:
        valid_texts(self, "thought", "action")


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerForm:
    """Says how a response states its action, after the thought.

    Attributes:
      tags: with one tag, the action is the text between ``<tag>`` and ``</tag>``. With several,
        the response chooses one of them, and the action is the whole block, tags included:
        ``<search>who wrote Emma</search>``.
      instruction: the sentence that ends the shared part of every prompt and says so.
    """

    tags: tuple[str, ...] = ("action",)
    instruction: str = (
        "Think briefly inside <think> </think>, "
        "then give one admissible action inside <action> </action>."
    )


class Expert(Protocol):
    """Demonstrates, knowing only the goal and the text that an agent has seen.

    Where texts do not tell what was done, it may have a method ``played(action)``: whoever plays
    something else than its last move says so there, with "" for what was not possible.
    """

    def act(self, observation: Observation) -> Move:
        """Returns the next move, given the newest observation. Call once per step, in order."""


@runtime_checkable
class Suite(Protocol):
    """Offers all tasks of an environment, in fixed order, and a way to play them.

    Attributes:
      name: registered name.
      role: the sentence that tells the agent what it is.
      categories: task category -> the name shown in tables, in table order.
      simulated: what is generated rather than real ("generated games"), or "".
      max_steps: step limit of an episode.

    A suite may also have ``tags`` and ``instruction``, where its agents answer in another form
    than ``<action>...</action>``; see `AnswerForm`.
    """

    name: str
    role: str
    categories: Mapping[str, str]
    simulated: str
    max_steps: int

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the manifest of a split: every task once, in an order that never changes."""

    def make(self) -> Environment:
        """Returns a new handle. Handles are independent and may live on different threads."""

    def expert(self, task: Task) -> Expert | None:
        """Returns a fresh demonstrator for one episode of `task`; None where there is none."""


_SUITES: dict[str, Callable[..., Suite]] = {}

_BUILTIN = {
    "agentgym_alfworld": "skillrl.envs.remote",
    "agentgym_webshop": "skillrl.envs.remote",
    "alfworld": "skillrl.envs.alfworld",
    "openenv": "skillrl.envs.remote",
    "search": "skillrl.envs.search",
    "webshop": "skillrl.envs.webshop",
}
"""Environments that ship -> the module whose import registers them; imported when asked for."""

_ENTRY_POINTS = "skillrl.environments"
"""Group of Python entry points through which installed packages add environments."""


def register(name: str) -> Callable[[Callable[..., Suite]], Callable[..., Suite]]:
    """Registers a suite class or factory under `name`; it is called with an EnvConfig.

    Raises:
      SkillRLError: the name is taken, or is that of an environment that ships.
    """

    def add(factory: Callable[..., Suite]) -> Callable[..., Suite]:
        home = getattr(factory, "__module__", "")
        if name in _BUILTIN and home.partition(".")[0] != "skillrl":
            raise SkillRLError(
                f"environment {name!r} of {home} has the name of one that ships; choose another"
            )
        extensions.register("environment", name, factory, registry=_SUITES)
        return factory

    return add


@contextlib.contextmanager
def registered(**suites: Callable[..., Suite]) -> Iterator[None]:
    """Registers suites for the length of a block, by their names.

    What else is registered inside the block (by a file that `make_suite` imports, say) is
    forgotten at its end as well; only environments that ship stay, since their modules are
    imported once.

        with registered(toy=ToySuite):
            make_suite("toy", EnvConfig())

    Args:
      **suites: name -> suite class or factory, called with an EnvConfig.

    Raises:
      SkillRLError: a name is taken.
    """
    before = dict(_SUITES)
    try:
        for name, factory in suites.items():
            register(name)(factory)
        yield
    finally:
        shipped = {name: factory for name, factory in _SUITES.items() if name in _BUILTIN}
        _SUITES.clear()
        _SUITES.update({**shipped, **before})


def names() -> list[str]:
    """Returns, sorted, the names that ship, that were registered, and that packages add."""
    return sorted({*_BUILTIN, *_SUITES, *_entry_points()})


def make_suite(name: str, config: Any) -> Suite:
    """Returns the suite registered as `name`, configured by an `EnvConfig`.

    ``config.module`` is imported first: a file or a dotted module that registers it.

    Raises:
      SkillRLError: no such environment (the message lists those there are), or the module
        cannot be imported.
    """
    module = getattr(config, "module", "")
    if module:
        _SUITES.update(load_module(module, _SUITES))
    if name not in _SUITES:
        if name in _BUILTIN:
            importlib.import_module(_BUILTIN[name])
        elif (point := _entry_points().get(name)) is not None:
            _SUITES[name] = _load(name, point)
        else:
            raise SkillRLError(
                f"--env={name}: no such environment. There are: {', '.join(names())}. "
                "A new one is one file with a class decorated by @skillrl.envs.register, named "
                "with --set env.module=FILE.py."
                + (f" {module} was imported and registers no {name!r}." if module else "")
            )
    return _SUITES[name](config)


def answer_form(suite: Suite) -> AnswerForm:
    """Returns the form in which agents of `suite` answer."""
    default = AnswerForm()
    return AnswerForm(
        tuple(getattr(suite, "tags", default.tags)),
        getattr(suite, "instruction", default.instruction),
    )


def is_admissible(action: str, admissible: Sequence[str]) -> bool:
    """Returns whether `action` is on offer, ``verb[<placeholder>]`` standing for any argument."""
    if action in admissible:
        return True
    for offer in admissible:
        head, bracket, rest = offer.partition("[<")
        if bracket and rest.endswith(">]") and action.startswith(head + "[") and action[-1] == "]":
            return len(action) > len(head) + 2
    return False


def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=_ENTRY_POINTS)}


def _load(name: str, point: metadata.EntryPoint) -> Callable[..., Suite]:
    """Returns what an entry point names: a suite class, or a module that registers one."""
    try:
        found = point.load()
    except Exception as error:
        raise SkillRLError(
            f"--env={name}: the package that provides it cannot be imported ({point.value}: "
            f"{type(error).__name__}: {error}). Repair or uninstall it."
        ) from error
    return _SUITES.get(name, found)
