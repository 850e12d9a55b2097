"""Short advice against each cause of failure in a shop; ``{option}``: names of options."""

from __future__ import annotations

from skillrl.teacher.simulated.domain import Advice, entry

ADVICE = {
    "options": Advice(
        "Choose {option}",
        "Click the {option} of the goal before you buy.",
        "Never click buy now before you choose the {option}.",
        "before you buy",
        "Forgot {option}",
        "The product was bought without choosing the {option} of the goal.",
    ),
    "price": Advice(
        "Mind the price",
        "Open only a product below the price of the goal.",
        "Compare the price with the goal before you buy.",
        "before you open a product",
        "Paid too much",
        "The product cost more than the price of the goal.",
    ),
    "unbought": Advice(
        "Buy in time",
        "Click buy now as soon as the product fits.",
        "A product counts only if you buy it before the steps end.",
        "the product fits",
        "Never bought",
        "The steps ended before a product was bought.",
    ),
    "kind": Advice(
        "Buy the right kind",
        "Open only a product whose title names what the goal says.",
        "Read the title before you click, the first product is not always right.",
        "you see the results",
        "Bought another kind",
        "A product of another kind was bought.",
    ),
    "attribute": Advice(
        "Read the features",
        "If the title lacks words of the goal, read the features.",
        "Buy only if title and features have all words of the goal.",
        "the title lacks words",
        "Did not read features",
        "Words of the goal were not in the title and never found in the features.",
    ),
    "not_offered": Advice(
        "Leave wrong products",
        "If a product has not the {option} of the goal, go back.",
        "Never buy a product that has not the right {option}.",
        "you open a product",
        "Bought without right options",
        "The product did not have the {option} of the goal.",
    ),
    "wrong_option": Advice(
        "Choose as the goal",
        "Click only the {option} that the goal names.",
        "Read the goal again before you click the {option}.",
        "you choose the {option}",
        "Wrong {option}",
        "What was chosen was not the {option} of the goal.",
    ),
    "no_search": Advice(
        "Search first",
        "First search the words of the goal.",
        "Before you click, search the words of the goal.",
        "start of a task",
        "Never searched",
        "Nothing was ever searched.",
    ),
    "few_words": Advice(
        "Search the goal's words",
        "Search the words of the goal that say what the product is.",
        "Copy the words for the product from the goal to the search.",
        "you search",
        "Searched other words",
        "The search had not the words of the goal.",
    ),
    "extra_words": Advice(
        "Search without price",
        "Search only what the product is, without options and price.",
        "Never search the price or the options, read them in the results.",
        "you search",
        "Searched the price",
        "The search had words for price or options.",
    ),
    "unopened": Advice(
        "Open a product",
        "Open the product that fits and look at it.",
        "After a search, the next action is to open the product that fits.",
        "you see the results",
        "Opened no product",
        "No product was opened.",
    ),
    "circles": Advice(
        "Click something new",
        "If nothing changes, do not click the same again.",
        "Never click the same again, go back or open another product.",
        "nothing changes",
        "Clicked in circles",
        "The same was clicked again and again to no effect.",
    ),
    "invalid": Advice(
        "Choose listed actions",
        "Use only an action from the list of admissible actions.",
        "Copy one action from the list, word for word.",
        "at every step",
        "Used unlisted actions",
        "Many actions were not admissible.",
    ),
    "unfinished": Advice(
        "Follow the goal",
        "Compare words, options and price with the goal, then buy.",
        "Read the goal again before you buy.",
        "before you buy",
        "Lost the goal",
        "The product did not have all that the goal says.",
    ),
}

GENERAL_CAUSES = (
    "options", "price", "attribute", "kind", "unbought", "few_words", "circles", "invalid",
    "extra_words", "unopened", "no_search", "unfinished",
)  # fmt: skip
"""Causes that have nothing to do with one category; the first are advised in any case."""

HABITS = (
    entry("Buy only once", "You can buy only once, and then the task ends.", "before you buy"),
)
