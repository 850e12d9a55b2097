"""Holds one ALFWorld game as tables: everything about it that does not change during play.

A game is an official ``game.tw-pddl``. Of its keys ``pddl_problem`` (the room and the goal)
and ``grammar`` (the task sentence and the dialect) are read; the rules of ``pddl_domain``
are those of the engine. Receptacles, objects and locations are numbered in the order of
their lower-case ids, which is also the order of every list the game prints.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skillrl.envs.alfworld import pddl
from skillrl.envs.alfworld.gametext import REMEDY, Grammar, read_grammar, read_json, required_text
from skillrl.errors import SkillRLError

Fact = tuple[Any, ...]
"""A changeable fact: predicate and the numbers of its arguments; the agent is left out."""

MARKS = {
    "isclean": "cleanable",
    "ishot": "heatable",
    "iscool": "coolable",
    "istoggled": "toggleable",
    "issliced": "sliceable",
}
"""What can become true of an object -> what it takes."""

_CHANGEABLE = {
    *MARKS, "inreceptacle", "objectatlocation", "opened", "holds", "holdsany", "atlocation",
}  # fmt: skip
_ARGUMENTS = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "inreceptacleobject": ("object", "object"),
    "receptacletype": ("receptacle", "type"),
    "objecttype": ("object", "type"),
    "cancontain": ("type", "type"),
    "holds": ("agent", "object"),
    "holdsany": ("agent",),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    **dict.fromkeys(["pickupable", "isreceptacleobject", *MARKS, *MARKS.values()], ("object",)),
}
_APPLIANCES = {"clean": "sinkbasintype", "heat": "microwavetype", "cool": "fridgetype"}
_KNIVES = {"knifetype", "butterknifetype"}
_UNTRACKED = {"checked", "ison"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InitialState:
    """Holds the state at the start, in numbers.

    Attributes:
      here: location of the agent.
      held: object in hand, or None.
      inside: for each receptacle the objects in it, ascending. An object may be in several.
      places: pairs (object, location).
      opened: receptacles that are open.
      marks: key of `MARKS` -> objects of which it is true.
      goal: bits of the goal's facts that hold.
    """

    here: int
    held: int | None
    inside: tuple[tuple[int, ...], ...]
    places: frozenset[tuple[int, int]]
    opened: frozenset[int]
    marks: Mapping[str, frozenset[int]]
    goal: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GameWorld:
    """Holds the static tables of one game. Never changes, so threads may share it.

    Attributes:
      task: the task sentence as the game prints it, without the period it adds.
      task_line: the whole last line of the first observation.
      solvable: what the file says about itself; False when it says nothing.
      walkthrough: the file's own solution, possibly empty.
      receptacles: names (``fridge 1``) in id order.
      objects: names in id order, scenery included.
      receptacle_number: name -> number.
      object_number: name -> number.
      site: location of each receptacle, -1 for one that is nowhere.
      at_site: location -> receptacles there, ascending.
      fixed_commands: location -> sorted commands that are always admissible there.
      traits: ``openable`` (receptacles), ``pickupable``, ``isreceptacleobject`` and the
        values of `MARKS` (objects) -> those of which it is true.
      appliances: ``clean``, ``heat``, ``cool`` -> receptacles that do it.
      knives: objects that slice.
      fits: for each object the receptacles that may contain it.
      contained: for each object the objects inside it; they never change.
      moves: the dialect says ``move A to B`` (data 2.1.2), not ``put A in/on B`` (2.1.1).
      help_text: answer to ``help``; None where the dialect has no such command.
      goal_bits: changeable fact of the goal -> its bit.
      goal: parts, each a tuple of (bits that must be set, bits that must not be): the goal
        is met when every part has a pair that fits.
      start: the state after a reset.
    """

    task: str
    task_line: str
    solvable: bool
    walkthrough: tuple[str, ...]
    receptacles: tuple[str, ...]
    objects: tuple[str, ...]
    receptacle_number: Mapping[str, int]
    object_number: Mapping[str, int]
    site: tuple[int, ...]
    at_site: Mapping[int, tuple[int, ...]]
    fixed_commands: Mapping[int, tuple[str, ...]]
    traits: Mapping[str, frozenset[int]]
    appliances: Mapping[str, frozenset[int]]
    knives: frozenset[int]
    fits: tuple[frozenset[int], ...]
    contained: tuple[tuple[int, ...], ...]
    moves: bool
    help_text: str | None
    goal_bits: Mapping[Fact, int]
    goal: tuple[tuple[tuple[int, int], ...], ...]
    start: InitialState

    @classmethod
    def from_game(cls, game: Mapping[str, Any], *, name: str = "the game") -> GameWorld:
        """Builds the tables from the JSON object of a ``game.tw-pddl``.

        Args:
          game: needs ``grammar`` and ``pddl_problem``; ``solvable`` and ``walkthrough`` are
            optional.
          name: what to call the game in errors.

        Raises:
          SkillRLError: a key is missing, or a text is not what such a game has.
        """
        problem = pddl.parse_problem(required_text(game, "pddl_problem", name=name), name=name)
        grammar = read_grammar(required_text(game, "grammar", name=name), name=name)
        return _build(problem, grammar, game=game, name=name)


def load_game(path: str | pathlib.Path) -> GameWorld:
    """Reads an official-format ``game.tw-pddl``.

    Raises:
      SkillRLError: the file is unreadable or broken; the message names it.
    """
    return GameWorld.from_game(read_json(path), name=str(path))


def names_of(ids: Sequence[str]) -> dict[str, str]:
    """Returns printed names of the sorted `ids`; numbers fall from n to 1 within a class."""
    kinds = [i.split("_bar_", 1)[0] + ("basin" if "basin" in i else "") for i in ids]
    left = collections.Counter(kinds)
    names = {}
    for one, kind in zip(ids, kinds, strict=True):
        names[one] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return names


def _build(
    problem: pddl.PddlProblem, grammar: Grammar, *, game: Mapping[str, Any], name: str
) -> GameWorld:
    # Ids that occur in no fact do not exist, not even for the numbers in names.
    used = {a for rows in problem.facts.values() for args in rows for a in args}
    ids = sorted(i for i in used if problem.types[i] in ("object", "receptacle"))
    names = names_of(ids)
    problem = _well_typed(problem, name)
    receptacle_ids = [i for i in ids if problem.types[i] == "receptacle"]
    object_ids = [i for i in ids if problem.types[i] == "object"]
    receptacles = tuple(names[i] for i in receptacle_ids)
    objects = tuple(names[i] for i in object_ids)
    locations = sorted(i for i in used if problem.types[i] == "location")
    number = {
        i: n for group in (receptacle_ids, object_ids, locations) for n, i in enumerate(group)
    }

    def those(predicate: str) -> frozenset[int]:
        return frozenset(number[args[0]] for args in problem.all(predicate))

    agent, here = _single(problem.all("atlocation"), "place for the agent (atLocation)", name)
    number[agent] = -1
    held = [number[o] for _, o in problem.all("holds")]
    if len(held) > 1:
        raise SkillRLError(f"{name}: the agent holds {len(held)} objects; one is the most.")

    site = [-1] * len(receptacles)
    for r, place in problem.all("receptacleatlocation"):
        if site[number[r]] not in (-1, number[place]):
            raise SkillRLError(f"{name}: the receptacle {r!r} is at two locations. {REMEDY}")
        site[number[r]] = number[place]
    at_site: dict[int, tuple[int, ...]] = {number[here]: ()}
    for n, where in enumerate(site):
        if where >= 0:
            at_site[where] = (*at_site.get(where, ()), n)

    kinds = {key: _groups(problem.all(key)) for key in ("receptacletype", "objecttype")}
    room_for = _groups((kind, holder) for holder, kind in problem.all("cancontain"))
    by_type = _groups((kind, r) for r, kind in problem.all("receptacletype"))
    fits = tuple(
        frozenset(
            number[r]
            for kind in kinds["objecttype"].get(o, ())
            for holder in room_for.get(kind, ())
            for r in by_type.get(holder, ())
        )
        for o in object_ids
    )
    traits = {
        key: those(key) for key in ("openable", "pickupable", "isreceptacleobject", *MARKS.values())
    }
    contents = _groups((outer, inner) for inner, outer in problem.all("inreceptacleobject"))
    inside = _groups((r, o) for o, r in problem.all("inreceptacle"))

    goal, goal_bits = _number_goal(
        problem, number, traits=traits, fits=fits, reachable=set(at_site), name=name
    )
    holding = [("holdsany",)] if held else []
    true_at_start = holding + [
        (key, *(number[a] for a in args if a != agent))
        for key, rows in problem.facts.items()
        for args in rows
        if key in _CHANGEABLE
    ]
    start = InitialState(
        here=number[here],
        held=held[0] if held else None,
        inside=tuple(_numbers(inside.get(r, ()), number) for r in receptacle_ids),
        places=frozenset((number[o], number[p]) for o, p in problem.all("objectatlocation")),
        opened=those("opened"),
        marks={mark: those(mark) for mark in MARKS},
        goal=sum(goal_bits.get(fact, 0) for fact in dict.fromkeys(true_at_start)),
    )
    return GameWorld(
        task=grammar.task,
        task_line=grammar.task_line,
        solvable=game.get("solvable") is True,
        walkthrough=_walkthrough(game, name),
        receptacles=receptacles,
        objects=objects,
        receptacle_number={r: n for n, r in enumerate(receptacles)},
        object_number={o: n for n, o in enumerate(objects)},
        site=tuple(site),
        at_site=at_site,
        fixed_commands=_fixed_commands(receptacles, site, at_site=at_site, grammar=grammar),
        traits=traits,
        appliances={
            verb: frozenset(number[r] for r in by_type.get(kind, ()))
            for verb, kind in _APPLIANCES.items()
        },
        knives=frozenset(
            number[o] for o, types in kinds["objecttype"].items() if _KNIVES & set(types)
        ),
        fits=fits,
        contained=tuple(_numbers(contents.get(o, ()), number) for o in object_ids),
        moves=grammar.moves,
        help_text=grammar.help_text,
        goal_bits=goal_bits,
        goal=goal,
        start=start,
    )


def _walkthrough(game: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Returns the actions that solve a game; a file need not have them."""
    actions = game.get("walkthrough") or []
    if not isinstance(actions, list) or not all(isinstance(action, str) for action in actions):
        raise SkillRLError(f"{name}: 'walkthrough' should be a list of actions. {REMEDY}")
    return tuple(actions)


def _well_typed(problem: pddl.PddlProblem, name: str) -> pddl.PddlProblem:
    """Drops the facts that no rule can match, their arguments being of other types.

    PDDL permits such facts, for instance ``openable`` of something that is an object.
    """
    facts = dict(problem.facts)
    for key, kinds in _ARGUMENTS.items():
        for args in facts.get(key, ()):
            if len(args) != len(kinds):
                raise SkillRLError(
                    f"{name}: the fact ({' '.join((key, *args))}) has {len(args)} arguments "
                    f"instead of {len(kinds)}. {REMEDY}"
                )
        facts[key] = tuple(
            args
            for args in facts.get(key, ())
            if all(k in (problem.types[a], "type") for a, k in zip(args, kinds, strict=True))
        )
    return dataclasses.replace(problem, facts=facts)


def _number_goal(
    problem: pddl.PddlProblem,
    number: Mapping[str, int],
    *,
    traits: Mapping[str, frozenset[int]],
    fits: Sequence[frozenset[int]],
    reachable: set[int],
    name: str,
) -> tuple[tuple[tuple[tuple[int, int], ...], ...], dict[Fact, int]]:
    """Returns the goal over bits, and the bit of each of its facts."""
    initial = {(key, *args) for key in _CHANGEABLE for args in problem.all(key)}

    def dynamic(atom: pddl.Atom) -> bool | None:
        key, *args = atom
        if key in _UNTRACKED:
            raise SkillRLError(f"{name}: the goal asks for {key!r}, which is not tracked.")
        if key not in _CHANGEABLE:
            return None
        if len(args) != len(_ARGUMENTS[key]):
            raise SkillRLError(
                f"{name}: in the goal, {key} has {len(args)} arguments instead of "
                f"{len(_ARGUMENTS[key])}. {REMEDY}"
            )
        if atom in initial or key == "holdsany":
            return True
        if any(a not in number for a in args):
            return False
        n = [number[a] for a in args]
        if key in MARKS:
            return n[0] in traits[MARKS[key]]
        if key == "inreceptacle":
            return n[0] in traits["pickupable"] and n[1] in fits[n[0]]
        if key == "objectatlocation":
            return n[0] in traits["pickupable"] and n[1] in reachable
        if key == "holds":
            return n[1] in traits["pickupable"]
        if key == "opened":
            return n[0] in traits["openable"]
        return n[1] in reachable

    bits: dict[Fact, int] = {}

    def mask(atoms: Iterable[pddl.Atom]) -> int:
        total = 0
        for key, *args in atoms:
            fact = (key, *(number[a] for a in args if number[a] >= 0))
            total |= bits.setdefault(fact, 1 << len(bits))
        return total

    parts = pddl.ground_goal(problem, dynamic=dynamic, name=name)
    goal = tuple(tuple((mask(c.positive), mask(c.negative)) for c in part) for part in parts)
    return goal, bits


def _fixed_commands(
    receptacles: Sequence[str],
    site: Sequence[int],
    *,
    at_site: Mapping[int, Sequence[int]],
    grammar: Grammar,
) -> dict[int, tuple[str, ...]]:
    always = ["inventory", "look", *(["help"] if grammar.help_text is not None else [])]
    go = [f"go to {r}" for r in receptacles]
    examine = [f"examine {r}" for r in receptacles]
    return {
        here: tuple(
            sorted(
                always
                + [go[r] for r, place in enumerate(site) if place not in (here, -1)]
                + [examine[r] for r in present]
            )
        )
        for here, present in at_site.items()
    }


def _single(rows: Sequence[pddl.Atom], what: str, name: str) -> pddl.Atom:
    if len(rows) != 1:
        raise SkillRLError(f"{name}: has {len(rows)} facts that give a {what}, needs one.")
    return rows[0]


def _groups(pairs: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _numbers(ids: Iterable[str], number: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sorted(number[i] for i in ids))
