"""Why a household episode failed, read from its text; and the short advice against each cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from skillrl.teacher.reading import (
    APPLIANCES,
    Aim,
    Facts,
    Recording,
    kind_of,
    most_visits,
    read_aim,
    read_facts,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """Words against one cause; ``{verb}`` and ``{appliance}`` are those of the task.

    Attributes:
      title: of the skill, at most 4 words.
      principle: at most 14 words.
      stronger: other words for the same, where the first did not help.
      when: at most 8 words.
      mistake: title of the mistake.
      wrong: what was wrong, for lessons.
    """

    title: str
    principle: str
    stronger: str
    when: str
    mistake: str
    wrong: str


ADVICE = {
    "invalid": Advice(
        "Choose listed actions",
        "Use only an action from the list of admissible actions.",
        "Copy one action from the list, word for word.",
        "at every step",
        "Used unlisted actions",
        "Many actions were not admissible.",
    ),
    "closed": Advice(
        "Open closed places",
        "Open a closed place and look in it before you go on.",
        "Never leave a closed place before you open it.",
        "a place is closed",
        "Left places closed",
        "A closed place was never opened.",
    ),
    "revisit": Advice(
        "Search new places",
        "Go to a place where you did not look before.",
        "One look at each place is enough, then go to a new place.",
        "the object is not found",
        "Searched places again",
        "The same places were searched again and again.",
    ),
    "slow": Advice(
        "Search in order",
        "Go to the first place on the list where you did not look.",
        "Do not waste steps, look at one new place after the other.",
        "you search the object",
        "Searched too long",
        "The steps ran out while searching.",
    ),
    "sight": Advice(
        "Take on sight",
        "Take the object of the task as soon as you see it.",
        "When you see the object, the next action is to take it.",
        "you see the object",
        "Passed the object",
        "The object was seen but never taken.",
    ),
    "wrong_object": Advice(
        "Take the right object",
        "Take only the object that the task names.",
        "Read the task again before you take an object.",
        "before you take an object",
        "Took the wrong object",
        "Another object than the task's was taken.",
    ),
    "untreated": Advice(
        "{verb} before you put",
        "Go to {appliance} and {verb} the object before you put it.",
        "Never put the object before you {verb} it with {appliance}.",
        "the task says {verb}",
        "Forgot to {verb}",
        "The object was put in place before the {verb} step.",
    ),
    "no_appliance": Advice(
        "Go to {appliance}",
        "With the object in hand, go to {appliance} and {verb} it.",
        "After you take the object, the next place is {appliance}.",
        "you hold the object",
        "Never went to {appliance}",
        "The object was held but never brought to {appliance}.",
    ),
    "unused_appliance": Advice(
        "{verb} at {appliance}",
        "At {appliance}, {verb} the object at once.",
        "When you are at {appliance}, the next action is to {verb} the object.",
        "you are at {appliance}",
        "Did not use {appliance}",
        "The object was at {appliance}, but the {verb} step was not done.",
    ),
    "wrong_treated": Advice(
        "{verb} the right object",
        "Only {verb} the object that the task names.",
        "Read the task again before you {verb} an object.",
        "you are at {appliance}",
        "Used {appliance} wrong",
        "Another object than the task's went through the {verb} step.",
    ),
    "second": Advice(
        "Bring the second one",
        "After the first object is in place, find and bring the second one.",
        "The task needs two objects, so search again after the first one.",
        "one object is in place",
        "Forgot the second one",
        "Only one of two objects was brought.",
    ),
    "no_delivery": Advice(
        "Bring it to place",
        "Go to the place of the task and put the object there.",
        "With the object in hand, the next place is that of the task.",
        "you hold the object",
        "Never brought it",
        "The object was held but never brought to its place.",
    ),
    "not_put": Advice(
        "Put it at once",
        "At the place of the task, put the object at once.",
        "When you are at the right place, the next action is to put it.",
        "you are at the right place",
        "Did not put it",
        "The object was at the right place but was not put there.",
    ),
    "wrong_place": Advice(
        "Put in right place",
        "Put the object only in the place that the task names.",
        "Do not put the object down before the place of the task.",
        "before you put an object",
        "Put in wrong place",
        "The object was put in another place than the task's.",
    ),
    "no_lamp": Advice(
        "Use the lamp",
        "With the object in hand, go to the lamp and use it.",
        "After you take the object, find the lamp and use it.",
        "you hold the object",
        "Forgot the lamp",
        "The object was held but the lamp was never used.",
    ),
    "lamp_first": Advice(
        "Object before lamp",
        "Take the object first, then go to the lamp and use it.",
        "The lamp helps only with the object in hand.",
        "you are at the lamp",
        "Lamp without object",
        "The lamp was used without the object in hand.",
    ),
    "unfinished": Advice(
        "Follow the task",
        "Do the steps of the task in order, one after the other.",
        "Read the task again and do the step that is missing.",
        "at every step",
        "Lost the goal",
        "The steps of the task were not finished.",
    ),
}

GENERAL_CAUSES = ("invalid", "closed", "revisit", "sight", "unfinished", "slow")
"""Causes that have nothing to do with one category."""

SEARCH_CAUSES = ("closed", "revisit", "slow", "sight")

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
    """The goal's object was never in hand."""
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
    """The goal's object was in hand at some time."""
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


def filled(text: str, aim: Aim) -> str:
    """`text` with the treatment's words put in, first letter in upper case."""
    verb = aim.treatment or "clean"
    text = text.replace("{verb}", verb).replace("{appliance}", APPLIANCES[verb])
    return text[:1].upper() + text[1:]


def vocabulary_texts() -> list[str]:
    """Every advice with every treatment put in: what a small tokeniser should know."""
    aims = [Aim("", "", verb, False, False) for verb in APPLIANCES]
    parts: list[Callable[[Advice], str]] = [
        lambda a: a.title, lambda a: a.principle, lambda a: a.stronger,
        lambda a: a.when, lambda a: a.mistake,
    ]  # fmt: skip
    texts = [filled(part(a), aim) for a in ADVICE.values() for part in parts for aim in aims]
    return list(dict.fromkeys(texts))
