"""Plays the games of tasks in the native engine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol

from skillrl.envs.alfworld.engine import GameEngine, GameReply
from skillrl.envs.alfworld.generate import make_game
from skillrl.envs.alfworld.layout import Spec
from skillrl.envs.alfworld.world import GameWorld, load_game
from skillrl.errors import SkillRLError
from skillrl.types import Task

_CACHED_GAMES = 1024


class Backend(Protocol):
    """Plays one game at a time, in one of the two engines."""

    def reset(self, task: Task) -> GameReply:
        """Starts the game of `task`."""

    def step(self, command: str) -> GameReply:
        """Plays one command of the running game."""

    def close(self) -> None:
        """Releases what it holds. May be called twice."""


class NativeBackend:
    """Plays in the engine of this package, which has no step limit and goes on after a win."""

    def __init__(self) -> None:
        self._engine: GameEngine | None = None

    def reset(self, task: Task) -> GameReply:
        """Starts the game; raises SkillRLError where it cannot be loaded or made."""
        game = game_of(task)
        self._engine = GameEngine(_loaded(game) if isinstance(game, str) else _generated(game))
        return self._engine.reset()

    def step(self, command: str) -> GameReply:
        """Plays one command; `reset` comes first."""
        assert self._engine is not None
        return self._engine.step(command)

    def close(self) -> None:
        """Drops the game."""
        self._engine = None


def game_of(task: Task) -> str | Spec:
    """Returns the game file of a task, or what its game is generated from.

    Raises:
      SkillRLError: the task is of another environment.
    """
    game: Any = task.payload.get("game")
    if isinstance(game, str):
        return game
    try:
        if not isinstance(game, Mapping):
            raise TypeError
        return Spec(
            scene=game["scene"],
            room_seed=game["room_seed"],
            category=task.category,
            task_seed=game["task_seed"],
            custom=game.get("custom", 0),
        )
    except (TypeError, KeyError):
        raise SkillRLError(
            f"task {task.id}: payload {dict(task.payload)!r} names no game; take tasks from "
            "AlfworldSuite.tasks"
        ) from None


@functools.lru_cache(maxsize=_CACHED_GAMES)
def _loaded(path: str) -> GameWorld:
    return load_game(path)


@functools.lru_cache(maxsize=_CACHED_GAMES)
def _generated(spec: Spec) -> GameWorld:
    return GameWorld.from_game(make_game(spec))
