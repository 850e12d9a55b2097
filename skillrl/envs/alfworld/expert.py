"""An expert that reads only what an agent reads: the goal sentence, texts, admissible actions.

It searches receptacles in the order of the admissible list, the ones it has visited last of all
and longest ago first; takes the object, treats it if the task says so, and delivers it. It knows
no more than a prompt with `agent.action_history` shows: the newest observation and which actions
were done, in which order. What it saw earlier it has forgotten. (An expert that remembers, or
that goes to likely places first, is three steps faster; but its pupil would have to guess what
the prompt does not say.) Everything it believes comes from observation texts, never from its own
past choices, so it stays right when somebody else acts in between.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

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
_TAKE = re.compile(r"take (\w+ \d+) from (\w+ \d+)")
_TAKEN = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_MOVED = re.compile(r"You (?:move|put) the (\w+ \d+) (?:to|in/on) the (\w+ \d+)\.")
_TREATED = re.compile(r"You (clean|heat|cool) the (\w+ \d+) using the")


@dataclasses.dataclass(frozen=True, slots=True)
class HouseholdGoal:
    """A template sentence, understood.

    Attributes:
      category: ALFRED's task type.
      thing: object class, in lower case.
      place: class of the destination, or of the lamp for `look_at_obj_in_light`.
    """

    category: str
    thing: str
    place: str


def parse_goal(sentence: str) -> HouseholdGoal:
    """Reads a template goal sentence of any of the six task types.

    Raises:
      SkillRLError: the sentence fits none of the templates.
    """
    text = sentence.strip().lower().rstrip(".")
    for category, form in _FORMS:
        if match := re.fullmatch(form, text):
            return HouseholdGoal(category, match[1], match[2])
    raise SkillRLError(
        f"goal {sentence!r}: not one of ALFWorld's template sentences (like 'put a clean mug in "
        "shelf'), so the text-only expert cannot plan for it. Play this task with a policy."
    )


def kind_of(name: str) -> str:
    """Returns the class of a numbered name: ``mug 2`` -> ``mug``."""
    return name.rsplit(" ", 1)[0]


class TemplateExpert:
    """Solves one episode; make a new one for the next.

    Args:
      goal: the task sentence.
      homes: class of object -> classes of furniture, in lower case: where somebody who knows the
        household looks first, in this order. Empty for a stranger.

    Raises:
      SkillRLError: the sentence is not a template one (see `parse_goal`).
    """

    def __init__(self, goal: str, homes: Mapping[str, Sequence[str]] = MappingProxyType({})):
        self.goal = parse_goal(goal)
        self.home = tuple(homes.get(self.goal.thing, ()))
        self.places: list[str] = []  # in the order of the room's overview
        self.visited: dict[str, None] = {}  # places, the last visited at the end
        self.since: set[str] = set()  # visited in search of the object that is sought now
        self.held = ""
        self.treated: set[str] = set()
        self.moved: dict[str, str] = {}  # object that was put down -> where
        self.refused: set[str] = set()  # destinations that did not accept the object

    def act(self, observation: Observation) -> Move:
        """Returns the next move, always an admissible one, given the newest observation."""
        self._read(observation)
        actions = observation.admissible
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
        self._add_places([a[6:] for a in observation.admissible if a.startswith("go to ")])
        if match := _ARRIVE.search(text):
            self._add_places([match[1]])
            self.visited.pop(match[1], None)
            self.visited[match[1]] = None
            self.since.add(match[1])
        if match := _TAKEN.search(text):
            self.held = match[1]
            self.moved.pop(match[1], None)
        if match := _MOVED.search(text):
            if kind_of(match[1]) == self.goal.thing and match[1] not in self.moved:
                self.since = set()
            self.held = ""
            self.moved[match[1]] = match[2]
        if match := _TREATED.search(text):
            wanted = TREATMENTS.get(self.goal.category, ("",))[0]
            if match[1] == wanted:
                self.treated.add(match[2])
            elif {match[1], wanted} == {"heat", "cool"}:
                self.treated.discard(match[2])

    def _add_places(self, names) -> None:
        self.places += [name for name in dict.fromkeys(names) if name not in self.places]

    # What to do about it.

    def _fetch(self, actions: Sequence[str]) -> Move:
        thing, target = self.goal.thing, self._target()
        two = self.goal.category == TWO
        another = two and any(kind_of(name) == thing for name in self.moved)
        need = f"I seek {'another' if another else _article(thing)} {thing}"
        for action in actions:
            if not (match := _TAKE.fullmatch(action)):
                continue
            name, place = match.groups()
            finished = place == target and (two or name in self.treated)
            if kind_of(name) == thing and not finished:
                return Move(f"{need} right here.", action)
        kept = f", kept in {' or '.join(self.home)}" if self.home else ""
        return self._search(f"{need}{kept}.", actions, first=self.home)

    def _light(self, actions: Sequence[str]) -> Move:
        lamp = self.goal.place
        for action in actions:
            if action.startswith("use ") and kind_of(action[4:]) == lamp:
                return Move(f"Look at the {self.goal.thing} under {action[4:]}.", action)
        return self._search(f"I seek {_article(lamp)} {lamp}.", actions)

    def _treat(self, actions: Sequence[str]) -> Move:
        verb, appliance = TREATMENTS[self.goal.category]
        for place in self.places:
            if kind_of(place) == appliance:
                thought = f"Now {verb} the {self.goal.thing} with {place}."
                act = f"{verb} {self.held} with {place}"
                if act in actions:
                    return Move(thought, act)
                return self._approach(place, thought, actions)
        return self._search(f"I seek {_article(appliance)} {appliance}.", actions)

    def _deliver(self, actions: Sequence[str]) -> Move:
        place = self._target()
        if not place:  # the overview was never shown: look around for one
            wanted = self.goal.place
            return self._search(f"I seek {_article(wanted)} {wanted}.", actions)
        thought = f"Put the {self.goal.thing} in {place}."
        for act in (f"move {self.held} to {place}", f"put {self.held} in/on {place}"):
            if act in actions:
                return Move(thought, act)
        move = self._approach(place, thought, actions)
        if move.action.startswith(("examine", "look")):  # here and open, yet it does not accept
            self.refused.add(place)
        return move

    def _drop(self, actions: Sequence[str]) -> Move:
        thought = f"I do not need the {kind_of(self.held)}."
        for start in (f"move {self.held} to ", f"put {self.held} in/on ", "open "):
            if act := next((a for a in actions if a.startswith(start)), ""):
                return Move(thought, act)
        return self._approach(self._next_place(actions), thought, actions)

    def _target(self) -> str:
        """Returns the destination: where the first of two was put, else number 1; or ""."""
        wanted = [p for p in self.places if kind_of(p) == self.goal.place]
        wanted = [p for p in wanted if p not in self.refused] or wanted
        wanted.sort(key=lambda p: not p.endswith(" 1"))
        if self.goal.category == TWO:
            thing = self.goal.thing
            filled = {p for name, p in self.moved.items() if kind_of(name) == thing}
            wanted.sort(key=lambda p: p not in filled)
        return wanted[0] if wanted else ""

    def _search(self, thought: str, actions: Sequence[str], *, first: Sequence[str] = ()) -> Move:
        place = self._next_place(actions, first)
        return self._approach(place, thought, actions)

    def _next_place(self, actions: Sequence[str], first: Sequence[str] = ()) -> str:
        """Chooses what is closed here, else the place never visited or longest ago; or "".

        Places of the classes `first` come before all others until they were visited in this
        search.
        """
        opened = [a[5:] for a in actions if a.startswith("open ")]
        listed = [a[6:] for a in actions if a.startswith("go to ")]
        ages = {place: age for age, place in enumerate(self.visited, start=1)}
        ranks = {kind: rank for rank, kind in enumerate(first)}

        def order(place: str) -> tuple[int, int]:
            rank = ranks.get(kind_of(place), len(ranks))
            return (len(ranks) if place in self.since else rank), ages.get(place, 0)

        listed.sort(key=order)
        return next(iter([*opened, *listed]), "")

    def _approach(self, place: str, thought: str, actions: Sequence[str]) -> Move:
        for act in (f"go to {place}", f"open {place}", f"examine {place}"):
            if act in actions:
                return Move(thought, act)
        return Move(thought, "look")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
