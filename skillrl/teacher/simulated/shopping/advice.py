"""Gives short advice against each cause of failure in a shop; ``{option}``: names of options."""

from __future__ import annotations

from skillrl.teacher.simulated.domain import Advice, entry

ADVICE = {
    "options": Advice(
        title="Choose {option}",
        principle="Click the {option} of the goal before you buy.",
        stronger="Never click buy now before you choose the {option}.",
        when="before you buy",
        mistake="Forgot {option}",
        wrong="The product was bought without choosing the {option} of the goal.",
    ),
    "price": Advice(
        title="Mind the price",
        principle="Open only a product below the price of the goal.",
        stronger="Compare the price with the goal before you buy.",
        when="before you open a product",
        mistake="Paid too much",
        wrong="The product cost more than the price of the goal.",
    ),
    "unbought": Advice(
        title="Buy in time",
        principle="Click buy now as soon as the product fits.",
        stronger="A product counts only if you buy it before the steps end.",
        when="the product fits",
        mistake="Never bought",
        wrong="The steps ended before a product was bought.",
    ),
    "kind": Advice(
        title="Buy the right kind",
        principle="Open only a product whose title names what the goal says.",
        stronger="Read the title before you click, the first product is not always right.",
        when="you see the results",
        mistake="Bought another kind",
        wrong="A product of another kind was bought.",
    ),
    "attribute": Advice(
        title="Read the features",
        principle="If the title lacks words of the goal, read the features.",
        stronger="Buy only if title and features have all words of the goal.",
        when="the title lacks words",
        mistake="Did not read features",
        wrong="Words of the goal were not in the title and never found in the features.",
    ),
    "not_offered": Advice(
        title="Leave wrong products",
        principle="If a product has not the {option} of the goal, go back.",
        stronger="Never buy a product that has not the right {option}.",
        when="you open a product",
        mistake="Bought without right options",
        wrong="The product did not have the {option} of the goal.",
    ),
    "wrong_option": Advice(
        title="Choose as the goal",
        principle="Click only the {option} that the goal names.",
        stronger="Read the goal again before you click the {option}.",
        when="you choose the {option}",
        mistake="Wrong {option}",
        wrong="What was chosen was not the {option} of the goal.",
    ),
    "no_search": Advice(
        title="Search first",
        principle="First search the words of the goal.",
        stronger="Before you click, search the words of the goal.",
        when="start of a task",
        mistake="Never searched",
        wrong="Nothing was ever searched.",
    ),
    "few_words": Advice(
        title="Search the goal's words",
        principle="Search the words of the goal that say what the product is.",
        stronger="Copy the words for the product from the goal to the search.",
        when="you search",
        mistake="Searched other words",
        wrong="The search had not the words of the goal.",
    ),
    "extra_words": Advice(
        title="Search without price",
        principle="Search only what the product is, without options and price.",
        stronger="Never search the price or the options, read them in the results.",
        when="you search",
        mistake="Searched the price",
        wrong="The search had words for price or options.",
    ),
    "unopened": Advice(
        title="Open a product",
        principle="Open the product that fits and look at it.",
        stronger="After a search, the next action is to open the product that fits.",
        when="you see the results",
        mistake="Opened no product",
        wrong="No product was opened.",
    ),
    "circles": Advice(
        title="Click something new",
        principle="If nothing changes, do not click the same again.",
        stronger="Never click the same again, go back or open another product.",
        when="nothing changes",
        mistake="Clicked in circles",
        wrong="The same was clicked again and again to no effect.",
    ),
    "invalid": Advice(
        title="Choose listed actions",
        principle="Use only an action from the list of admissible actions.",
        stronger="Copy one action from the list, word for word.",
        when="at every step",
        mistake="Used unlisted actions",
        wrong="Many actions were not admissible.",
    ),
    "unfinished": Advice(
        title="Follow the goal",
        principle="Compare words, options and price with the goal, then buy.",
        stronger="Read the goal again before you buy.",
        when="before you buy",
        mistake="Lost the goal",
        wrong="The product did not have all that the goal says.",
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
