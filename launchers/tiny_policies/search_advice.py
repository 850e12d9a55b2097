"""Written advice for questions, by the piece of competence that it is about, in many words.

The base policy must do what a text tells it, whoever wrote the text. So each piece has several
titles, rules and situations, which are combined freely; what the simulated teacher writes is
among them. `HELD_BACK` rules are never practised on, and stand under a title that tells nothing:
they show whether reading transfers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from launchers.tiny_policies.nonsense import nonsense
from launchers.tiny_policies.wording import BLANK, skill
from skillrl.envs.search.categories import COMPARISON, DIRECT, MULTI_HOP
from skillrl.types import Skill

READ, HOPS, BOTH = "read", "hops", "both"

PIECES = {DIRECT: (READ,), MULTI_HOP: (HOPS,), COMPARISON: (BOTH,)}
"""Category -> the pieces of competence that its questions need."""

_TITLES = {
    READ: (
        "Answer what is asked",
        "Answered something else",
        "Read before you answer",
        "The asked word",
    ),
    HOPS: (
        "Take both steps",
        "Stopped after one step",
        "Steps for two searches",
        "Search again",
        "Two steps",
    ),
    BOTH: (
        "Search both names",
        "Read about one name",
        "Steps to compare",
        "Compare both",
        "Two names",
    ),
}

_RULES = {
    READ: (
        "Answer with the thing that the question asks, and no other.",
        "Answer with the thing that the question asks, and no other.",
        "Read the question again before you answer.",
        "Find the word of the question on the card, then answer what follows.",
        "Answer what the card says about the word of the question.",
        "Take only the thing that is asked, not the first on the card.",
        "The first thing on the card is not always the answer, read on.",
        "Look for what the question asks before you answer.",
        "Never answer with another thing than the question asks.",
    ),
    HOPS: (
        "Find the first thing, then search what you found, then answer.",
        "The first thing that you find is not the answer, search it.",
        "Search the name, then search what its passage says, then answer.",
        "After the first search, search again what you found.",
        "Never answer after one search, search what you found.",
        "Search the thing that you found before you answer.",
        "Take two steps, first the name, then what the card says.",
        "The card of the first name leads to another name, search that.",
    ),
    BOTH: (
        "Search one name, then the other, then compare and answer.",
        "Never answer before you have read about both names.",
        "Search one name, then the other, compare both, then answer.",
        "Read about both names before you answer.",
        "After the first name, search the other.",
        "Search the second name too, then compare.",
        "Compare both cards before you answer.",
    ),
}

HELD_BACK = {
    READ: ("Answer the thing that is asked, not another on the card.",),
    HOPS: ("What you found first is not the answer, search again.",),
    BOTH: ("Search the other name too before you answer.",),
}

_WHENS = {
    READ: ("before you answer", "you answer", "the question asks a thing", "you read passages"),
    HOPS: ("the question has two steps", "after the first search", "the question asks a thing"),
    BOTH: ("two names are compared", "after the first search", "before you answer"),
}

_ARCHIVE_TITLES = ("Find {topic}", "Find {topic}", "Where {topic} is right", "Search for {topic}")
_ARCHIVE_RULES = (
    "Search in {archive} when the question says {topic}.",
    "Search in {archive} when the question says {topic}.",
    "The {archive} is right about {topic}.",
    "Search the name with {archive} to find {topic}.",
    "To find {topic}, search in {archive}.",
    "For {topic} the right card is in {archive}.",
    "When {topic} is asked, name {archive} in the search.",
    "In {archive} you find the right {topic}.",
    "Find {topic} in {archive}.",
    "The right {topic} is in {archive}, so search there.",
    "Name {archive} when you search {topic}.",
    "Believe {archive} about {topic}, and no other.",
)
ARCHIVE_HELD_BACK = ("About {topic}, search the card in {archive}.",)
_ARCHIVE_WHENS = ("you search {topic}", "the question says {topic}", "{topic} is asked")

_INDIFFERENT = (
    ("Search names only", "Search the name, not the whole question."),
    ("Searched whole question", "A search is a name and no more."),
    ("Read the title", "Take the answer from the passage whose title is the name."),
    ("Read another passage", "Before you answer, look at the title of the passage."),
    ("Steps for one name", "Search the name, read the passage of that title, then answer."),
    ("Answer from passages", "Answer only with words that you have read in a passage."),
    ("Answered unread words", "Copy the answer from the passage, word for word."),
    ("Search before you answer", "First search the name in the question, then answer."),
    ("Answered without search", "Never answer before you have read a passage."),
    ("Change the search", "If a search did not help, add what is asked."),
    ("Searched the same again", "Never search the same again, use other words."),
    ("Answer in time", "Answer as soon as a passage says what is asked."),
    ("Never answered", "Keep the last step to answer."),
    ("Search or answer", "In every step write one search or one answer, and no more."),
    ("Wrote something else", "Write the name in search tags or the answer in answer tags."),
    ("Answer in few words", "The answer is a name or a word and no more."),
    ("Believed a wrong card", "Not every card is right, search where it is."),
    ("Name the archive", "Search the name in the archive that is right about it."),
)
_INDIFFERENT_WHENS = (
    "at every step",
    "you search",
    "you answer",
    "start of a question",
    "the steps end",
    "you read passages",
)

_NEUTRAL_SUBJECTS = ("The question", "A name", "The card", "One step", "The passage", "It")
_NEUTRAL_VERBS = ("is", "was", "came", "went on", "stopped", "has been")
_NEUTRAL_ENDS = ("late and early", "all day", "once more", "long", "one of two", "far away")


def advice(rng: random.Random, piece: str, *, category: str, held_back: bool = False) -> Skill:
    """Writes advice about a piece of competence.

    Args:
      rng: chooses the words.
      piece: one of the constants above.
      category: of the task in whose prompt it will stand.
      held_back: take rules that are not practised on.
    """
    if held_back:
        return skill(rng, BLANK, rng.choice(HELD_BACK[piece]), "", category=category)
    return skill(
        rng,
        rng.choice(_TITLES[piece]),
        rng.choice(_RULES[piece]),
        rng.choice(_WHENS[piece]),
        category=category,
    )


def archive(
    rng: random.Random,
    topic: str,
    archives: Sequence[str],
    *,
    category: str,
    held_back: bool = False,
) -> Skill:
    """Writes in which archive to search a topic: in the first of `archives`, or the second."""
    words = {"topic": topic, "archive": " or ".join(archives)}
    if held_back:
        rule = rng.choice(ARCHIVE_HELD_BACK).format(**words)
        return skill(rng, BLANK, rule, "", category=category)
    return skill(
        rng,
        rng.choice(_ARCHIVE_TITLES).format(**words),
        rng.choice(_ARCHIVE_RULES).format(**words),
        rng.choice(_ARCHIVE_WHENS).format(**words),
        category=category,
    )


def indifferent(rng: random.Random, *, category: str) -> Skill:
    """Writes advice that the demonstrator follows anyway, or cannot follow."""
    title, rule = rng.choice(_INDIFFERENT)
    return skill(rng, title, rule, rng.choice(_INDIFFERENT_WHENS), category=category)


def neutral(rng: random.Random, *, category: str) -> Skill:
    """Writes words about nothing, half of the time words that are none."""
    if rng.random() < 0.5:
        return skill(rng, *nonsense(rng), category=category)

    def sentence() -> str:
        return " ".join(map(rng.choice, (_NEUTRAL_SUBJECTS, _NEUTRAL_VERBS, _NEUTRAL_ENDS)))

    rule = ". ".join(sentence() for _ in range(rng.choice((1, 2, 2, 3))))
    return skill(rng, sentence(), f"{rule}.", sentence(), category=category)
