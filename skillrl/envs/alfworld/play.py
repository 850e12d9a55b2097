"""Plays one game to its end: what the agent gets to read, and the expert's solution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from skillrl.envs.alfworld.engine import GameEngine
from skillrl.envs.alfworld.expert import TemplateExpert
from skillrl.envs.alfworld.world import GameWorld
from skillrl.errors import SkillRLError
from skillrl.types import Observation

MAX_STEPS = 25
"""Step limit within which the expert must win every generated game."""


def agent_observation(text: str, admissible: tuple[str, ...]) -> Observation:
    """Returns what an agent sees: no welcome, no task line (the prompt states it), no ``help``."""
    # The task line is the last; everything after its beginning goes, blank lines and all.
    scene = text.partition("\n\nYour task is to:")[0]
    parts = [part for part in scene.split("\n\n") if not part.startswith("-= Welcome")]
    return Observation("\n\n".join(parts).strip(), tuple(a for a in admissible if a != "help"))


def solve(
    game: Mapping[str, Any],
    max_steps: int = MAX_STEPS,
    *,
    homes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[str]:
    """Returns the expert's winning commands.

    Args:
      game: in the official format.
      max_steps: most commands.
      homes: what the expert knows of the household, see `TemplateExpert`.

    Raises:
      SkillRLError: the game is won before it starts, or the expert does not win it within
        `max_steps` admissible commands; such a game is not worth giving to an agent.
    """
    world = GameWorld.from_game(game)
    engine, goal = GameEngine(world), world.task
    reply = engine.reset()
    if reply.won:
        raise SkillRLError(f"{goal!r} is won before the first step; choose another task seed")
    expert = TemplateExpert(goal, homes)
    commands: list[str] = []
    while not reply.won and len(commands) < max_steps:
        seen = agent_observation(reply.observation, tuple(reply.admissible))
        commands.append(expert.act(seen).action)
        if commands[-1] not in seen.admissible:
            raise SkillRLError(f"{goal!r}: the expert chose {commands[-1]!r}, not admissible here")
        reply = engine.step(commands[-1])
    if not reply.won:
        raise SkillRLError(
            f"{goal!r}: the expert did not win within {max_steps} steps; choose another task seed"
        )
    return commands
