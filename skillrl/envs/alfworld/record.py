"""Reads what an index needs to know of one game on disk."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from skillrl.envs.alfworld import pddl
from skillrl.envs.alfworld.gametext import read_json, read_task, required_text
from skillrl.errors import SkillRLError
from skillrl.io.json_text import decoded
from skillrl.io.text import repair

GAME = "game.tw-pddl"
TRAJ = "traj_data.json"

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
_DECODER = json.JSONDecoder()
_MOVABLE = "pick_and_place_with_movable_recep"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Describes a game, or says why it is left out.

    Attributes:
      skip: reason to leave it out, or ""; then the rest is empty.
      category: task type, one of `CATEGORIES`.
      goal: the task sentence as printed, without the final period.
      human: the first annotation that is not blank, on one line, without the final period.
      annotation: its position in ``turk_annotations.anns``; -1 for none.
    """

    skip: str = ""
    category: str = ""
    goal: str = ""
    human: str = ""
    annotation: int = -1


def read_record(folder: pathlib.Path) -> Record:
    """Reads the ``game.tw-pddl`` of `folder` and the ``traj_data.json`` next to it, if any.

    Raises:
      SkillRLError: one of them is broken, or nothing tells the task type.
    """
    path = folder / GAME
    game = read_json(path)
    if game.get("solvable") is not True:
        return Record(skip="'solvable' is missing" if "solvable" not in game else "not solvable")
    goal = read_task(required_text(game, "grammar", name=str(path)), name=str(path))
    required_text(game, "pddl_problem", name=str(path))
    traj = _read_traj(folder / TRAJ) if (folder / TRAJ).is_file() else {}
    category = _category(path, game, traj)
    if category == _MOVABLE:
        return Record(skip=f"task type {_MOVABLE!r}")
    annotation, human = _annotation(traj)
    return Record(skip="", category=category, goal=goal, human=human, annotation=annotation)


def _read_traj(path: pathlib.Path) -> Mapping[str, Any]:
    """Reads task type and annotations of a ``traj_data.json``, by the shortest way.

    Nearly all of such a file is about images, and parsing that is most of the time of a first
    start. A quoted key that occurs once, unescaped, is the one that is wanted.
    """
    try:
        text = decoded(path.read_bytes())
        return {key: repair(_value(text, key)) for key in ("task_type", "turk_annotations")}
    except (OSError, ValueError, RecursionError):
        return read_json(path)  # which says what is wrong with it, if anything is


def _value(text: str, key: str) -> Any:
    """Returns the value of a key in JSON text; ValueError where this is no way to find it."""
    before, *after = text.split(f'"{key}"')
    if len(after) != 1 or before.endswith("\\"):
        raise ValueError(f"{key!r} does not occur exactly once")
    rest = after[0].lstrip()
    if not rest.startswith(":"):
        raise ValueError(f"{key!r} is not a key")
    return _DECODER.raw_decode(rest[1:].lstrip())[0]


def _category(path: pathlib.Path, game: Mapping[str, Any], traj: Mapping[str, Any]) -> str:
    """Finds the task type: in ``traj_data.json``, the folder's name or the goal formula."""
    kind = traj.get("task_type")
    if isinstance(kind, str) and kind in (*CATEGORIES, _MOVABLE):
        return kind
    if kind is not None:
        raise SkillRLError(
            f"{path.with_name(TRAJ)}: the task_type {kind!r} is not one of "
            f"{', '.join(CATEGORIES)}. Correct it, or delete the folder."
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
        f"{path}: its task type is in no {TRAJ}, not in a folder's name "
        f"(<task>-<Object>-...), and cannot be told from the goal. Put a {TRAJ} with "
        "a task_type next to it."
    )


def _annotation(traj: Mapping[str, Any]) -> tuple[int, str]:
    """Returns position and sentence of the first annotation with words, or (-1, "")."""
    turk = traj.get("turk_annotations")
    found = turk.get("anns") if isinstance(turk, Mapping) else None
    for number, one in enumerate(found if isinstance(found, list) else ()):
        text = one.get("task_desc") if isinstance(one, Mapping) else None
        sentence = " ".join(text.split()).rstrip(". ") if isinstance(text, str) else ""
        if sentence:
            return number, sentence
    return -1, ""
