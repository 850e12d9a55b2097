"""ALFWorld as a suite: generated games by default, official-format files with ``data_dir``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.envs.alfworld.engine import Engine
from skillrl.envs.alfworld.expert import TemplateExpert
from skillrl.envs.alfworld.files import index_games
from skillrl.envs.alfworld.generate import CATEGORIES, make_game
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.alfworld.play import agent_observation
from skillrl.envs.alfworld.world import World, load_game
from skillrl.envs.base import SPLITS, register
from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task

_LOG = logging.getLogger(__name__)
_CACHED_GAMES = 1024
_SPEC_KEYS = ("scene", "room_seed", "task_seed")


@register("alfworld")
class AlfworldSuite:
    """Household tasks played through text.

    Args:
      config: ``data_dir``: a folder of official-format games, or "" for the generated ones;
        ``max_steps``: step limit of an episode.

    Raises:
      SkillRLError: `data_dir` holds no games, or `max_steps` is not positive.
    """

    name = "alfworld"
    role = "You are an agent in a household, seeing and acting only through text."
    categories: Mapping[str, str] = CATEGORIES

    def __init__(self, config: Any):
        if config.max_steps < 1:
            raise SkillRLError(f"max_steps={config.max_steps}: an episode needs at least one step")
        self.max_steps: int = config.max_steps
        self.simulated = "" if config.data_dir else "generated games"
        self._tasks = _file_tasks(config.data_dir) if config.data_dir else None

    def tasks(self, split: str) -> Sequence[Task]:
        """The fixed list of a split; raises SkillRLError for a split that does not exist."""
        if split not in SPLITS:
            raise SkillRLError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        if self._tasks is None:
            return _generated_tasks(split)
        return self._tasks.get(split, ())

    def make(self) -> AlfworldEnvironment:
        """A new, independent handle."""
        return AlfworldEnvironment(self.max_steps)

    def expert(self, task: Task) -> TemplateExpert | None:
        """A text-only expert, or None where the goal is a free sentence it cannot read."""
        try:
            return TemplateExpert(task.goal)
        except SkillRLError:
            return None  # the protocol's answer for "no demonstrator"


class AlfworldEnvironment:
    """Plays one task at a time. The text of a reset is the room alone: prompts state the task."""

    def __init__(self, max_steps: int):
        self._max_steps = max_steps
        self._engine: Engine | None = None
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        """Starts `task`; raises SkillRLError where its game cannot be loaded or made."""
        self._engine = Engine(_world_of(task))
        self._steps = 0
        reply = self._engine.reset()
        return agent_observation(reply.observation, reply.admissible)

    def step(self, action: str) -> StepResult:
        """Plays one action; what is not admissible changes nothing but costs a step.

        Raises:
          SkillRLError: there is no running episode.
        """
        if self._engine is None:
            raise SkillRLError("the episode is over or was never started: call reset(task) first")
        reply = self._engine.step(action)
        self._steps += 1
        done = reply.won or self._steps >= self._max_steps
        if done:
            self._engine = None
        return StepResult(
            observation=agent_observation(reply.observation, reply.admissible),
            done=done,
            won=reply.won,
            reward=float(reply.won),
            score=float(reply.won),
        )

    def close(self) -> None:
        """Drops the running episode, if any."""
        self._engine = None


@functools.lru_cache(maxsize=len(SPLITS))
def _generated_tasks(split: str) -> tuple[Task, ...]:
    return tuple(
        Task(
            id=entry["id"],
            split=split,
            category=entry["category"],
            goal=entry["goal"],
            payload={"game": {key: entry[key] for key in _SPEC_KEYS}},
        )
        for entry in load_manifest()[split]
    )


def _file_tasks(data_dir: str) -> dict[str, tuple[Task, ...]]:
    index = index_games(data_dir)
    if index.skipped:
        reasons = ", ".join(f"{count} ({why})" for why, count in sorted(index.skipped.items()))
        _LOG.warning("%s: games left out: %s", data_dir, reasons)
    if len({tuple(games) for games in index.values()}) == 1:
        _LOG.warning(
            "%s: has no split folders, so train and the held-out splits are the same games",
            data_dir,
        )
    return {
        split: tuple(
            Task(
                id=game.id,
                split=split,
                category=game.category,
                goal=game.goal,
                payload={"game": str(game.path)},
            )
            for game in games
        )
        for split, games in index.items()
    }


def _world_of(task: Task) -> World:
    game = task.payload.get("game")
    if isinstance(game, str):
        return _loaded(game)
    if not isinstance(game, Mapping) or not set(_SPEC_KEYS) <= set(game):
        raise SkillRLError(
            f"task {task.id}: payload {dict(task.payload)!r} names no game; take tasks from "
            "AlfworldSuite.tasks"
        )
    return _generated(task.category, *(game[key] for key in _SPEC_KEYS))


@functools.lru_cache(maxsize=_CACHED_GAMES)
def _loaded(path: str) -> World:
    return load_game(path)


@functools.lru_cache(maxsize=_CACHED_GAMES)
def _generated(category: str, scene: int, room_seed: int, task_seed: int) -> World:
    entry = {
        "category": category,
        "scene": scene,
        "room_seed": room_seed,
        "task_seed": task_seed,
    }
    return World.from_game(make_game(spec_of(entry)))
