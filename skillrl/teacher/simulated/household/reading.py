"""Reads household text games (ALFWorld): what the goal asks for, and what happened."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from skillrl.teacher.simulated.recordings import RecordedMove, Recording

APPLIANCES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}

_TREATMENTS = {
    "clean": r"\b(clean|wash|rinse)\w*",
    "heat": r"\b(heat|hot|warm|microwaved?)\w*",
    "cool": r"\b(cool|cold|chill)\w*",
}
_NAME = r"([a-z]+) \d+"
_GOALS = (
    r"(?:look at|examine)(?: an?| the| some)? (\w+) (?:under|with|by|in)(?: the| an?)? (\w+)",
    r"(?:clean|wash|heat|cool|chill|find)(?: some| an?| the)?(?: two)? (\w+) and put (?:it|them) "
    r"(?:in|on|to|into)(?: the| an?| some)? (\w+)",
    r"put(?: two| some| an?| the)?(?: clean| hot| cool| cold)? (\w+) (?:in|on|to|into)"
    r"(?: the| an?| some)? (\w+)",
)


_ACTION = re.compile(
    rf"go to {_NAME}|(?:open|close|examine|use|toggle|turn on) {_NAME}|take {_NAME} from {_NAME}"
    rf"|(?:move|put) {_NAME} (?:to|in/on|in|on) {_NAME}|(?:clean|heat|cool|slice) {_NAME} with .+"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Holds what a goal sentence asks for; parts that it does not tell are ""."""

    thing: str
    place: str
    treatment: str
    two: bool
    look: bool


NO_AIM = Aim(thing="", place="", treatment="", two=False, look=False)


def evidence(recording: Recording) -> int:
    """Returns how many of the actions, and the goal too, are those of a household text game."""
    goal = any(re.search(form, recording.goal.lower()) for form in _GOALS)
    return goal + sum(bool(_ACTION.fullmatch(move.action)) for move in recording.moves)


def wasted(move: RecordedMove) -> bool:
    """Tells whether nothing came of a move."""
    return bool(move.invalid) or move.result.startswith("Nothing happens")


def read_aim(recording: Recording) -> Aim:
    """Reads what a goal asks for: its sentence, or the category's name where that is silent."""
    goal = recording.goal.lower().rstrip(".")
    both = f"{goal} {recording.category.replace('_', ' ').lower()}"
    thing = place = ""
    for form in _GOALS:
        if match := re.search(form, goal):
            thing, place = match[1], match[2]
            break
    treatment = next((verb for verb, form in _TREATMENTS.items() if re.search(form, both)), "")
    look = bool(re.search(r"\blook at\b|\b(light|lamp|desklamp|floorlamp)\b", both))
    two = bool(re.search(r"\btwo\b", both))
    return Aim(thing=thing, place=place, treatment="" if look else treatment, two=two, look=look)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Holds what happened in a recording.

    Attributes:
      visits: places gone to, in order, with repetitions.
      passed: places found closed and never opened.
      seen: the goal's object stood in a text.
      taken: (class of the object, class of the place) of each take.
      put: (class of the object, class of the place, was it treated) of each put.
      treated: (verb, class of the object).
      lamps: for each use of a lamp, whether the goal's object was in hand.
      opened: something was opened.
      wasted: moves of which nothing came.
    """

    visits: tuple[str, ...]
    passed: tuple[str, ...]
    seen: bool
    taken: tuple[tuple[str, str], ...]
    put: tuple[tuple[str, str, bool], ...]
    treated: tuple[tuple[str, str], ...]
    lamps: tuple[bool, ...]
    opened: bool
    wasted: int


def read_facts(recording: Recording, thing: str) -> Facts:
    """Reads the events of a recording from its texts alone."""
    visits: list[str] = []
    closed: dict[str, bool] = {}
    taken, put, treated, lamps = [], [], [], []
    held, hot, opened = "", set(), False
    # "The goal's object in a listing": a numbered name of its class.
    listed = re.compile(rf"\b{re.escape(thing)} \d+") if thing else None
    seen = bool(listed and listed.search(recording.opening))
    for move in recording.moves:
        if wasted(move):
            continue
        action = move.action
        seen = seen or bool(listed and listed.search(move.result))
        if match := re.fullmatch(r"go to (.+)", action):
            visits.append(match[1])
            if f"The {match[1]} is closed" in move.result:
                closed.setdefault(match[1], True)
        elif match := re.fullmatch(r"open (.+)", action):
            closed[match[1]] = False
            opened = True
        elif match := re.fullmatch(rf"take ({_NAME}) from {_NAME}", action):
            taken.append((match[2], match[3]))
            held = match[1]
        elif match := re.fullmatch(rf"(?:move|put) ({_NAME}) (?:to|in/on|in|on) {_NAME}", action):
            put.append((match[2], match[3], match[1] in hot))
            held = ""
        elif match := re.fullmatch(rf"(clean|heat|cool) ({_NAME}) with .+", action):
            treated.append((match[1], match[3]))
            hot.add(match[2])
        elif re.fullmatch(r"(use|toggle|turn on) .+", action):
            lamps.append(bool(held) and (not thing or held.startswith(f"{thing} ")))
    return Facts(
        visits=tuple(visits),
        passed=tuple(name for name, shut in closed.items() if shut),
        seen=seen,
        taken=tuple(taken),
        put=tuple(put),
        treated=tuple(treated),
        lamps=tuple(lamps),
        opened=opened,
        wasted=sum(wasted(move) for move in recording.moves),
    )


OFTEN = "Look for {thing} first in {place}."
"""The rule that says where a class of objects is kept; two classes of places are joined by or."""


def told_home(rules: Sequence[str], thing: str) -> str:
    """Returns where rules say that `thing` is kept, in the rule's words; "" where none does."""
    form = re.escape(OFTEN.format(thing=thing, place="_")).replace("_", "(.+)")
    return next((match[1] for rule in rules if (match := re.fullmatch(form, rule))), "")


_LISTING = re.compile(rf"(?:On the|The) ({_NAME})(?: is open\. In it)?, you see ([^.]*)\.")


def sightings(recording: Recording) -> list[tuple[str, str]]:
    """Reads where things lay before the agent moved any of them.

    Returns:
      (class of the object, class of the place), once for each object and place.
    """
    found: dict[tuple[str, str], tuple[str, str]] = {}
    carried: set[str] = set()
    for move in recording.moves:
        if match := re.fullmatch(rf"take ({_NAME}) from {_NAME}", move.action):
            carried.add(match[1])
        for place, _, listed in _LISTING.findall(move.result):
            for name in re.findall(r"[a-z]+ \d+", listed):
                if name not in carried:
                    found[name, place] = kind_of(name), kind_of(place)
    return list(found.values())


def kind_of(name: str) -> str:
    """Class of a numbered name: ``mug 2`` -> ``mug``."""
    return re.sub(r" \d+$", "", name)


def most_visits(visits: Sequence[str]) -> int:
    """Returns how often the most visited place was visited."""
    return max((visits.count(name) for name in set(visits)), default=0)
