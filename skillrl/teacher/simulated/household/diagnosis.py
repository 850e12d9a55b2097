"""Tells why a household episode failed, read from its text."""

from __future__ import annotations

from skillrl.teacher.simulated.household.reading import (
    APPLIANCES,
    Aim,
    Facts,
    kind_of,
    most_visits,
    read_aim,
    read_facts,
)
from skillrl.teacher.simulated.recordings import Recording

_WASTE = 0.3  # share of moves without effect from which they are the cause
_REVISITS = 3


def causes(recording: Recording) -> list[str]:
    """Keys of `ADVICE` that fit a failed recording, the decisive one first."""
    aim = read_aim(recording)
    facts = read_facts(recording, aim.thing)
    found: list[str] = []
    if recording.moves and facts.wasted / len(recording.moves) >= _WASTE:
        found.append("invalid")
    held = any(not aim.thing or thing == aim.thing for thing, _ in facts.taken)
    found += _after_taking(aim, facts) if held else _searching(facts)
    return list(dict.fromkeys(found or ["unfinished"]))


def _searching(facts: Facts) -> list[str]:
    """Tells whether the goal's object was never in hand."""
    found = []
    if facts.taken:
        found.append("wrong_object")
    elif facts.seen:
        found.append("sight")
    again = len(facts.visits) - len(set(facts.visits))
    walked_in_circles = most_visits(facts.visits) >= _REVISITS
    if facts.passed and not (walked_in_circles and again > 2 * len(facts.passed)):
        found.append("closed")
    if walked_in_circles:
        found.append("revisit")
    return found or ["slow"]


def _after_taking(aim: Aim, facts: Facts) -> list[str]:
    """Tells whether the goal's object was in hand at some time."""
    if aim.look:
        if not facts.lamps:
            return ["no_lamp"]
        return ["unfinished" if any(facts.lamps) else "lamp_first"]
    places = {kind_of(name) for name in facts.visits}
    mine = [item for item in facts.put if not aim.thing or item[0] == aim.thing]
    there = [item for item in mine if not aim.place or item[1] == aim.place]
    if aim.treatment:
        done = [thing for verb, thing in facts.treated if verb == aim.treatment]
        if not any(not aim.thing or thing == aim.thing for thing in done):
            appliance = APPLIANCES[aim.treatment]
            found = ["untreated"] if there else []
            if done:
                return [*found, "wrong_treated"]
            return [*found, "unused_appliance" if appliance in places else "no_appliance"]
    if aim.two and len(there) == 1:
        return ["second"]
    if mine and not there:
        return ["wrong_place"]
    if not mine:
        return ["not_put" if aim.place in places else "no_delivery"]
    if aim.treatment and not any(treated for _, _, treated in there):
        return ["untreated"]
    return ["unfinished"]
