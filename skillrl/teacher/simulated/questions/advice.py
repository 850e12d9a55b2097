"""Gives short advice against each cause of a wrong answer, or of none."""

from __future__ import annotations

from skillrl.teacher.simulated.domain import Advice, entry

ADVICE = {
    "one_step": Advice(
        title="Take both steps",
        principle="Find the first thing, then search what you found, then answer.",
        stronger="The first thing that you find is not the answer, search it.",
        when="the question has two steps",
        mistake="Stopped after one step",
        wrong="Only the first of two steps was searched.",
    ),
    "one_side": Advice(
        title="Search both names",
        principle="Search one name, then the other, then compare and answer.",
        stronger="Never answer before you have read about both names.",
        when="two names are compared",
        mistake="Read about one name",
        wrong="Only one of the two names was searched.",
    ),
    "wrong_passage": Advice(
        title="Read the title",
        principle="Take the answer from the passage whose title is the name.",
        stronger="Before you answer, look at the title of the passage.",
        when="you read passages",
        mistake="Read another passage",
        wrong="The answer came from a passage about something else.",
    ),
    "wrong_fact": Advice(
        title="Answer what is asked",
        principle="Answer with the thing that the question asks, and no other.",
        stronger="Read the question again before you answer.",
        when="before you answer",
        mistake="Answered something else",
        wrong="The answer was another thing of the passage than the one asked.",
    ),
    "unread": Advice(
        title="Answer from passages",
        principle="Answer only with words that you have read in a passage.",
        stronger="Copy the answer from the passage, word for word.",
        when="before you answer",
        mistake="Answered unread words",
        wrong="The answer stood in no passage.",
    ),
    "unsearched": Advice(
        title="Search before you answer",
        principle="First search the name in the question, then answer.",
        stronger="Never answer before you have read a passage.",
        when="start of a question",
        mistake="Answered without search",
        wrong="The answer was given before any search.",
    ),
    "misled": Advice(
        title="Name the archive",
        principle="Search the name in the archive that is right about it.",
        stronger="Not every card is right, search where it is.",
        when="you search",
        mistake="Believed a wrong card",
        wrong="The card that was read was wrong.",
    ),
    "repeated": Advice(
        title="Change the search",
        principle="If a search did not help, add what is asked.",
        stronger="Never search the same again, use other words.",
        when="a search did not help",
        mistake="Searched the same again",
        wrong="The same search was made again.",
    ),
    "whole": Advice(
        title="Search names only",
        principle="Search the name, not the whole question.",
        stronger="A search is a name and no more.",
        when="you search",
        mistake="Searched whole question",
        wrong="The whole question was searched where the name would do.",
    ),
    "unanswered": Advice(
        title="Answer in time",
        principle="Answer as soon as a passage says what is asked.",
        stronger="Keep the last step to answer.",
        when="the steps end",
        mistake="Never answered",
        wrong="The steps ended before there was an answer.",
    ),
    "invalid": Advice(
        title="Search or answer",
        principle="In every step write one search or one answer, and no more.",
        stronger="Write the name in search tags or the answer in answer tags.",
        when="at every step",
        mistake="Wrote something else",
        wrong="Some steps had neither one search nor one answer.",
    ),
}

GENERAL_CAUSES = (
    "wrong_passage", "wrong_fact", "unread", "unanswered", "whole", "repeated", "unsearched",
    "invalid",
)  # fmt: skip
"""Causes that have nothing to do with one category; the first are advised in any case."""

HABITS = (
    entry("Answer in few words", "The answer is a name or a word and no more.", "you answer"),
)
