"""Short thoughts for the steps of a rightly answered question, from the texts and the action."""

from __future__ import annotations

import re

from skillrl.teacher.simulated.domain import short
from skillrl.teacher.simulated.questions.reading import (
    Turn,
    compares,
    holds,
    names_in,
    normal,
    read_turns,
)
from skillrl.teacher.simulated.recordings import Recording

_LONGEST = 12  # words

THOUGHT_FORMS = (
    "Find {name}.",
    "Now find {name}.",
    "Found it.",
    "{value} is wrong.",
    "{value} and {value}.",
    "Next do this: ",
)
"""The forms in which the environment's expert thinks too: one style to learn, not two."""


def think(recording: Recording) -> list[str]:
    """One thought per move; its action follows from it."""
    turns = read_turns(recording)
    first, thoughts = "", []
    for at, turn in enumerate(turns):
        if turn.answer is not None:
            thought = _answering(recording, turns[:at], turn.answer)
        elif turn.query:
            name = _name(turn.query)
            first = first or name
            thought = f"Find {name}." if name == first else f"Now find {name}."
        else:
            words = re.findall(r"\w+", recording.moves[at].action)
            thought = " ".join(["Next", "do", "this:", *(words or ["nothing"])]) + "."
        thoughts.append(short(thought, _LONGEST))
    return thoughts


def _name(query: str) -> str:
    return next(iter(names_in(query)), query.rstrip("?. "))


def _answering(recording: Recording, turns: list[Turn], answer: str) -> str:
    """Why this is the answer; of two things that are compared, what is known of them."""
    names = names_in(recording.goal)
    if not compares(recording) or len(names) < 2:
        return "Found it."
    values = [_value(name, recording.goal, turns) for name in names[-2:]]
    if all(value.isdigit() for value in values):
        return f"{values[0]} and {values[1]}."
    for name, value in zip(names[-2:], values, strict=True):
        if normal(name) == normal(answer) and value and holds(recording.goal, value):
            return "Found it."
    known = [value for value in values if value and not holds(recording.goal, value)]
    return f"{known[0]} is wrong." if known else "Found it."


def _value(name: str, question: str, turns: list[Turn]) -> str:
    """What passages about `name` say where the question has a choice, or "".

    That is the word of a sentence about it that the question lacks, if there is only one; or if
    there is none, the last of the sentence: "X makes rope." for "Which company makes soap, ...".
    """
    asked = set(normal(question).split())
    for turn in reversed(turns):
        for title, text in turn.documents:
            if normal(title) != normal(name):
                continue
            for sentence in re.split(r"(?<=\.)\s+", text):
                words = normal(sentence.replace(name, " ")).split()
                new = [word for word in words if word not in asked]
                if words and len(new) < 2 and len(words) > 1:
                    return new[0] if new else words[-1]
    return ""
