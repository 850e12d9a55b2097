"""Short advice against each cause of failure in a household."""

from __future__ import annotations

from skillrl.teacher.simulated import domain
from skillrl.teacher.simulated.domain import Advice, capital
from skillrl.teacher.simulated.household.reading import APPLIANCES, Aim

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


def filled(text: str, aim: Aim) -> str:
    """`text` with the treatment's words put in, first letter in upper case."""
    verb = aim.treatment or "clean"
    text = text.replace("{verb}", verb).replace("{appliance}", APPLIANCES[verb])
    return capital(text)


def advice_texts() -> list[str]:
    """Every advice with every treatment put in: what a small tokeniser should know."""
    aims = [Aim("", "", verb, False, False) for verb in APPLIANCES]
    texts = [filled(text, aim) for text in domain.advice_texts(ADVICE) for aim in aims]
    return list(dict.fromkeys(texts))
