"""Finds official-format games in a directory.

Two layouts are understood: one folder per split (``train``, ``valid_seen``,
``valid_unseen``), as in the data release, or a flat directory of games. A flat directory
serves every split: all its games appear under each split's name.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from skillrl.envs.alfworld import pddl
from skillrl.envs.alfworld.gametext import read_grammar, read_json, required_text
from skillrl.envs.base import SPLITS
from skillrl.errors import SkillRLError

GAME = "game.tw-pddl"

CATEGORIES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""Task types of the data release that agents are trained and tested on."""

# A predicate of the goal formula -> the task type that alone uses it; tried in this order.
_BY_GOAL = {
    "istoggled": "look_at_obj_in_light",
    "isclean": "pick_clean_then_place_in_recep",
    "ishot": "pick_heat_then_place_in_recep",
    "iscool": "pick_cool_then_place_in_recep",
    "=": "pick_two_obj_and_place",
    "inreceptacle": "pick_and_place_simple",
}
_EXCLUDED = ("movable", "Sliced")
_MOVABLE = "pick_and_place_with_movable_recep"


@dataclasses.dataclass(frozen=True, slots=True)
class GameFile:
    """One game on disk.

    Attributes:
      id: folder of the game below the directory that was indexed, ``/`` between its parts.
      path: the ``game.tw-pddl``.
      category: task type, one of `CATEGORIES`.
      goal: the task sentence as printed, without the final period.
    """

    id: str
    path: pathlib.Path
    category: str
    goal: str


class GameIndex(dict[str, list[GameFile]]):
    """Split -> its games, sorted by path; every split is a key.

    Attributes:
      skipped: reason -> number of games left out for it.
    """

    def __init__(self, games: Mapping[str, list[GameFile]], skipped: Mapping[str, int]):
        super().__init__(games)
        self.skipped = dict(skipped)


def index_games(directory: str | pathlib.Path) -> GameIndex:
    """All playable games below `directory`.

    Left out and counted in ``skipped``, as the official loader does: games whose
    ``solvable`` is false or missing, paths (below `directory`) with ``movable`` or
    ``Sliced`` in them, and the task type with a movable receptacle. Rooms are not built here;
    `load_game` does that, one game at a time.

    Args:
      directory: holds split folders, or games at any depth. A directory whose only
        ``json_*`` folder with split folders is one level down (the data root) works too.

    Raises:
      SkillRLError: no playable game below `directory`, or a broken file, which is named.
    """
    root = pathlib.Path(os.path.expanduser(directory))
    if not root.is_dir():
        raise SkillRLError(
            f"{root}: no such directory. Give the directory that holds train, valid_seen and "
            f"valid_unseen, or one with {GAME} files at any depth."
        )
    root = _below_release(root)
    skipped: collections.Counter[str] = collections.Counter()
    splits = [split for split in SPLITS if (root / split).is_dir()]
    if splits:
        found = {split: _games(root, root / split, skipped) for split in splits}
    else:
        flat = _games(root, root, skipped)
        found = dict.fromkeys(SPLITS, flat)
    if not any(found.values()):
        reasons = "".join(f" Skipped {n}: {reason}." for reason, n in sorted(skipped.items()))
        raise SkillRLError(
            f"{root}: no playable {GAME} below it.{reasons} Give the directory that holds "
            "train, valid_seen and valid_unseen (json_2.1.1 of the data release, with the "
            "game files unpacked into it), or a directory of such games."
        )
    return GameIndex({split: list(found.get(split, ())) for split in SPLITS}, skipped)


def _below_release(root: pathlib.Path) -> pathlib.Path:
    if any((root / split).is_dir() for split in SPLITS):
        return root
    inner = [p for p in sorted(root.glob("json_*")) if any((p / s).is_dir() for s in SPLITS)]
    return inner[0] if len(inner) == 1 else root


def _games(
    root: pathlib.Path, folder: pathlib.Path, skipped: collections.Counter[str]
) -> list[GameFile]:
    games = []
    for path in sorted(folder.rglob(GAME)):
        place = path.parent.relative_to(root)
        excluded = next((word for word in _EXCLUDED if word in str(place)), None)
        if excluded:
            skipped[f"path contains {excluded!r}"] += 1
            continue
        game = read_json(path)
        if game.get("solvable") is not True:
            skipped["'solvable' is missing" if "solvable" not in game else "not solvable"] += 1
            continue
        grammar = required_text(game, "grammar", name=str(path))
        required_text(game, "pddl_problem", name=str(path))
        goal = read_grammar(grammar, name=str(path)).task
        category = _category(path, game)
        if category == _MOVABLE:
            skipped[f"task type {_MOVABLE!r}"] += 1
            continue
        games.append(GameFile(place.as_posix(), path, category, goal))
    return games


def _category(path: pathlib.Path, game: Mapping[str, Any]) -> str:
    """Task type: from ``traj_data.json``, else the folder's name, else the goal formula."""
    traj = path.with_name("traj_data.json")
    if traj.is_file():
        kind = read_json(traj).get("task_type")
        if kind in (*CATEGORIES, _MOVABLE):
            return kind
        if kind is not None:
            raise SkillRLError(
                f"{traj}: the task_type {kind!r} is not one of {', '.join(CATEGORIES)}. "
                "Correct it, or delete the folder."
            )
    for part in reversed(path.parent.parts):
        kind = part.split("-", 1)[0]
        if kind in CATEGORIES:
            return kind
    name = str(path)
    problem = pddl.parse_problem(required_text(game, "pddl_problem", name=name), name=name)
    used = pddl.words(problem.goal)
    for predicate, kind in _BY_GOAL.items():
        if predicate in used:
            return kind
    raise SkillRLError(
        f"{path}: its task type is in no traj_data.json, not in a folder's name "
        "(<task>-<Object>-...), and cannot be told from the goal. Put a traj_data.json with "
        "a task_type next to it."
    )
