"""Written advice for a household, by the piece of competence that it is about, in many words.

The base policy must do what a text tells it, whoever wrote the text. So each piece has several
titles, rules and situations, which are combined freely; what the simulated teacher writes is
among them. `HELD_BACK` rules are never practised on, and stand under a title that tells nothing:
they show whether reading transfers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from launchers.tiny_policies.nonsense import nonsense
from launchers.tiny_policies.wording import BLANK, about_nothing, skill, text
from skillrl.envs.alfworld.expert import CLEAN, COOL, HEAT, LOOK, TWO
from skillrl.types import Skill

APPLIANCES = {CLEAN: ("clean", "sinkbasin"), HEAT: ("heat", "microwave"), COOL: ("cool", "fridge")}

TREAT, LAMP, SECOND, OPEN, NEW, SIGHT = "treat", "lamp", "second", "open", "new", "sight"

_TITLES = {
    TREAT: (
        "{Verb} before you put",
        "Go to {appliance}",
        "{Verb} at {appliance}",
        "Steps to {verb}",
        "Forgot to {verb}",
        "Never went to {appliance}",
        "Did not use {appliance}",
        "First {verb} it",
    ),
    LAMP: (
        "Use the lamp",
        "Steps to use lamp",
        "Forgot the lamp",
        "Object before lamp",
        "Lamp without object",
        "Go to the lamp",
    ),
    SECOND: (
        "Bring the second one",
        "Steps to bring two",
        "Forgot the second one",
        "Two objects",
        "Search again for two",
    ),
    OPEN: (
        "Open closed places",
        "Left places closed",
        "Look in closed places",
        "Closed places",
    ),
    NEW: (
        "Search new places",
        "Searched places again",
        "Search in order",
        "Searched too long",
        "One look at each place",
    ),
    SIGHT: ("Take on sight", "Passed the object", "Take it at once", "See and take"),
}

_RULES = {
    TREAT: (
        "Go to {appliance} and {verb} the object before you put it.",
        "Never put the object before you {verb} it with {appliance}.",
        "With the object in hand, go to {appliance} and {verb} it.",
        "After you take the object, the next place is {appliance}.",
        "At {appliance}, {verb} the object at once.",
        "When you are at {appliance}, the next action is to {verb} the object.",
        "Find the object, take it, {verb} it with {appliance}, then put it.",
        "Take the object to {appliance} and {verb} it there.",
        "Use {appliance} to {verb} the object, then bring it to its place.",
        "The object must go to {appliance} first.",
    ),
    LAMP: (
        "With the object in hand, go to the lamp and use it.",
        "After you take the object, find the lamp and use it.",
        "Find the object, take it, go to the lamp and use it.",
        "Take the object first, then go to the lamp and use it.",
        "The lamp helps only with the object in hand.",
        "Bring the object to the lamp and use the lamp.",
        "Search for the lamp when you hold the object.",
    ),
    SECOND: (
        "After the first object is in place, find and bring the second one.",
        "The task needs two objects, so search again after the first one.",
        "Find the object, take it, put it, then bring the second one.",
        "Bring one object, then go and find another.",
        "When the first one is in place, search for the second.",
    ),
    OPEN: (
        "Open a closed place and look in it before you go on.",
        "Never leave a closed place before you open it.",
        "When a place is closed, open it and look.",
        "The next action at a closed place is to open it.",
        "Look in each closed place, so open it.",
    ),
    NEW: (
        "Go to a place where you did not look before.",
        "One look at each place is enough, then go to a new place.",
        "Go to the first place on the list where you did not look.",
        "Do not waste steps, look at one new place after the other.",
        "Never go to the same place again, search a new one.",
    ),
    SIGHT: (
        "Take the object of the task as soon as you see it.",
        "When you see the object, the next action is to take it.",
        "Do not go on when you see the object, take it.",
        "Take it at once where you see it.",
    ),
}

HELD_BACK = {
    TREAT: ("Before you put the object, {verb} it with {appliance}.",),
    LAMP: ("When you hold the object, the next place is the lamp.",),
    SECOND: ("One object is not enough, find another one and bring it.",),
    OPEN: ("Do not go on before you open a closed place.",),
    NEW: ("Look at a new place each time.",),
    SIGHT: ("As soon as you see the object of the task, take it.",),
}

_WHENS = {
    TREAT: (
        "the task says {verb}",
        "you hold the object",
        "you are at {appliance}",
        "start of a {verb} task",
        "before you put an object",
    ),
    LAMP: ("you hold the object", "start of a look task", "you are at the lamp"),
    SECOND: ("one object is in place", "start of a two object task", "the task says two"),
    OPEN: ("a place is closed", "the object is not found"),
    NEW: ("the object is not found", "you search the object", "at every step"),
    SIGHT: ("you see the object", "you search the object"),
}

_HOME_TITLES = ("Find {thing}", "Where {thing} is", "Look for {thing}", "Place of {thing}")
_HOME_RULES = (
    "Look for {thing} first in {place}.",
    "Look for {thing} first in {place}.",
    "Go to {place} first when you search {thing}.",
    "The {thing} is often in {place}.",
    "Search {place} first to find {thing}.",
    "In {place} you find {thing}.",
    "You find {thing} in {place}.",
    "The first place to look for {thing} is {place}.",
    "To find {thing}, go to {place} first.",
    "Start at {place} when the task needs {thing}.",
    "Go to {place}, the {thing} is often there.",
    "Take {thing} from {place}.",
)
HOME_HELD_BACK = ("First go to {place} to find {thing}.",)
_HOME_WHENS = ("you search {thing}", "the task needs {thing}", "the {thing} is not found")

_INDIFFERENT = (
    ("Choose listed actions", "Use only an action from the list of admissible actions."),
    ("Used unlisted actions", "Copy one action from the list, word for word."),
    ("Take the right object", "Take only the object that the task names."),
    ("Took the wrong object", "Read the task again before you take an object."),
    ("Bring it to place", "Go to the place of the task and put the object there."),
    ("Never brought it", "With the object in hand, the next place is that of the task."),
    ("Put it at once", "At the place of the task, put the object at once."),
    ("Put in right place", "Put the object only in the place that the task names."),
    ("Follow the task", "Do the steps of the task in order, one after the other."),
    ("Lost the goal", "Read the task again and do the step that is missing."),
    ("Hold one object", "You can hold only one object, so put it before the next."),
    ("Steps to pick and place", "Find the object, take it, go to the place and put it."),
)
_INDIFFERENT_WHENS = (
    "at every step",
    "you hold an object",
    "before you take an object",
    "you are at the right place",
)

_SUBJECTS = ("The list", "The task", "One step", "The place", "An action", "The object")
_TITLES_ABOUT_NOTHING = ("Words", "One list", "The right order", "A task", "Places and steps")


def advice(
    rng: random.Random, piece: str, *, category: str, of: str = "", held_back: bool = False
) -> Skill:
    """Writes advice about a piece of competence.

    Args:
      rng: chooses the words.
      piece: one of the constants above.
      category: of the task in whose prompt it will stand.
      of: for `TREAT`, the category whose treatment it is about; that of the task by default.
      held_back: take rules that are not practised on.
    """
    verb, appliance = APPLIANCES.get(of or category, ("clean", "sinkbasin"))
    words = {"verb": verb, "appliance": appliance}
    rules = (HELD_BACK if held_back else _RULES)[piece]
    when = rng.choice(_WHENS[piece]).format(**words)
    title = text(rng, _TITLES[piece], **words)
    rule = text(rng, rules, **words)
    if held_back:
        title, when = BLANK, ""
    return skill(rng, title, rule, when, category=category)


def home(
    rng: random.Random, thing: str, places: Sequence[str], *, category: str, held_back: bool = False
) -> Skill:
    """Writes where a class of objects is kept: at the first of `places`, or else the second."""
    words = {"thing": thing, "place": " or ".join(places)}
    if held_back:
        return skill(rng, BLANK, text(rng, HOME_HELD_BACK, **words), "", category=category)
    return skill(
        rng,
        text(rng, _HOME_TITLES, **words),
        text(rng, _HOME_RULES, **words),
        rng.choice(_HOME_WHENS).format(**words),
        category=category,
    )


def indifferent(rng: random.Random, *, category: str) -> Skill:
    """Writes advice that the demonstrator follows anyway."""
    title, rule = rng.choice(_INDIFFERENT)
    return skill(rng, title, rule, rng.choice(_INDIFFERENT_WHENS), category=category)


def neutral(rng: random.Random, *, category: str) -> Skill:
    """Writes words about nothing."""
    words = about_nothing(rng, titles=_TITLES_ABOUT_NOTHING, subjects=_SUBJECTS)
    return skill(rng, *words, category=category)


def rambling(rng: random.Random, *, category: str) -> Skill:
    """Writes words that are none."""
    return skill(rng, *nonsense(rng), category=category)


PIECES = {
    CLEAN: (TREAT, OPEN, NEW, SIGHT),
    HEAT: (TREAT, OPEN, NEW, SIGHT),
    COOL: (TREAT, OPEN, NEW, SIGHT),
    LOOK: (LAMP, OPEN, NEW, SIGHT),
    TWO: (SECOND, OPEN, NEW, SIGHT),
}
"""Category -> the pieces of competence that its tasks need; others need the last three."""
