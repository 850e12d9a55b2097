"""Short advice against each cause of a wrong answer, or of none."""

from __future__ import annotations

from skillrl.teacher.simulated.domain import Advice, entry

ADVICE = {
    "one_step": Advice(
        "Take both steps",
        "Find the first thing, then search what you found, then answer.",
        "The first thing that you find is not the answer, search it.",
        "the question has two steps",
        "Stopped after one step",
        "Only the first of two steps was searched.",
    ),
    "one_side": Advice(
        "Search both names",
        "Search one name, then the other, then compare and answer.",
        "Never answer before you have read about both names.",
        "two names are compared",
        "Read about one name",
        "Only one of the two names was searched.",
    ),
    "wrong_passage": Advice(
        "Read the title",
        "Take the answer from the passage whose title is the name.",
        "Before you answer, look at the title of the passage.",
        "you read passages",
        "Read another passage",
        "The answer came from a passage about something else.",
    ),
    "wrong_fact": Advice(
        "Answer what is asked",
        "Answer with the thing that the question asks, and no other.",
        "Read the question again before you answer.",
        "before you answer",
        "Answered something else",
        "The answer was another thing of the passage than the one asked.",
    ),
    "unread": Advice(
        "Answer from passages",
        "Answer only with words that you have read in a passage.",
        "Copy the answer from the passage, word for word.",
        "before you answer",
        "Answered unread words",
        "The answer stood in no passage.",
    ),
    "unsearched": Advice(
        "Search before you answer",
        "First search the name in the question, then answer.",
        "Never answer before you have read a passage.",
        "start of a question",
        "Answered without search",
        "The answer was given before any search.",
    ),
    "repeated": Advice(
        "Change the search",
        "If a search did not help, add what is asked.",
        "Never search the same again, use other words.",
        "a search did not help",
        "Searched the same again",
        "The same search was made again.",
    ),
    "whole": Advice(
        "Search names only",
        "Search the name, not the whole question.",
        "A search is a name and no more.",
        "you search",
        "Searched whole question",
        "The whole question was searched where the name would do.",
    ),
    "unanswered": Advice(
        "Answer in time",
        "Answer as soon as a passage says what is asked.",
        "Keep the last step to answer.",
        "the steps end",
        "Never answered",
        "The steps ended before there was an answer.",
    ),
    "invalid": Advice(
        "Search or answer",
        "In every step write one search or one answer, and no more.",
        "Write the name in search tags or the answer in answer tags.",
        "at every step",
        "Wrote something else",
        "Some steps had neither one search nor one answer.",
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
