"""Plays a list of commands and writes down every answer, for comparing engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skillrl.envs.alfworld.engine import GameEngine, GameReply
from skillrl.envs.alfworld.generate import generate_game
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.alfworld.world import GameWorld, load_game
from skillrl.errors import SkillRLError


def find_game(name: str | Path) -> GameWorld:
    """Returns the game of a file or, where there is none, of a generated task's id.

    Args:
      name: a ``game.tw-pddl``, or an id as trajectories have it, like ``valid_unseen/0007``.

    Raises:
      SkillRLError: it is neither; the message names it.
    """
    split = str(name).partition("/")[0]
    if Path(name).exists() or split not in load_manifest():
        return load_game(name)
    entries = {entry["id"]: entry for entry in load_manifest()[split]}
    if str(name) not in entries:
        raise SkillRLError(
            f"{name}: no such file, and no generated task: those of {split} go from "
            f"{min(entries)} to {max(entries)}"
        )
    return GameWorld.from_game(generate_game(spec_of(entries[str(name)])), name=str(name))


def replay(world: GameWorld, actions: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the answers to a reset (entry 0) and to each of `actions`, without a step limit.

    Returns:
      Dicts with the keys observation, admissible (a list), reward, done and won; they are
      plain JSON. The game goes on after it is won, as the real one does.
    """
    engine = GameEngine(world)
    return [_entry(engine.reset()), *(_entry(engine.step(action)) for action in actions)]


def _entry(reply: GameReply) -> dict[str, Any]:
    return {**dataclasses.asdict(reply), "admissible": list(reply.admissible)}
