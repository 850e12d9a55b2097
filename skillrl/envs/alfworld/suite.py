"""Offers ALFWorld as a suite: generated games, or official-format files with ``data_dir``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skillrl.config.settings import AlfworldConfig
from skillrl.envs.alfworld.customs import known_homes
from skillrl.envs.alfworld.expert import TemplateExpert
from skillrl.envs.alfworld.files import GameFile, data_directory, index_games
from skillrl.envs.alfworld.generate import CATEGORIES
from skillrl.envs.alfworld.manifest import load_manifest
from skillrl.envs.alfworld.native import Backend, NativeBackend, game_of
from skillrl.envs.alfworld.play import agent_observation
from skillrl.envs.alfworld.textworld import TextworldBackend, require_textworld
from skillrl.envs.base import SPLITS, register
from skillrl.errors import SkillRLError
from skillrl.types import Observation, StepResult, Task

_LOG = logging.getLogger(__name__)
_SPEC_KEYS = ("scene", "room_seed", "task_seed", "custom")


@register("alfworld")
class AlfworldSuite:
    """Offers household tasks that are played through text.

    Args:
      config: ``data_dir``: a folder of official-format games, ``env`` for the one that the
        variable ALFWORLD_DATA names, or "" for the generated ones; ``max_steps``: step limit
        of an episode; ``alfworld``: an `AlfworldConfig` (its defaults, if absent).

    Raises:
      SkillRLError: `data_dir` holds no games, `max_steps` is not positive, people's goals are
        asked of generated games, or the real engine is asked for and not installed.
    """

    name = "alfworld"
    role = "You are an agent in a household, seeing and acting only through text."
    categories: Mapping[str, str] = CATEGORIES

    def __init__(self, config: Any):
        if config.max_steps < 1:
            raise SkillRLError(f"max_steps={config.max_steps}: an episode needs at least one step")
        own = getattr(config, "alfworld", AlfworldConfig())
        data_dir = data_directory(config.data_dir)
        if own.goals == "human" and not data_dir:
            raise SkillRLError(
                "env.alfworld.goals=human: generated games have no goals in people's words. Give "
                "the released games with --set env.data_dir=DIR, or use "
                "env.alfworld.goals=template."
            )
        if own.engine == "textworld":
            require_textworld()
        self.max_steps: int = config.max_steps
        self.simulated = "" if data_dir else "generated games"
        self._human = own.goals == "human"
        self._backend: Callable[[], Backend] = (
            TextworldBackend if own.engine == "textworld" else NativeBackend
        )
        self._tasks = _file_tasks(data_dir, human=self._human) if data_dir else None

    def tasks(self, split: str) -> Sequence[Task]:
        """Returns the fixed list of a split; raises SkillRLError for an unknown split."""
        if split not in SPLITS:
            raise SkillRLError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        if self._tasks is None:
            return _generated_tasks(split)
        return self._tasks.get(split, ())

    def make(self) -> AlfworldEnvironment:
        """Returns a new, independent handle."""
        return AlfworldEnvironment(self.max_steps, self._backend())

    def expert(self, task: Task) -> TemplateExpert | None:
        """Returns a text-only expert, or None where the goal is a free sentence it cannot read.

        In a generated household it is somebody who lives there and knows where things are kept.
        """
        if self._human:
            return None  # a sentence that looks like a template need not mean what that means
        try:
            game = game_of(task)
            homes = known_homes(0 if isinstance(game, str) else game.custom)
            return TemplateExpert(task.goal, homes)
        except SkillRLError:
            return None  # the protocol's answer for "no demonstrator"


class AlfworldEnvironment:
    """Plays one task at a time. The text of a reset is the room alone: prompts state the task."""

    def __init__(self, max_steps: int, backend: Backend):
        self._max_steps = max_steps
        self._backend = backend
        self._running = False
        self._steps = 0

    def reset(self, task: Task) -> Observation:
        """Starts `task`; raises SkillRLError where its game cannot be loaded or made."""
        self._running = False
        reply = self._backend.reset(task)
        self._running = True
        self._steps = 0
        return agent_observation(reply.observation, reply.admissible)

    def step(self, action: str) -> StepResult:
        """Plays one action; what is not admissible changes nothing but costs a step.

        Raises:
          SkillRLError: there is no running episode.
        """
        if not self._running:
            raise SkillRLError("the episode is over or was never started: call reset(task) first")
        self._running = False  # for good, if the engine fails
        reply = self._backend.step(action)
        self._steps += 1
        done = reply.won or self._steps >= self._max_steps
        self._running = not done
        return StepResult(
            observation=agent_observation(reply.observation, reply.admissible),
            done=done,
            won=reply.won,
            reward=float(reply.won),
            score=float(reply.won),
        )

    def close(self) -> None:
        """Ends the running episode, if any, and the engine's process, if it has one."""
        self._running = False
        self._backend.close()


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


def _file_tasks(data_dir: str, *, human: bool) -> dict[str, tuple[Task, ...]]:
    index = index_games(data_dir)
    skipped = dict(index.skipped)
    silent = {game.id for games in index.values() for game in games if not game.human}
    if human and silent:
        skipped["no annotation with a goal"] = len(silent)
    if skipped:
        reasons = ", ".join(f"{count} ({why})" for why, count in sorted(skipped.items()))
        _LOG.warning("%s: games left out: %s", data_dir, reasons)
    if len({tuple(games) for games in index.values()}) == 1:
        _LOG.warning(
            "%s: has no split folders, so train and the held-out splits are the same games",
            data_dir,
        )
    if human and all(game.id in silent for games in index.values() for game in games):
        raise SkillRLError(
            f"{data_dir}: no game has a goal in people's words, which are in the traj_data.json "
            "next to it (turk_annotations). Unpack json_2.1.1_json.zip over the games, or use "
            "env.alfworld.goals=template."
        )
    return {
        split: tuple(
            _file_task(game, split, human=human)
            for game in games
            if not (human and game.id in silent)
        )
        for split, games in index.items()
    }


def _file_task(game: GameFile, split: str, *, human: bool) -> Task:
    return Task(
        id=f"{game.id}@human{game.annotation}" if human else game.id,
        split=split,
        category=game.category,
        goal=game.human if human else game.goal,
        payload={"game": str(game.path)},
    )
