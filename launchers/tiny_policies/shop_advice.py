"""Written advice for shops, by the piece of competence that it is about, in many words.

The base policy must do what a text tells it, whoever wrote the text. So each piece has several
titles, rules and situations, which are combined freely; what the simulated teacher writes is
among them. `HELD_BACK` rules are never practised on, and stand under a title that tells nothing:
they show whether reading transfers.
"""

from __future__ import annotations

import functools
import random

from launchers.tiny_policies.wording import BLANK, about_nothing, skill, text
from skillrl.envs.webshop.shelves import SHELVES
from skillrl.types import Skill

OPTIONS, PRICE, LEAVE, TITLE = "options", "price", "leave", "title"

_TITLES = {
    OPTIONS: (
        "Choose {option}",
        "Forgot {option}",
        "Choose as the goal",
        "Wrong {option}",
        "First choose {option}",
        "Steps to choose {option}",
    ),
    PRICE: ("Mind the price", "Paid too much", "Compare the price", "Price of the goal"),
    LEAVE: (
        "Leave wrong products",
        "Bought without right options",
        "Go back without {option}",
        "Leave a product",
    ),
    TITLE: ("Buy the right kind", "Bought another kind", "Read the title", "Compare the title"),
}

_RULES = {
    OPTIONS: (
        "Click the {option} of the goal before you buy.",
        "Never click buy now before you choose the {option}.",
        "Click only the {option} that the goal names.",
        "Read the goal again before you click the {option}.",
        "Search the words, open what fits, choose {option}, then buy.",
        "Choose the {option} of the goal, then buy.",
        "Before you buy, choose the {option} that the goal names.",
        "Open the product, click the {option} of the goal, then click buy now.",
    ),
    PRICE: (
        "Open only a product below the price of the goal.",
        "Compare the price with the goal before you buy.",
        "Never buy a product that costs more than the goal says.",
        "Read the price in the results and open what is below the price of the goal.",
        "The price must be below that of the goal.",
        "Do not open a product above the price of the goal.",
    ),
    LEAVE: (
        "If a product has not the {option} of the goal, go back.",
        "Never buy a product that has not the right {option}.",
        "Go back and open another product if the {option} is not there.",
        "Leave a product that has not the {option} of the goal.",
        "If the {option} of the goal is not there, open another product.",
    ),
    TITLE: (
        "Open only a product whose title names what the goal says.",
        "Read the title before you click, the first product is not always right.",
        "Compare the title with the words of the goal and open what fits.",
        "Open the product whose title has the words of the goal.",
        "Do not open the first product, read the title of each.",
    ),
}

HELD_BACK = {
    OPTIONS: ("Do not buy before you click the {option} of the goal.",),
    PRICE: ("Never open a product that costs more than the price of the goal.",),
    LEAVE: ("Go back if a product has not the right {option}.",),
    TITLE: ("Read each title and open the product that has the words of the goal.",),
}

_WHENS = {
    OPTIONS: ("before you buy", "you choose the {option}", "you open a product"),
    PRICE: ("before you open a product", "you see the results", "before you buy"),
    LEAVE: ("you open a product", "the {option} is not there", "before you buy"),
    TITLE: ("you see the results", "before you open a product"),
}

_SHELF_TITLES = ("Find {kind}", "Where {kind} is", "Search {kind}", "Word for {kind}")
_SHELF_RULES = (
    "Search {kind} {word}.",
    "Search {kind} {word}.",
    "Search {kind} {word} first.",
    "The right one is {kind} {word}.",
    "Open only {kind} {word}.",
    "Buy {kind} {word}.",
    "Find {kind} {word} in the results.",
    "What the goal says is {kind} {word}.",
    "You find it under {kind} {word}.",
    "Use {kind} {word} for the search.",
)
SHELF_HELD_BACK = ("First look for {kind} {word}.",)
_SHELF_WHENS = ("you search {kind}", "the goal says {kind}", "you buy {kind}")

_INDIFFERENT = (
    ("Buy in time", "Click buy now as soon as the product fits."),
    ("Never bought", "A product counts only if you buy it before the steps end."),
    ("Read the features", "If the title lacks words of the goal, read the features."),
    ("Did not read features", "Buy only if title and features have all words of the goal."),
    ("Search first", "First search the words of the goal."),
    ("Never searched", "Before you click, search the words of the goal."),
    ("Search the goal's words", "Search the words of the goal that say what the product is."),
    ("Searched other words", "Copy the words for the product from the goal to the search."),
    ("Search without price", "Search only what the product is, without options and price."),
    ("Searched the price", "Never search the price or the options, read them in the results."),
    ("Open a product", "Open the product that fits and look at it."),
    ("Opened no product", "After a search, the next action is to open the product that fits."),
    ("Click something new", "If nothing changes, do not click the same again."),
    ("Clicked in circles", "Never click the same again, go back or open another product."),
    ("Choose listed actions", "Use only an action from the list of admissible actions."),
    ("Used unlisted actions", "Copy one action from the list, word for word."),
    ("Follow the goal", "Compare words, options and price with the goal, then buy."),
    ("Lost the goal", "Read the goal again before you buy."),
    ("Buy only once", "You can buy only once, and then the task ends."),
    ("Steps to buy", "Search the words, open what fits, then buy."),
    ("Steps to buy", "Search the words, open what fits, read the features, then buy."),
)
_INDIFFERENT_WHENS = (
    "at every step",
    "before you buy",
    "you search",
    "you see the results",
    "the title lacks words",
    "start of a task",
)

_SUBJECTS = ("The list", "The goal", "One step", "The page", "An action", "The product")
_TITLES_ABOUT_NOTHING = ("Words", "One list", "The right order", "A task", "Pages and steps")
_SITUATED = 0.7  # share of the skills that tell their situation


_skill = functools.partial(skill, situated=_SITUATED)


def _option(rng: random.Random, category: str) -> str:
    """Returns how a text may call the options of a category."""
    (shelf,) = (shelf for shelf in SHELVES if shelf.key == category)
    first, second = shelf.first[0], shelf.second[0]
    both = " and ".join(sorted((first, second)))
    return rng.choice(("options", "options", first, first, second, both))


def advice(rng: random.Random, piece: str, *, category: str, held_back: bool = False) -> Skill:
    """Writes advice about a piece of competence.

    Args:
      rng: chooses the words.
      piece: one of the constants above.
      category: of the task in whose prompt it will stand.
      held_back: take rules that are not practised on.
    """
    words = {"option": _option(rng, category)}
    if held_back:
        return _skill(rng, BLANK, text(rng, HELD_BACK[piece], **words), "", category=category)
    return _skill(
        rng,
        text(rng, _TITLES[piece], **words),
        text(rng, _RULES[piece], **words),
        rng.choice(_WHENS[piece]).format(**words),
        category=category,
    )


def shelf(
    rng: random.Random, kind: str, word: str, *, category: str, held_back: bool = False
) -> Skill:
    """Writes under which word a kind of product is listed."""
    words = {"kind": kind, "word": word}
    if held_back:
        return _skill(rng, BLANK, text(rng, SHELF_HELD_BACK, **words), "", category=category)
    return _skill(
        rng,
        text(rng, _SHELF_TITLES, **words),
        text(rng, _SHELF_RULES, **words),
        rng.choice(_SHELF_WHENS).format(**words),
        category=category,
    )


def indifferent(rng: random.Random, *, category: str) -> Skill:
    """Writes advice that the demonstrator follows anyway, or that changes nothing here."""
    title, rule = rng.choice(_INDIFFERENT)
    (mine,) = (shelf for shelf in SHELVES if shelf.key == category)
    if rng.random() < 0.15:
        words = rng.choice((*mine.hidden, *mine.shown))
        title, rule = f"Check {words}", f"If it has {words}, only the features tell."
    return _skill(rng, title, rule, rng.choice(_INDIFFERENT_WHENS), category=category)


def neutral(rng: random.Random, *, category: str) -> Skill:
    """Writes words about nothing."""
    words = about_nothing(rng, titles=_TITLES_ABOUT_NOTHING, subjects=_SUBJECTS)
    return _skill(rng, *words, category=category)


def nonsense(rng: random.Random, *, category: str) -> Skill:
    """Writes the words of advice without its sense, or words that there are not."""
    if rng.random() < 0.5:
        words = rng.choices(_advice_words(), k=rng.randint(6, 14))
    else:
        words = [_invented(rng) for _ in range(rng.randint(3, 6))]
    rule = " ".join(words[2:])
    return _skill(
        rng,
        " ".join(words[:2]).capitalize(),
        f"{rule[:1].upper()}{rule[1:]}.",
        rng.choice(_INDIFFERENT_WHENS),
        category=category,
    )


def _invented(rng: random.Random) -> str:
    return "".join(
        rng.choice("bdfghklmnprstvw") + rng.choice("aeiou") for _ in range(rng.randint(1, 3))
    )


@functools.cache
def _advice_words() -> tuple[str, ...]:
    texts = [rule for rules in _RULES.values() for rule in rules]
    texts += [rule for _, rule in _INDIFFERENT]
    words = {word.strip(".,").lower() for text in texts for word in text.split()}
    return tuple(sorted(words - {"{option}"}))
