"""Finds what household successes show: the order of steps, and where things were found."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from skillrl.teacher.simulated.domain import Entry, advised, entry
from skillrl.teacher.simulated.household.advice import ADVICE, SEARCH_CAUSES, filled
from skillrl.teacher.simulated.household.reading import (
    APPLIANCES,
    Aim,
    read_aim,
    read_facts,
    wasted,
)
from skillrl.teacher.simulated.recordings import Recording

_OFTEN = "Look for {thing} first in {place}."
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
    """Shows the procedure of most, its decisive step, where objects were, closed places."""
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
    found += [_find(*item) for item in _where(wins)]
    opened = [r.id for r in wins if read_facts(r, read_aim(r).thing).opened]
    if opened:
        found.append(_advice("closed", aim, opened))
    return found


def findings(wins: Sequence[Recording], causes: Sequence[str]) -> list[Entry]:
    """Shows where things were found, if failures of the category are due to the search."""
    if not set(causes) & set(SEARCH_CAUSES):
        return []
    why = "The object was not found in time."
    return [_find(*item) | {"category": wins[0].category, "cause": why} for item in _where(wins)]


def pattern_texts() -> list[str]:
    """Returns every fixed word of the above."""
    habit = HABITS[0]
    texts = [_OFTEN, habit["title"], habit["principle"], habit["when_to_apply"], *_FORMS.values()]
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


def _where(wins: Sequence[Recording]) -> list[tuple[str, list[str], list[str]]]:
    """Returns (thing, places where it was taken, ids) of the goals' objects, by frequency."""
    places: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    sources: dict[str, list[str]] = collections.defaultdict(list)
    for recording in wins:
        aim = read_aim(recording)
        for thing, place in read_facts(recording, aim.thing).taken:
            if thing == aim.thing:
                places[thing][place] += 1
                sources[thing].append(recording.id)
    order = sorted(places, key=lambda thing: (-places[thing].total(), thing))
    return [
        (thing, [p for p, _ in sorted(places[thing].items(), key=lambda e: (-e[1], e[0]))],
         sources[thing])
        for thing in order
    ]  # fmt: skip


def _find(thing: str, places: Sequence[str], sources: Sequence[str]) -> Entry:
    principle = _OFTEN.format(thing=thing, place=" or ".join(places[:2]))
    return entry(f"Find {thing}", principle, f"you search {thing}", sources=sources)


def _start(kind: str) -> str:
    word = {"two": "two object", "place": "pick and place"}.get(kind, kind)
    return f"start of a {word} task"
