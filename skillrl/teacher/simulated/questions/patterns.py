"""Finds what successes in answering show: what was searched before what."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence

from skillrl.teacher.simulated.domain import Entry, advised, capital, entry
from skillrl.teacher.simulated.questions.advice import ADVICE
from skillrl.teacher.simulated.questions.reading import (
    compares,
    follows_up,
    normal,
    read_turns,
    whole_question,
)
from skillrl.teacher.simulated.recordings import Recording

_FORMS = {
    "one": (
        "Steps for one name",
        "Search the name, read the passage of that title, then answer.",
        "the question has one name",
        "wrong_fact",
    ),
    "two": (
        "Steps for two searches",
        "Search the name, then search what its passage says, then answer.",
        "the question has two steps",
        "one_step",
    ),
    "compare": (
        "Steps to compare",
        "Search one name, then the other, compare both, then answer.",
        "two names are compared",
        "one_side",
    ),
}
"""Kind -> title, principle, when it applies, and the cause that threatens most."""


def patterns(wins: Sequence[Recording]) -> list[Entry]:
    """Shows the procedure of most of them, what it must not miss, and how they searched."""
    kinds = collections.Counter(map(_kind, wins))
    kind = min(kinds, key=lambda name: (-kinds[name], list(_FORMS).index(name)))
    shown = [recording.id for recording in wins if _kind(recording) == kind]
    title, principle, when, threat = _FORMS[kind]
    found = [entry(title, principle, when, sources=shown), advised(ADVICE[threat], capital, shown)]
    brief = [recording.id for recording in wins if _searches_names(recording)]
    if brief:
        found.append(advised(ADVICE["whole"], capital, brief))
    changed = [recording.id for recording in wins if _adds_words(recording)]
    if changed:
        found.append(advised(ADVICE["repeated"], capital, changed))
    return found


def pattern_texts() -> list[str]:
    """Returns every word of the above."""
    return [text for form in _FORMS.values() for text in form[:3]]


def _kind(recording: Recording) -> str:
    """Returns the key of `_FORMS` that the recording shows."""
    turns = read_turns(recording)
    if compares(recording):
        return "compare"
    later = enumerate(turns)
    follows = any(follows_up(turn.query, recording.goal, turns[:at]) for at, turn in later)
    return "two" if follows else "one"


def _searches_names(recording: Recording) -> bool:
    queries = [turn.query for turn in read_turns(recording) if turn.query]
    return bool(queries) and not any(whole_question(q, recording.goal) for q in queries)


def _adds_words(recording: Recording) -> bool:
    """Tells whether a search was made again with more words."""
    queries = [set(normal(turn.query).split()) for turn in read_turns(recording) if turn.query]
    return any(before < after for before, after in itertools.pairwise(queries))
