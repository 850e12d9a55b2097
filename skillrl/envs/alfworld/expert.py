"""An expert that reads only what an agent reads: the goal sentence, texts, admissible actions.

It searches receptacles in the order of the admissible list, takes the object, treats it if the
task says so, and delivers it. (An order by likelihood finds things two or three steps earlier,
but a pupil would have to know by heart which places each room has; what is next on a list, it
can read.) What it seeks comes first in its thoughts, where it is follows from that. Everything it
believes comes from observation texts, never from its own past choices, so it stays right when
somebody else acts in between.
"""

from __future__ import annotations

import dataclasses
import re

from skillrl.envs.base import Move
from skillrl.errors import SkillRLError
from skillrl.types import Observation

PICK, LOOK, CLEAN, HEAT, COOL, TWO = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)

_FORMS = (  # the first that fits counts, so "a clean mug" must come before "a mug"
    (LOOK, r"look at (?:a |the )?(\w+) under the (\w+)"),
    (LOOK, r"examine the (\w+) with the (\w+)"),
    (CLEAN, r"put a clean (\w+) (?:in|on) (\w+)"),
    (CLEAN, r"clean some (\w+) and put it (?:in|on) (\w+)"),
    (HEAT, r"put a hot (\w+) (?:in|on) (\w+)"),
    (HEAT, r"heat some (\w+) and put it (?:in|on) (\w+)"),
    (COOL, r"put a cool (\w+) (?:in|on) (\w+)"),
    (COOL, r"cool some (\w+) and put it (?:in|on) (\w+)"),
    (TWO, r"put two (\w+) (?:in|on) (\w+)"),
    (TWO, r"find two (\w+) and put them (?:in|on) (\w+)"),
    (PICK, r"put (?:a|some) (\w+) (?:in|on) (\w+)"),
)

TREATMENTS = {
    CLEAN: ("clean", "sinkbasin"),
    HEAT: ("heat", "microwave"),
    COOL: ("cool", "fridge"),
}
"""Category -> the verb of the treatment and the class of the appliance that does it."""

_ROOM = re.compile(r"Looking quickly around you, you see ([^.]*)\.")
_NAME = re.compile(r"[a-z]+ \d+")
_ARRIVE = re.compile(r"You arrive at (\w+ \d+)\.")
_FACING = re.compile(r"You are facing the ([^.]*)\.")
_CONTENT = re.compile(r"(?:On the (\w+ \d+)|The (\w+ \d+) is open\. In it), you see ([^.]*)\.")
_TAKEN = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_MOVED = re.compile(r"You (?:move|put) the (\w+ \d+) (?:to|in/on) the (\w+ \d+)\.")
_TREATED = re.compile(r"You (clean|heat|cool) the (\w+ \d+) using the")


@dataclasses.dataclass(frozen=True, slots=True)
class Goal:
    """A template sentence, understood.

    Attributes:
      category: ALFRED's task type.
      thing: object class, in lower case.
      place: class of the destination, or of the lamp for `look_at_obj_in_light`.
    """

    category: str
    thing: str
    place: str


def parse_goal(sentence: str) -> Goal:
    """Reads a template goal sentence of any of the six task types.

    Raises:
      SkillRLError: the sentence fits none of the templates.
    """
    text = sentence.strip().lower().rstrip(".")
    for category, form in _FORMS:
        if match := re.fullmatch(form, text):
            return Goal(category, match[1], match[2])
    raise SkillRLError(
        f"goal {sentence!r}: not one of ALFWorld's template sentences (like 'put a clean mug in "
        "shelf'), so the text-only expert cannot plan for it. Play this task with a policy."
    )


def kind_of(name: str) -> str:
    """The class of a numbered name: ``mug 2`` -> ``mug``."""
    return name.rsplit(" ", 1)[0]


class TemplateExpert:
    """Solves one episode; make a new one for the next.

    Args:
      goal: the task sentence.

    Raises:
      SkillRLError: the sentence is not a template one (see `parse_goal`).
    """

    def __init__(self, goal: str):
        self.goal = parse_goal(goal)
        self.places: list[str] = []  # in the order of the room's overview
        self.listed: list[str] = []  # where one can go now, in the order of the admissible list
        self.seen: dict[str, list[str]] = {}  # place -> what was last seen there
        self.held = ""
        self.treated: set[str] = set()
        self.refused: set[str] = set()  # destinations that did not accept the object
        self.avoided: set[str] = set()  # places already tried for an unwanted object
        self.stuck: set[tuple[str, str]] = set()  # (object, place) that could not be taken

    def act(self, observation: Observation) -> Move:
        """The next move, always an admissible one, given the newest observation."""
        self._read(observation)
        actions = frozenset(observation.admissible)
        if self.held and kind_of(self.held) != self.goal.thing:
            return self._drop(actions)
        if not self.held:
            return self._fetch(actions)
        if self.goal.category == LOOK:
            return self._light(actions)
        if self.goal.category in TREATMENTS and self.held not in self.treated:
            return self._treat(actions)
        return self._deliver(actions)

    # What the texts say.

    def _read(self, observation: Observation) -> None:
        text = observation.text
        if match := _ROOM.search(text) or _FACING.search(text):
            self._add_places(_NAME.findall(match[1]))
        self.listed = [a[6:] for a in observation.admissible if a.startswith("go to ")]
        self._add_places(self.listed)
        if match := _ARRIVE.search(text):
            self._add_places([match[1]])
        for match in _CONTENT.finditer(text):
            self.seen[match[1] or match[2]] = _NAME.findall(match[3])
        if match := _TAKEN.search(text):
            self.held = match[1]
            if match[1] in self.seen.get(match[2], []):
                self.seen[match[2]].remove(match[1])
        if match := _MOVED.search(text):
            self.held = ""
            self.seen.setdefault(match[2], []).append(match[1])
        if match := _TREATED.search(text):
            wanted = TREATMENTS.get(self.goal.category, ("",))[0]
            if match[1] == wanted:
                self.treated.add(match[2])
            elif {match[1], wanted} == {"heat", "cool"}:
                self.treated.discard(match[2])

    def _add_places(self, names) -> None:
        self.places += [name for name in dict.fromkeys(names) if name not in self.places]

    # What to do about it.

    def _fetch(self, actions: frozenset[str]) -> Move:
        thing = self.goal.thing
        target = self._target()
        one_is_there = self.goal.category == TWO and self._filled(target)
        need = f"I seek {'another' if one_is_there else _article(thing)} {thing}"
        for place in sorted(self.seen, key=lambda p: f"go to {p}" in actions):  # here first
            if place == target and self.goal.category == TWO:
                continue
            for name in self.seen[place]:
                if kind_of(name) != thing or (name, place) in self.stuck:
                    continue
                if name in self.treated and place == target:
                    continue
                take = f"take {name} from {place}"
                if take in actions:
                    return Move(f"{need} right here.", take)
                move = self._approach(place, f"{need} at {place}.", actions)
                if move.action.startswith(("examine", "look")):
                    self.stuck.add((name, place))
                return move
        return self._search(f"{need} at", actions)

    def _light(self, actions: frozenset[str]) -> Move:
        for place, names in self.seen.items():
            for lamp in names:
                if kind_of(lamp) == self.goal.place:
                    thought = f"Look at the {self.goal.thing} under {lamp}."
                    if f"use {lamp}" in actions:
                        return Move(thought, f"use {lamp}")
                    return self._approach(place, thought, actions)
        lamp = self.goal.place
        return self._search(f"I seek {_article(lamp)} {lamp} at", actions)

    def _treat(self, actions: frozenset[str]) -> Move:
        verb, appliance = TREATMENTS[self.goal.category]
        for place in self.places:
            if kind_of(place) == appliance:
                thought = f"Now {verb} the {self.goal.thing} with {place}."
                act = f"{verb} {self.held} with {place}"
                if act in actions:
                    return Move(thought, act)
                return self._approach(place, thought, actions)
        return self._search(f"I seek {_article(appliance)} {appliance} at", actions)

    def _deliver(self, actions: frozenset[str]) -> Move:
        place = self._target()
        if not place:  # the overview was never shown: look around for one
            wanted = self.goal.place
            return self._search(f"I seek {_article(wanted)} {wanted} at", actions)
        thought = f"Put the {self.goal.thing} in {place}."
        for act in (f"move {self.held} to {place}", f"put {self.held} in/on {place}"):
            if act in actions:
                return Move(thought, act)
        move = self._approach(place, thought, actions)
        if move.action.startswith(("examine", "look")):  # here and open, yet it does not accept
            self.refused.add(place)
        return move

    def _drop(self, actions: frozenset[str]) -> Move:
        thought = f"I do not need the {kind_of(self.held)}."
        for act in sorted(actions):
            if act.startswith((f"move {self.held} to ", f"put {self.held} in/on ")):
                return Move(thought, act)
        for act in sorted(actions):
            if act.startswith("open "):
                return Move(thought, act)
        place = next((p for p in self.listed if p not in self.avoided), "")
        self.avoided.add(place)
        return self._approach(place, thought, actions)

    def _target(self) -> str:
        """The destination: one that already holds such an object (two), else number 1; or ""."""
        wanted = [p for p in self.places if kind_of(p) == self.goal.place]
        wanted = [p for p in wanted if p not in self.refused] or wanted
        wanted.sort(key=lambda p: not p.endswith(" 1"))
        if self.goal.category == TWO:
            wanted.sort(key=lambda p: not self._filled(p))
        return wanted[0] if wanted else ""

    def _filled(self, place: str) -> bool:
        return any(kind_of(name) == self.goal.thing for name in self.seen.get(place, ()))

    def _search(self, thought: str, actions: frozenset[str]) -> Move:
        closed = [p for p in self.places if f"open {p}" in actions]  # here, but not seen yet
        places = [*closed, *self.listed]
        if all(place in self.seen for place in places):  # somebody moved it: look everywhere again
            self.seen.clear()
        place = next((p for p in places if p not in self.seen), "")
        return self._approach(place, f"{thought} {place}.", actions)

    def _approach(self, place: str, thought: str, actions: frozenset[str]) -> Move:
        for act in (f"go to {place}", f"open {place}", f"examine {place}"):
            if act in actions:
                return Move(thought, act)
        return Move(thought, "look")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
