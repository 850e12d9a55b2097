"""Gives short advice against each cause of failure in a household."""

from __future__ import annotations

from skillrl.teacher.simulated import domain
from skillrl.teacher.simulated.domain import Advice, capital
from skillrl.teacher.simulated.household.reading import APPLIANCES, Aim

ADVICE = {
    "invalid": Advice(
        title="Choose listed actions",
        principle="Use only an action from the list of admissible actions.",
        stronger="Copy one action from the list, word for word.",
        when="at every step",
        mistake="Used unlisted actions",
        wrong="Many actions were not admissible.",
    ),
    "closed": Advice(
        title="Open closed places",
        principle="Open a closed place and look in it before you go on.",
        stronger="Never leave a closed place before you open it.",
        when="a place is closed",
        mistake="Left places closed",
        wrong="A closed place was never opened.",
    ),
    "revisit": Advice(
        title="Search new places",
        principle="Go to a place where you did not look before.",
        stronger="One look at each place is enough, then go to a new place.",
        when="the object is not found",
        mistake="Searched places again",
        wrong="The same places were searched again and again.",
    ),
    "slow": Advice(
        title="Search in order",
        principle="Go to the first place on the list where you did not look.",
        stronger="Do not waste steps, look at one new place after the other.",
        when="you search the object",
        mistake="Searched too long",
        wrong="The steps ran out while searching.",
    ),
    "sight": Advice(
        title="Take on sight",
        principle="Take the object of the task as soon as you see it.",
        stronger="When you see the object, the next action is to take it.",
        when="you see the object",
        mistake="Passed the object",
        wrong="The object was seen but never taken.",
    ),
    "wrong_object": Advice(
        title="Take the right object",
        principle="Take only the object that the task names.",
        stronger="Read the task again before you take an object.",
        when="before you take an object",
        mistake="Took the wrong object",
        wrong="Another object than the task's was taken.",
    ),
    "untreated": Advice(
        title="{verb} before you put",
        principle="Go to {appliance} and {verb} the object before you put it.",
        stronger="Never put the object before you {verb} it with {appliance}.",
        when="the task says {verb}",
        mistake="Forgot to {verb}",
        wrong="The object was put in place before the {verb} step.",
    ),
    "no_appliance": Advice(
        title="Go to {appliance}",
        principle="With the object in hand, go to {appliance} and {verb} it.",
        stronger="After you take the object, the next place is {appliance}.",
        when="you hold the object",
        mistake="Never went to {appliance}",
        wrong="The object was held but never brought to {appliance}.",
    ),
    "unused_appliance": Advice(
        title="{verb} at {appliance}",
        principle="At {appliance}, {verb} the object at once.",
        stronger="When you are at {appliance}, the next action is to {verb} the object.",
        when="you are at {appliance}",
        mistake="Did not use {appliance}",
        wrong="The object was at {appliance}, but the {verb} step was not done.",
    ),
    "wrong_treated": Advice(
        title="{verb} the right object",
        principle="Only {verb} the object that the task names.",
        stronger="Read the task again before you {verb} an object.",
        when="you are at {appliance}",
        mistake="Used {appliance} wrong",
        wrong="Another object than the task's went through the {verb} step.",
    ),
    "second": Advice(
        title="Bring the second one",
        principle="After the first object is in place, find and bring the second one.",
        stronger="The task needs two objects, so search again after the first one.",
        when="one object is in place",
        mistake="Forgot the second one",
        wrong="Only one of two objects was brought.",
    ),
    "no_delivery": Advice(
        title="Bring it to place",
        principle="Go to the place of the task and put the object there.",
        stronger="With the object in hand, the next place is that of the task.",
        when="you hold the object",
        mistake="Never brought it",
        wrong="The object was held but never brought to its place.",
    ),
    "not_put": Advice(
        title="Put it at once",
        principle="At the place of the task, put the object at once.",
        stronger="When you are at the right place, the next action is to put it.",
        when="you are at the right place",
        mistake="Did not put it",
        wrong="The object was at the right place but was not put there.",
    ),
    "wrong_place": Advice(
        title="Put in right place",
        principle="Put the object only in the place that the task names.",
        stronger="Do not put the object down before the place of the task.",
        when="before you put an object",
        mistake="Put in wrong place",
        wrong="The object was put in another place than the task's.",
    ),
    "no_lamp": Advice(
        title="Use the lamp",
        principle="With the object in hand, go to the lamp and use it.",
        stronger="After you take the object, find the lamp and use it.",
        when="you hold the object",
        mistake="Forgot the lamp",
        wrong="The object was held but the lamp was never used.",
    ),
    "lamp_first": Advice(
        title="Object before lamp",
        principle="Take the object first, then go to the lamp and use it.",
        stronger="The lamp helps only with the object in hand.",
        when="you are at the lamp",
        mistake="Lamp without object",
        wrong="The lamp was used without the object in hand.",
    ),
    "unfinished": Advice(
        title="Follow the task",
        principle="Do the steps of the task in order, one after the other.",
        stronger="Read the task again and do the step that is missing.",
        when="at every step",
        mistake="Lost the goal",
        wrong="The steps of the task were not finished.",
    ),
}

GENERAL_CAUSES = ("invalid", "closed", "revisit", "sight", "unfinished", "slow")
"""Causes that have nothing to do with one category."""

SEARCH_CAUSES = ("closed", "revisit", "slow", "sight")


def filled(text: str, aim: Aim) -> str:
    """Puts the treatment's words into `text`, first letter in upper case."""
    verb = aim.treatment or "clean"
    text = text.replace("{verb}", verb).replace("{appliance}", APPLIANCES[verb])
    return capital(text)


def advice_texts() -> list[str]:
    """Returns every advice with every treatment put in: what a small tokeniser should know."""
    aims = [Aim(thing="", place="", treatment=verb, two=False, look=False) for verb in APPLIANCES]
    texts = [filled(text, aim) for text in domain.advice_texts(ADVICE) for aim in aims]
    return list(dict.fromkeys(texts))
