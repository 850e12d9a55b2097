"""Finds what household successes show: the order of steps, and where things were found."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence

from skillrl.teacher.simulated.domain import Entry, advised, entry
from skillrl.teacher.simulated.household.advice import ADVICE, SEARCH_CAUSES, filled
from skillrl.teacher.simulated.household.reading import (
    APPLIANCES,
    OFTEN,
    Aim,
    read_aim,
    read_facts,
    sightings,
    wasted,
)
from skillrl.teacher.simulated.recordings import GENERAL, Recording

_FORMS = {
    "clean": "Find the object, take it, clean it with sinkbasin, then put it.",
    "heat": "Find the object, take it, heat it with microwave, then put it.",
    "cool": "Find the object, take it, cool it with fridge, then put it.",
    "two": "Find the object, take it, put it, then bring the second one.",
    "look": "Find the object, take it, go to the lamp and use it.",
    "place": "Find the object, take it, go to the place and put it.",
}
_FORM_ADVICE = {"two": "second", "look": "no_lamp", "place": "not_put"}

HABITS = (
    entry(
        "Hold one object",
        "You can hold only one object, so put it before the next.",
        "you hold an object",
    ),
)


def patterns(wins: Sequence[Recording]) -> list[Entry]:
    """Shows the procedure of most, its decisive step, closed places.

    Where things are kept is the same for all categories: see `homes`.
    """
    kinds = collections.Counter(_kind(recording) for recording in wins)
    kind = min(kinds, key=lambda name: (-kinds[name], list(_FORMS).index(name)))
    shown = [recording.id for recording in wins if _kind(recording) == kind]
    aim = Aim(
        thing="", place="", treatment=kind if kind in APPLIANCES else "", two=False, look=False
    )
    name = {"two": "bring two", "look": "use lamp", "place": "pick and place"}.get(kind, kind)
    found = [entry(f"Steps to {name}", _FORMS[kind], _start(kind), sources=shown)]
    sources = [recording.id for recording in wins] if kind == "place" else shown
    found.append(_advice(_FORM_ADVICE.get(kind, "no_appliance"), aim, sources))
    opened = [r.id for r in wins if read_facts(r, read_aim(r).thing).opened]
    if opened:
        found.append(_advice("closed", aim, opened))
    return found


def findings(
    shown: Sequence[Recording], causes: Sequence[str], known: Mapping[str, str]
) -> list[Entry]:
    """Shows where things are kept, what the failures sought first, then what was seen most.

    It says what the recordings show: one sighting may mislead, and where a thing lay in two kinds
    of places both are named. What is known is contradicted by two households, not by one.

    Args:
      shown: failures, and successes at the same tasks.
      causes: what the failures are due to; without one of the search, nothing is said.
      known: title -> principle of the skills that there are.

    Returns:
      Skills; under a known title only where what it names is not where the thing lies.
    """
    if not set(causes) & set(SEARCH_CAUSES):
        return []
    sought = [read_aim(recording).thing for recording in shown if not recording.won]
    homes = _homes(shown)
    order = [t for t in dict.fromkeys(sought) if t in homes] + [
        thing for thing, home in homes.items() if thing not in sought and len(home.sources) > 1
    ]
    found = []
    for thing in order:
        home = homes[thing]
        item = _find(thing, home.places, home.sources) | {
            "category": GENERAL,
            "cause": f"It was not known where {thing} is kept.",
        }
        words = known.get(item["title"])
        if words is None:
            found.append(item)
        elif home.tasks > 1 and not set(home.places) & set(re.findall(r"[a-z]+", words)):
            found.append(item | {"cause": f"There is no {thing} where it says."})
    return found


def pattern_texts() -> list[str]:
    """Returns every fixed word of the above."""
    habit = HABITS[0]
    texts = [OFTEN, habit["title"], habit["principle"], habit["when_to_apply"], *_FORMS.values()]
    return [text.replace("{thing}", "").replace("{place}", "") for text in texts]


def title_texts() -> list[str]:
    """Returns every fixed word of its titles and of when they apply."""
    return ["Find it", "you search it", *map(_start, _FORMS)]


def _advice(cause: str, aim: Aim, sources: Sequence[str]) -> Entry:
    return advised(ADVICE[cause], lambda text: filled(text, aim), sources)


def _procedure(recording: Recording) -> str:
    """Returns the order of the verbs that had an effect, e.g. "take heat put"."""
    verbs = []
    for move in recording.moves:
        verb = move.action.split(" ")[0]
        verb = {"move": "put", "toggle": "use", "turn": "use"}.get(verb, verb)
        if not wasted(move) and verb in ("take", "clean", "heat", "cool", "put", "use"):
            verbs.append(verb)
    return " ".join(verbs)


def _kind(recording: Recording) -> str:
    """Returns the key of `_FORMS` that the recording's verbs show."""
    verbs, aim = _procedure(recording), read_aim(recording)
    if aim.treatment and re.search(rf"take.*{aim.treatment}.*put", verbs):
        return aim.treatment
    if aim.two and re.search(r"take.*put.*take.*put", verbs):
        return "two"
    return "look" if aim.look and re.search(r"\buse\b", verbs) else "place"


@dataclasses.dataclass(frozen=True, slots=True)
class _Home:
    """Where a class of objects lay.

    Attributes:
      places: up to two classes, the frequent one first.
      sources: ids of the recordings that saw it anywhere.
      tasks: how many saw it in the first of the places.
    """

    places: tuple[str, ...]
    sources: tuple[str, ...]
    tasks: int


def _homes(recordings: Sequence[Recording]) -> dict[str, _Home]:
    """Returns class of object -> where it lay, those seen in most recordings first.

    A household counts once, however many recordings of its task there are: what is exceptional in
    it, all of them saw.
    """
    places: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    sources: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for thing, place, _ in {
        (thing, place, recording.task): None
        for recording in recordings
        for thing, place in sightings(recording)
    }:
        places[thing][place] += 1
    for recording in recordings:
        for thing, _ in sightings(recording):
            sources[thing][recording.id] = None
    homes = {}
    for thing in sorted(places, key=lambda name: (-len(sources[name]), name)):
        ranked = sorted(places[thing].items(), key=lambda item: (-item[1], item[0]))
        best = ranked[0][1]
        often = [place for place, count in ranked[:2] if 2 * count > best]
        homes[thing] = _Home(tuple(often), tuple(sources[thing]), best)
    return homes


def homes(recordings: Sequence[Recording]) -> list[Entry]:
    """Shows where the objects of the goals are kept, those with most sightings first."""
    sought = {read_aim(recording).thing for recording in recordings}
    return [
        _find(thing, home.places, home.sources)
        for thing, home in _homes(recordings).items()
        if thing in sought
    ]


def _find(thing: str, places: Sequence[str], sources: Sequence[str]) -> Entry:
    principle = OFTEN.format(thing=thing, place=" or ".join(places[:2]))
    return entry(f"Find {thing}", principle, f"you search {thing}", sources=sources)


def _start(kind: str) -> str:
    word = {"two": "two object", "place": "pick and place"}.get(kind, kind)
    return f"start of a {word} task"
