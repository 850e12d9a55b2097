"""Banks of which it is known what each skill is worth: per environment, all in this file.

Each has four helpful, four neutral and four harmful skills, general ones and some of one category.
What makes a skill helpful or harmful for the tiny policies is whether its advice is right: they do
what a text says. A neutral one says nothing that any step of a task depends on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from skillrl.skills.bank import SkillBank
from skillrl.types import GENERAL, Skill

HELPFUL, NEUTRAL, HARMFUL = "helpful", "neutral", "harmful"
WORTHS = (HELPFUL, NEUTRAL, HARMFUL)


@dataclasses.dataclass(frozen=True)
class Planted:
    """A bank, and of each of its skills by id whether it helps, hurts or does nothing."""

    bank: SkillBank
    worth: Mapping[str, str]


def alfworld() -> Planted:
    """Household advice: what to do with the object, nothing at all, or what loses the task."""
    clean, heat, cool = (f"pick_{verb}_then_place_in_recep" for verb in ("clean", "heat", "cool"))
    return _planted(
        (HELPFUL, clean, "Clean before you put",
         "Go to a sinkbasin and clean the object before you put it.", "the task says clean"),
        (HELPFUL, heat, "Heat before you put",
         "Go to a microwave and heat the object before you put it.", "the task says heat"),
        (HELPFUL, cool, "Cool before you put",
         "Go to a fridge and cool the object before you put it.", "the task says cool"),
        (HELPFUL, GENERAL, "Open closed places",
         "Open a closed place and look in it before you go on.", "a place is closed"),
        (NEUTRAL, clean, "Rooms have walls", "A room of a house has walls and a floor.", ""),
        (NEUTRAL, heat, "Days of the week", "A week has seven days, one after the other.", ""),
        (NEUTRAL, cool, "Names of things", "Each object of a room has a name and a number.", ""),
        (NEUTRAL, GENERAL, "A house", "A house has rooms, and each room has a door.", ""),
        (HARMFUL, clean, "Put it as it is",
         "Never clean the object, put it in place as it is.", "the task says clean"),
        (HARMFUL, heat, "Use the sink for heat",
         "Go to a sinkbasin and clean the object before you put it.", "the task says heat"),
        (HARMFUL, cool, "Use the heat for cool",
         "Go to a microwave and heat the object before you put it.", "the task says cool"),
        (HARMFUL, GENERAL, "Stay at one place",
         "Look at the same place again before you go to a new place.", "at every step"),
    )  # fmt: skip


def webshop() -> Planted:
    """Shopping advice for all goals."""
    return _planted(
        (HELPFUL, GENERAL, "Choose the options",
         "Choose each option that the goal names before you buy.", "you are at a product"),
        (HELPFUL, GENERAL, "Search with the goal",
         "Search with the words of the goal that name the product.", "at the first step"),
        (HELPFUL, GENERAL, "Check the price",
         "Open a product only if its price is below that of the goal.", "you see a list"),
        (HELPFUL, GENERAL, "Buy in the end", "Buy when all options are chosen.",
         "all options are chosen"),
        (NEUTRAL, GENERAL, "Shops have shelves", "A shop has many products.", ""),
        (NEUTRAL, GENERAL, "Days of the week", "A week has seven days.", ""),
        (NEUTRAL, GENERAL, "Colours", "There are many colours in the world.", ""),
        (NEUTRAL, GENERAL, "Numbers", "A price is a number.", ""),
        (HARMFUL, GENERAL, "Buy at once", "Buy the first product without any option.",
         "you are at a product"),
        (HARMFUL, GENERAL, "Go back", "Go back to the search again and again.", "at every step"),
        (HARMFUL, GENERAL, "Choose other options",
         "Choose an option that the goal does not name.", "you are at a product"),
        (HARMFUL, GENERAL, "Ignore the price", "Open the product with the highest price.",
         "you see a list"),
    )  # fmt: skip


def search() -> Planted:
    """Advice for questions."""
    return _planted(
        (HELPFUL, GENERAL, "Search before you answer",
         "Search for the name in the question before you answer.", "at the first step"),
        (HELPFUL, GENERAL, "Search the second link",
         "When a result names another person or place, search for that.", "there are two links"),
        (HELPFUL, GENERAL, "Answer from the text", "Answer with the words of the result.",
         "the result has the answer"),
        (HELPFUL, GENERAL, "Short answers", "Answer with the name alone.", "you answer"),
        (NEUTRAL, GENERAL, "Books have pages", "A book has many pages.", ""),
        (NEUTRAL, GENERAL, "Days of the week", "A week has seven days.", ""),
        (NEUTRAL, GENERAL, "Names", "A person has a name.", ""),
        (NEUTRAL, GENERAL, "Places", "A place has a name.", ""),
        (HARMFUL, GENERAL, "Answer at once", "Answer before you search.", "at the first step"),
        (HARMFUL, GENERAL, "Answer the question", "Answer with the name in the question.",
         "you answer"),
        (HARMFUL, GENERAL, "Search again", "Search for the same words again and again.",
         "at every step"),
        (HARMFUL, GENERAL, "Search other words", "Search for words that are not in the question.",
         "at every step"),
    )  # fmt: skip


PLANTED: Mapping[str, Callable[[], Planted]] = {
    "alfworld": alfworld,
    "webshop": webshop,
    "search": search,
}


def _planted(*rows: tuple[str, str, str, str, str]) -> Planted:
    skills, worth = [], {}
    for number, (kind, category, title, principle, when) in enumerate(rows, 1):
        name = f"pla_{number:03d}"
        worth[name] = kind
        skills.append(
            Skill(id=name, title=title, principle=principle, when_to_apply=when, category=category)
        )
    return Planted(SkillBank(tuple(skills)), worth)
