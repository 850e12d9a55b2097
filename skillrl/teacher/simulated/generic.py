"""Says what can be said of any kind of tasks, from actions and their validity alone."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from skillrl.teacher.simulated.domain import (
    Advice,
    Domain,
    Entry,
    advice_texts,
    advised,
    capital,
    entry,
    short,
)
from skillrl.teacher.simulated.recordings import Recording

_WASTE = 0.3  # share of invalid moves from which they are the cause
_REPEATS = 3  # times that the same is done to no effect
_LONGEST = 9  # words of a thought

ADVICE = {
    "invalid": Advice(
        title="Choose valid actions",
        principle="Use only actions that the task allows, in the right form.",
        stronger="Copy the form of a valid action, word for word.",
        when="at every step",
        mistake="Used invalid actions",
        wrong="Many actions were not valid.",
    ),
    "repeated": Advice(
        title="Try something new",
        principle="Do not repeat an action that had no effect.",
        stronger="Once an action had no effect, choose a different one.",
        when="an action had no effect",
        mistake="Repeated an action",
        wrong="The same action was repeated to no effect.",
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
_STEPS = ("Steps that worked", "Do these in order: {verbs}.", "start of a task")


def _causes(recording: Recording) -> list[str]:
    moves = recording.moves
    found = []
    if moves and sum(bool(move.invalid) for move in moves) / len(moves) >= _WASTE:
        found.append("invalid")
    same = collections.Counter((move.action, move.result) for move in moves)
    if max(same.values(), default=0) >= _REPEATS:
        found.append("repeated")
    return found or ["unfinished"]


def _fill(text: str, shown: Sequence[Recording]) -> str:
    return capital(text)


def _verbs(recording: Recording) -> tuple[str, ...]:
    """Returns the first words of the valid actions, repetitions in a row once."""
    words = [(re.findall(r"\w+", move.action) or ["nothing"])[0].lower()
             for move in recording.moves if not move.invalid]  # fmt: skip
    return tuple(word for at, word in enumerate(words) if at == 0 or word != words[at - 1])


def _patterns(wins: Sequence[Recording]) -> list[Entry]:
    """Shows the most frequent order of the actions' first words (the shortest of several)."""
    counts = collections.Counter(_verbs(recording) for recording in wins)
    verbs = min(counts, key=lambda v: (-counts[v], len(v), v))
    shown = [recording.id for recording in wins if _verbs(recording) == verbs]
    title, principle, when = _STEPS
    principle = short(principle.format(verbs=", ".join(verbs)), 14)
    ids = [recording.id for recording in wins]
    return [
        entry(title, principle, when, sources=shown),
        advised(ADVICE["unfinished"], capital, ids),
    ]


def _think(recording: Recording) -> list[str]:
    thoughts = []
    for move in recording.moves:
        words = re.sub(r"\W+", " ", move.action).split() or ["nothing"]
        thoughts.append(short(" ".join(["Next", "do", "this:", *words]) + ".", _LONGEST))
    return thoughts


def _vocabulary() -> list[str]:
    title, principle, when = _STEPS
    return [*advice_texts(ADVICE), title, principle.format(verbs=""), when, "Next do this: "]


GENERIC = Domain(
    name="generic",
    environments=(),
    advice=ADVICE,
    general=tuple(ADVICE),
    habits=(),
    evidence=lambda recording: 0,
    causes=_causes,
    fill=_fill,
    patterns=_patterns,
    think=_think,
    vocabulary=_vocabulary,
)
