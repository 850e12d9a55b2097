"""Generates ALFWorld games: households that a seed describes completely.

A `Spec` names a room (by scene and seed) and a task in it (by category and seed). The same
spec gives the same texts in every process: all choices come from `random.Random` seeded with
integers. The result is a game in the official format, so it is read by the same loader as the
released data:

    game = generate_game(spec)          # a mapping, with the expert's walkthrough
    write_game(game, spec, directory)   # <task>-<Obj>-None-<Recep>-<scene>/trial_T.../...
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.customs import STRENGTH, kept_in, known_homes
from skillrl.envs.alfworld.expert import CLEAN, COOL, HEAT, LOOK, PICK, TWO
from skillrl.envs.alfworld.export import problem_text
from skillrl.envs.alfworld.layout import Problem, Receptacle, Room, Spec
from skillrl.envs.alfworld.play import solve
from skillrl.errors import SkillRLError

CATEGORIES: dict[str, str] = {
    PICK: "Pick",
    LOOK: "Look",
    CLEAN: "Clean",
    HEAT: "Heat",
    COOL: "Cool",
    TWO: "PickTwo",
}
"""Task type of ALFRED -> the name shown in tables, in table order."""

ROOMS_FOR: dict[str, tuple[str, ...]] = {
    PICK: rooms.KINDS,
    LOOK: ("LivingRoom", "Bedroom"),
    CLEAN: ("Kitchen", "Kitchen", "Bathroom"),
    HEAT: ("Kitchen",),
    COOL: ("Kitchen",),
    TWO: rooms.KINDS,
}
"""Category -> the kinds of room it is played in, taken in turn."""

_TREATABLE = {
    CLEAN: (rooms.CLEANABLE, "SinkBasin"),
    HEAT: (rooms.HEATABLE, "Microwave"),
    COOL: (rooms.COOLABLE, "Fridge"),
}
# Half of the things lie in one of their usual places, nearly evenly among these, half anywhere:
# the text-only expert then needs 9 steps in the median and 16-17 in the 90th percentile.
_P_USUAL = 0.5
_USUAL_WEIGHTS = (3, 4, 4, 4, 4)  # by rank in rooms.LIKELY
_PARTS = (("-", "_minus_"), ("|", "_bar_"), ("+", "_plus_"), (".", "_dot_"), (",", "_comma_"))


def room_kind(scene: int) -> str:
    """Returns the kind of room of a floor plan number; raises SkillRLError for none of ALFRED's."""
    for kind, first in rooms.FIRST_SCENE.items():
        if first <= scene < first + 30:
            return kind
    raise SkillRLError(f"scene {scene}: floor plans are 1-30, 201-230, 301-330 and 401-430")


@functools.lru_cache(maxsize=256)
def make_room(scene: int, room_seed: int) -> Room:
    """Furnishes a room; every receptacle stands at a location of its own."""
    kind = room_kind(scene)
    rng = random.Random(scene * 1_000_003 + room_seed)
    low, high = rooms.SIZE
    while True:
        counts = {k: rng.randint(*span) for k, span in rooms.FURNITURE[kind].items()}
        if low <= sum(counts.values()) <= high:
            break
    kinds = [k for k, count in counts.items() for _ in range(count)]
    spots = rng.sample([(x, z) for x in range(-12, 13) for z in range(-12, 13)], len(kinds) + 1)
    always = sum(k in rooms.ALWAYS_OPENABLE for k in kinds)
    sometimes = [i for i, k in enumerate(kinds) if k in rooms.SOMETIMES_OPENABLE]
    quota = min(len(sometimes), rng.randint(*rooms.OPENABLE) - always)
    opened = set(rng.sample(sometimes, max(quota, 0)))
    receptacles = tuple(
        Receptacle(
            kind=k,
            id=_new_id(k, rng),
            location=_location(spots[i], rng),
            openable=k in rooms.ALWAYS_OPENABLE or i in opened,
        )
        for i, k in enumerate(kinds)
    )
    return Room(kind, receptacles, _location(spots[-1], rng))


def make_problem(spec: Spec) -> Problem:
    """Chooses the goal, its objects and 10-20 things in all, and where everything lies."""
    room = make_room(spec.scene, spec.room_seed)
    rng = random.Random(spec.task_seed)
    here = {r.kind for r in room.receptacles}
    homes = kept_in(spec.custom)
    target, place = rng.choice(choices(spec.category, room.kind, here, homes=homes))
    copies = rng.choice((2, 2, 2, 2, 3) if spec.category == TWO else (1, 1, 1, 1, 1, 2))
    treated = spec.category in _TREATABLE
    banned = set() if treated or spec.category == LOOK else {place}
    lay = functools.partial(_put, room=room, rng=rng, homes=homes)
    things = [lay(target, banned=banned) for _ in range(copies)]
    if room.kind in ("LivingRoom", "Bedroom") and (spec.category == LOOK or rng.random() < 0.7):
        things.append(lay(rooms.LAMP, banned=set()))
    others = [o for o in rooms.THINGS[room.kind] if o != target and _has_place(o, room)]
    bag = rng.sample(others * 2, min(len(others) * 2, rng.randint(10, 18) - len(things)))
    things += [lay(other, banned=set()) for other in bag]
    goal = goal_sentence(spec.category, thing=target, place=place, rng=rng)
    return Problem(room=room, target=target, place=place, goal=goal, things=tuple(things))


def make_game(spec: Spec) -> dict[str, Any]:
    """Returns a game in the official format with ``walkthrough`` None: what playing it needs.

    Raises:
      SkillRLError: the spec names no such scene, category, or task for that room.
    """
    problem = make_problem(spec)
    return {
        "pddl_domain": _asset("alfred.pddl"),
        "grammar": _asset("alfred.twl2").replace("UNKNOWN GOAL", problem.goal),
        "pddl_problem": problem_text(problem, f"plan_{_trial(spec)}", _goal_block(problem, spec)),
        "solvable": True,
        "walkthrough": None,
    }


def generate_game(spec: Spec) -> dict[str, Any]:
    """Returns a complete game in the official format; ``walkthrough`` is the expert's solution."""
    game = make_game(spec)
    return {**game, "walkthrough": solve(game, homes=known_homes(spec.custom))}


def write_game(game: Mapping[str, Any], spec: Spec, directory: str | Path) -> Path:
    """Writes `game` below `directory` as the official data lies, and returns its game file."""
    problem = make_problem(spec)
    look = spec.category == LOOK
    trial = _trial(spec)
    folder = Path(directory)
    folder /= f"{spec.category}-{problem.target}-None-{problem.place}-{spec.scene}"
    folder /= trial
    folder.mkdir(parents=True, exist_ok=True)
    traj = {
        "task_id": trial,
        "task_type": spec.category,
        "pddl_params": {
            "object_target": problem.target,
            "parent_target": "" if look else problem.place,
            "mrecep_target": "",
            "toggle_target": problem.place if look else "",
            "object_sliced": False,
        },
        "scene": {"floor_plan": f"FloorPlan{spec.scene}", "scene_num": spec.scene},
        "turk_annotations": {"anns": [{"task_desc": problem.goal, "high_descs": [], "votes": [1]}]},
    }
    (folder / "traj_data.json").write_text(json.dumps(traj, indent=1), encoding="utf-8")
    (folder / "initial_state.pddl").write_text(game["pddl_problem"], encoding="utf-8")
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps(dict(game)), encoding="utf-8")
    return path


def goal_sentence(category: str, *, thing: str, place: str, rng: random.Random) -> str:
    """Returns one of ALFRED's template sentences for an object and its destination (or lamp).

    Args:
      category: ALFRED's task type.
      thing: object class.
      place: class of the destination, or of the lamp.
      rng: chooses the sentence.
    """
    return rng.choice(_goals()[category]["templates"]).format(
        obj=thing.lower(), recep=place.lower(), toggle=place.lower()
    )


def choices(
    category: str, kind: str, here: set[str], *, homes: Mapping[str, str] = MappingProxyType({})
) -> Sequence[tuple[str, str]]:
    """Returns all (object class, destination or lamp) of `category` that make sense in a room.

    Args:
      category: ALFRED's task type.
      kind: kind of the room.
      here: classes of the furniture in it.
      homes: class of object -> class of furniture that the household keeps it in; what has its
        home elsewhere is not asked for, nor is it to be brought to its home.

    Raises:
      SkillRLError: the category is unknown, or cannot be played there.
    """
    if category not in CATEGORIES:
        raise SkillRLError(f"category {category!r}: use one of {', '.join(CATEGORIES)}")
    objects = rooms.THINGS[kind]
    appliance = ""
    if category in _TREATABLE:
        able, appliance = _TREATABLE[category]
        objects = tuple(o for o in objects if o in able) if appliance in here else ()
    if category == LOOK:
        pairs = [(o, rooms.LAMP) for o in objects if kind in ("LivingRoom", "Bedroom")]
    else:
        pairs = [
            (o, r)
            for o in objects
            for r in sorted(here)
            if o in rooms.CAN_CONTAIN[r] and r != appliance and set(rooms.LIKELY[o]) & here - {r}
        ]
    if homes:
        pairs = [(o, r) for o, r in pairs if homes[o] in here and homes[o] != r]
    if not pairs:
        raise SkillRLError(f"category {category!r} cannot be played in a {kind} of this layout")
    return pairs


def _has_place(kind: str, room: Room) -> bool:
    return any(kind in rooms.CAN_CONTAIN[r.kind] for r in room.receptacles)


def _put(
    kind: str, *, room: Room, banned: set[str], rng: random.Random, homes: Mapping[str, str]
) -> tuple[str, str, Receptacle]:
    """Lays one object of class `kind` somewhere in the room, often where it usually is.

    Args:
      kind: its class.
      room: where.
      banned: classes of furniture where it must not lie.
      rng: decides.
      homes: where the household keeps things; "usually" is then always the home.
    """
    allowed = [r for r in room.receptacles if r.kind not in banned]
    if kind == rooms.LAMP:
        usual = [r for r in allowed if r.kind in rooms.LIKELY[kind]]
        return kind, _new_id(kind, rng), rng.choice(usual)
    accepting = [r for r in allowed if kind in rooms.CAN_CONTAIN[r.kind]]
    classes = {r.kind for r in accepting}
    if homes:
        if homes[kind] in classes and rng.random() < STRENGTH:
            accepting = [r for r in accepting if r.kind == homes[kind]]
        return kind, _new_id(kind, rng), rng.choice(accepting)
    ranked = [
        (c, w) for c, w in zip(rooms.LIKELY[kind], _USUAL_WEIGHTS, strict=False) if c in classes
    ]
    if ranked and rng.random() < _P_USUAL:
        chosen = rng.choices([c for c, _ in ranked], [w for _, w in ranked])[0]
        accepting = [r for r in accepting if r.kind == chosen]
    return kind, _new_id(kind, rng), rng.choice(accepting)


def _new_id(kind: str, rng: random.Random) -> str:
    """Makes ``Mug|+01.20|+00.80|-02.05``, in PDDL spelling; a basin is part of its sink or tub."""
    base = kind.removesuffix("Basin")
    x, y, z = rng.uniform(-3.5, 3.5), rng.uniform(0.1, 2.4), rng.uniform(-3.5, 3.5)
    text = f"{base}|{x:+06.2f}|{y:+06.2f}|{z:+06.2f}" + (f"|{kind}" if base != kind else "")
    return _mangle(text)


def _location(spot: tuple[int, int], rng: random.Random) -> str:
    turn, tilt = rng.randrange(4), rng.choice((-30, 0, 30, 45, 60))
    return _mangle(f"loc|{spot[0]}|{spot[1]}|{turn}|{tilt}")


def _mangle(text: str) -> str:
    for plain, mangled in _PARTS:
        text = text.replace(plain, mangled)
    return text


def _trial(spec: Spec) -> str:
    return f"trial_T{20260000 + spec.room_seed:08d}_{spec.scene:06d}_{spec.task_seed:06d}"


def _goal_block(problem: Problem, spec: Spec) -> str:
    text = _goals()[spec.category]["pddl"]
    words = {"{obj}": problem.target, "{recep}": problem.place, "{toggle}": problem.place}
    for slot, word in words.items():
        text = text.replace(slot, word)
    return text


@functools.lru_cache(maxsize=1)
def _goals() -> dict[str, dict[str, Any]]:
    return json.loads(_asset("goals.json"))


@functools.lru_cache(maxsize=8)
def _asset(name: str) -> str:
    return (resources.files("skillrl") / "assets" / "alfworld" / name).read_text("utf-8")
