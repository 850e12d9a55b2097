"""Plays a list of commands and writes down every answer, for comparing engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skillrl.envs.alfworld.engine import Engine, Reply
from skillrl.envs.alfworld.world import World


def replay(world: World, actions: Sequence[str]) -> list[dict[str, Any]]:
    """The answers to a reset (entry 0) and to each of `actions`, without a step limit.

    Returns:
      Dicts with the keys observation, admissible (a list), reward, done and won; they are
      plain JSON. The game goes on after it is won, as the real one does.
    """
    engine = Engine(world)
    return [_entry(engine.reset()), *(_entry(engine.step(action)) for action in actions)]


def _entry(reply: Reply) -> dict[str, Any]:
    return {**reply._asdict(), "admissible": list(reply.admissible)}
