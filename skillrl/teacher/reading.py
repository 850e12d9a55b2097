"""Reading recordings back from a teacher's prompt, for the simulated teacher.

Knows the layout of `skills.render` and the wording of household text games (ALFWorld);
of other environments it reads actions and validity, and no more.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

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


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """One step: what was done, why it was invalid ("" if it was not), what came of it."""

    action: str
    invalid: str
    result: str

    @property
    def wasted(self) -> bool:
        """Nothing came of it."""
        return bool(self.invalid) or self.result.startswith("Nothing happens")


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """A trajectory as the prompt tells it."""

    id: str
    goal: str
    category: str
    won: bool
    opening: str
    moves: tuple[Move, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Aim:
    """What a goal sentence asks for; parts that it does not tell are ""."""

    thing: str
    place: str
    treatment: str
    two: bool
    look: bool


def read_recordings(text: str) -> list[Recording]:
    """All recordings of a prompt, in order."""
    found = []
    for block in re.split(r"^=== Trajectory ", text, flags=re.M)[1:]:
        lines = block.split("\n=== End")[0].split("\n")
        head = {"Task": "", "Category": "", "Outcome": "", "Observation": ""}
        moves: list[dict[str, str]] = []
        for line in lines[1:]:
            label, _, value = line.partition(": ")
            if line.startswith("Step "):
                moves.append({})
            elif moves:
                moves[-1].setdefault(label, value)
            elif label in head:
                head[label] = value
        found.append(
            Recording(
                id=lines[0].strip(),
                goal=head["Task"],
                category=head["Category"],
                won=head["Outcome"].startswith("success"),
                opening=head["Observation"],
                moves=tuple(
                    Move(
                        action=move.get("Action", ""),
                        invalid=move.get("Valid", "").partition("no, ")[2],
                        result=move.get("Result", ""),
                    )
                    for move in moves
                ),
            )
        )
    return found


def read_skills(text: str) -> list[tuple[str, str, str, str]]:
    """(id, category, title, principle) of the skills that a prompt lists."""
    return re.findall(
        r"^\[(\w+)\] \(([^)]*)\) (.*?): (.*?)(?: \(won \d+ of \d+\))?$", text, flags=re.M
    )


def read_aim(recording: Recording) -> Aim:
    """What the goal asks for: its sentence, and the category's name where that is silent."""
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
    return Aim(thing, place, "" if look else treatment, two, look)


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What happened in a recording.

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
    """The events of a recording, from its texts alone."""
    visits: list[str] = []
    closed: dict[str, bool] = {}
    taken, put, treated, lamps = [], [], [], []
    held, hot, opened = "", set(), False
    # "The goal's object in a listing": a numbered name of its class.
    listed = re.compile(rf"\b{re.escape(thing)} \d+") if thing else None
    seen = bool(listed and listed.search(recording.opening))
    for move in recording.moves:
        if move.wasted:
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
        wasted=sum(move.wasted for move in recording.moves),
    )


def kind_of(name: str) -> str:
    """Class of a numbered name: ``mug 2`` -> ``mug``."""
    return re.sub(r" \d+$", "", name)


def most_visits(visits: Sequence[str]) -> int:
    """How often the most visited place was visited."""
    return max((visits.count(name) for name in set(visits)), default=0)
