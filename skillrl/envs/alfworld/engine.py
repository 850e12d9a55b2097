"""Plays ALFWorld games: the texts, commands and rules of the real engine, natively.

The state is plain sets of pairs, as in the PDDL domain: an object may be in several
receptacles and at several locations at once, and nothing tidies that up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from skillrl.envs.alfworld.world import MARKS, GameWorld, load_game

__all__ = ["GameEngine", "GameReply", "GameWorld", "load_game"]

NOTHING_HAPPENS = "Nothing happens."
_WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
_MIDDLE = "You are in the middle of a room. Looking quickly around you, you see "


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GameReply:
    """Holds what the game answers.

    Attributes:
      observation: the text.
      admissible: every command that would be understood now, sorted, ``help`` included.
      reward: 1 if the goal is met after this command, else 0; 0 at a reset.
      done: the goal is met after this command; False at a reset. The game can go on.
      won: the goal is met now, which may be so at a reset and may cease to be.
    """

    observation: str
    admissible: tuple[str, ...]
    reward: int
    done: bool
    won: bool


class GameEngine:
    """Holds the mutable state of one episode of `world`. Starts out reset; has no step limit."""

    __slots__ = (
        "_admissible",
        "_goal",
        "_held",
        "_here",
        "_inside",
        "_marks",
        "_opened",
        "_places",
        "_removed",
        "_stale",
        "_won",
        "world",
    )

    def __init__(self, world: GameWorld):
        self.world = world
        self.reset()

    def reset(self) -> GameReply:
        """Starts afresh and prints the room and the task."""
        world, start = self.world, self.world.start
        self._here = start.here
        self._held = start.held
        self._inside = list(start.inside)
        self._places = set(start.places)
        self._removed: set[tuple[int, int]] = set()  # (object, receptacle) undone by a take
        self._opened = set(start.opened)
        self._marks = {mark: set(those) for mark, those in start.marks.items()}
        self._goal = start.goal
        self._won = self._goal_is_met()
        self._stale = False
        self._admissible = self._commands()
        scene = self._look("")
        if not world.at_site[start.here]:
            present = [
                r for r, site in zip(world.receptacles, world.site, strict=True) if site >= 0
            ]
            scene = f"{_MIDDLE}{_listed(present)}."
        text = f"{_WELCOME}\n\n{scene}\n\n{world.task_line}"
        return GameReply(
            observation=text, admissible=self._admissible, reward=0, done=False, won=self._won
        )

    def step(self, command: str) -> GameReply:
        """Plays one command. Anything not admissible prints "Nothing happens."."""
        verb, _, rest = command.strip().partition(" ")
        action = _ACTIONS.get(verb)
        text = action(self, rest) if action else None
        if self._stale:
            self._stale = False
            self._admissible = self._commands()
            self._won = self._goal_is_met()
        won = self._won
        if text is None:
            text = NOTHING_HAPPENS
        return GameReply(
            observation=text, admissible=self._admissible, reward=1 if won else 0, done=won, won=won
        )

    def facts(self) -> frozenset[tuple[str, ...]]:
        """Returns the changeable facts that hold, by printed names: ``("isclean", "egg 1")``.

        Locations have no printed names and appear as ``location 3``.
        """
        receptacles, objects = self.world.receptacles, self.world.objects
        inside = [
            ("inreceptacle", objects[o], receptacles[r])
            for r, contents in enumerate(self._inside)
            for o in contents
        ]
        marks = [(mark, objects[o]) for mark, those in self._marks.items() for o in those]
        places = [("objectatlocation", objects[o], f"location {p}") for o, p in self._places]
        removed = [("removed", objects[o], receptacles[r]) for o, r in self._removed]
        opened = [("opened", receptacles[r]) for r in self._opened]
        held = [] if self._held is None else [("holds", objects[self._held])]
        here = ("atlocation", f"location {self._here}")
        return frozenset([*inside, *marks, *places, *removed, *opened, *held, here])

    # What is where.

    def _goal_is_met(self) -> bool:
        now = self._goal
        for part in self.world.goal:
            for need, avoid in part:
                if now & need == need and not now & avoid:
                    break
            else:
                return False
        return True

    def _add(self, *fact: str | int) -> None:
        self._goal |= self.world.goal_bits.get(fact, 0)

    def _drop(self, *fact: str | int) -> None:
        self._goal &= ~self.world.goal_bits.get(fact, 0)

    def _receptacle_here(self, name: str) -> int | None:
        r = self.world.receptacle_number.get(name)
        return r if r is not None and self.world.site[r] == self._here else None

    def _reachable(self, name: str) -> int | None:
        """Returns the receptacle, if it is here and not closed."""
        r = self._receptacle_here(name)
        return None if r is None or self._is_closed(r) else r

    def _is_closed(self, r: int) -> bool:
        return r in self.world.traits["openable"] and r not in self._opened

    def _commands(self) -> tuple[str, ...]:
        world, here, held = self.world, self._here, self._held
        receptacles, objects = world.receptacles, world.objects
        openable, pickupable = world.traits["openable"], world.traits["pickupable"]
        lamps = world.traits["toggleable"]
        found = list(world.fixed_commands[here])
        usable: set[int] = set()
        for r in world.at_site[here]:
            name, inside = receptacles[r], self._inside[r]
            usable |= lamps.intersection(inside)
            if r in openable:
                if r not in self._opened:
                    found.append(f"open {name}")
                    continue
                found.append(f"close {name}")
            if held is None:
                found += [f"take {objects[o]} from {name}" for o in inside if o in pickupable]
            elif r in world.fits[held]:
                found.append(_put_command(world, objects[held], name))
        found += [f"use {objects[o]}" for o in usable]
        if held is not None:
            name = objects[held]
            found.append(f"examine {name}")
            for verb, (mark, _) in _TREATMENTS.items():
                if held in world.traits[MARKS[mark]]:
                    appliances = world.appliances[verb]
                    near = [receptacles[r] for r in world.at_site[here] if r in appliances]
                    found += [f"{verb} {name} with {r}" for r in near]
            if held in world.knives:
                near = [objects[o] for o in world.traits["sliceable"] if (o, here) in self._places]
                found += [f"slice {o} with {name}" for o in near]
        found.sort()
        return tuple(found)

    # Commands: each takes what follows the verb and returns the text, or None.

    def _go(self, rest: str) -> str | None:
        world = self.world
        if not rest.startswith("to "):
            return None
        r = world.receptacle_number.get(rest[3:])
        if r is None or world.site[r] in (self._here, -1):
            return None
        self._drop("atlocation", self._here)
        self._here = world.site[r]
        self._add("atlocation", self._here)
        self._stale = True
        return f"You arrive at {rest[3:]}. {self._describe(r)}"

    def _open(self, rest: str) -> str | None:
        r = self._receptacle_here(rest)
        if r is None or not self._is_closed(r):
            return None
        self._opened.add(r)
        self._add("opened", r)
        self._stale = True
        return f"You open the {rest}. {self._describe(r)}"

    def _close(self, rest: str) -> str | None:
        r = self._reachable(rest)
        if r is None or r not in self.world.traits["openable"]:
            return None
        self._opened.discard(r)
        self._drop("opened", r)
        self._stale = True
        return f"You close the {rest}."

    def _take(self, rest: str) -> str | None:
        name, _, where = rest.partition(" from ")
        world = self.world
        o, r = world.object_number.get(name), self._reachable(where)
        if o is None or r is None or self._held is not None:
            return None
        if o not in self._inside[r] or o not in world.traits["pickupable"]:
            return None
        self._inside[r] = tuple(one for one in self._inside[r] if one != o)
        self._removed.add((o, r))
        self._places.discard((o, self._here))
        self._held = o
        self._drop("inreceptacle", o, r)
        self._drop("objectatlocation", o, self._here)
        self._add("holds", o)
        self._add("holdsany")
        self._stale = True
        return f"You pick up the {name} from the {where}."

    def _move(self, rest: str) -> str | None:
        return self._place(rest, " to ") if self.world.moves else None

    def _put(self, rest: str) -> str | None:
        return None if self.world.moves else self._place(rest, " in/on ")

    def _place(self, rest: str, between: str) -> str | None:
        name, _, where = rest.partition(between)
        world = self.world
        o, r = world.object_number.get(name), self._reachable(where)
        if o is None or o != self._held or r is None or r not in world.fits[o]:
            return None
        if o not in self._inside[r]:
            self._inside[r] = tuple(sorted((*self._inside[r], o)))
        self._removed.discard((o, r))
        self._places.add((o, self._here))
        self._held = None
        self._add("inreceptacle", o, r)
        self._add("objectatlocation", o, self._here)
        self._drop("holds", o)
        self._drop("holdsany")
        self._stale = True
        if world.moves:
            return f"You move the {name} to the {where}."
        return f"You put the {name} in/on the {where}."

    def _treat(self, rest: str, verb: str) -> str | None:
        name, _, where = rest.partition(" with ")
        world = self.world
        mark, undone = _TREATMENTS[verb]
        o, r = world.object_number.get(name), self._receptacle_here(where)
        if o is None or o != self._held or o not in world.traits[MARKS[mark]]:
            return None
        if r is None or r not in world.appliances[verb]:
            return None
        if undone:
            self._marks[undone].discard(o)
            self._drop(undone, o)
        self._mark(mark, o)
        return f"You {verb} the {name} using the {where}."

    def _clean(self, rest: str) -> str | None:
        return self._treat(rest, "clean")

    def _heat(self, rest: str) -> str | None:
        return self._treat(rest, "heat")

    def _cool(self, rest: str) -> str | None:
        return self._treat(rest, "cool")

    def _use(self, rest: str) -> str | None:
        o = self.world.object_number.get(rest)
        if o is None or o not in self.world.traits["toggleable"]:
            return None
        if not any(o in self._inside[r] for r in self.world.at_site[self._here]):
            return None
        self._mark("istoggled", o)
        return f"You turn on the {rest}."

    def _slice(self, rest: str) -> str | None:
        name, _, tool = rest.partition(" with ")
        world = self.world
        o, knife = world.object_number.get(name), world.object_number.get(tool)
        if o is None or o not in world.traits["sliceable"] or (o, self._here) not in self._places:
            return None
        if knife is None or knife != self._held or knife not in world.knives:
            return None
        self._mark("issliced", o)
        return f"You sliced the {name} with the {tool}."

    def _mark(self, mark: str, o: int) -> None:
        self._marks[mark].add(o)
        self._add(mark, o)
        self._won = self._goal_is_met()

    def _look(self, rest: str) -> str | None:
        if rest:
            return None
        world, here = self.world, self._here
        present = world.at_site[here]
        if not present:
            return f"{_MIDDLE}nothing."
        # In id order of the object, then of the receptacle; one entry for each pair.
        left = sorted(
            (o, r) for o, r in self._removed if r in present and (o, here) in self._places
        )
        facing = _joined([world.receptacles[r] for r in present])
        beside = _listed([world.objects[o] for o, _ in left])
        return f"You are facing the {facing}. Next to it, you see {beside}."

    def _inventory(self, rest: str) -> str | None:
        if rest:
            return None
        if self._held is None:
            return "You are not carrying anything."
        return f"You are carrying: a {self.world.objects[self._held]}."

    def _help(self, rest: str) -> str | None:
        return None if rest else self.world.help_text

    def _examine(self, rest: str) -> str | None:
        r = self._receptacle_here(rest)
        if r is not None:
            return self._describe(r)
        if self._held is None or self.world.objects[self._held] != rest:
            return None
        return self._describe_object(self._held)

    # Descriptions.

    def _describe(self, r: int) -> str:
        world = self.world
        name = world.receptacles[r]
        if self._is_closed(r):
            return f"The {name} is closed."
        inside = _listed([world.objects[o] for o in self._inside[r]])
        if r in world.traits["openable"]:
            return f"The {name} is open. In it, you see {inside}."
        return f"On the {name}, you see {inside}."

    def _describe_object(self, o: int) -> str:
        world = self.world
        name = world.objects[o]
        if o in world.traits["isreceptacleobject"]:
            inside = _listed([world.objects[one] for one in world.contained[o]])
            return f"This is a normal {name}. In it, you see {inside}."
        clean, hot, cool, toggled, is_sliced = (o in self._marks[mark] for mark in MARKS)
        sliced = "sliced " if is_sliced else ""
        if clean and (hot or cool):
            return f"This is a {'hot' if hot else 'cool'} and clean {sliced}{name}."
        if sliced and (clean or hot or cool):
            return f"This is a {'clean' if clean else 'hot' if hot else 'cool'} sliced {name}."
        if clean or hot or cool:
            return f"This is a {'hot' if hot else 'clean' if clean else 'cold'} {name}."
        if toggled and o in world.traits["toggleable"]:
            return f"This {name} is on."
        if sliced and o in world.traits["sliceable"]:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."


_TREATMENTS = {"clean": ("isclean", ""), "heat": ("ishot", "iscool"), "cool": ("iscool", "ishot")}
"""Verb -> what becomes true of the object, and what ceases to be."""

_ACTIONS: dict[str, Callable[[GameEngine, str], str | None]] = {
    "go": GameEngine._go,
    "open": GameEngine._open,
    "close": GameEngine._close,
    "take": GameEngine._take,
    "move": GameEngine._move,
    "put": GameEngine._put,
    "clean": GameEngine._clean,
    "heat": GameEngine._heat,
    "cool": GameEngine._cool,
    "use": GameEngine._use,
    "slice": GameEngine._slice,
    "look": GameEngine._look,
    "inventory": GameEngine._inventory,
    "examine": GameEngine._examine,
    "help": GameEngine._help,
}


def _put_command(world: GameWorld, what: str, where: str) -> str:
    return f"move {what} to {where}" if world.moves else f"put {what} in/on {where}"


def _joined(items: Sequence[str]) -> str:
    if len(items) < 2:
        return items[0] if items else "nothing"
    return f"{', '.join(items[:-1])}, and {items[-1]}"


def _listed(names: Sequence[str]) -> str:
    return _joined([f"a {name}" for name in names])
