"""Tells why a question was not answered rightly, read from the episode's text."""

from __future__ import annotations

from skillrl.teacher.simulated.questions.cards import misled
from skillrl.teacher.simulated.questions.reading import (
    Turn,
    compares,
    follows_up,
    holds,
    names_in,
    normal,
    read_turns,
    two_steps,
    whole_question,
)
from skillrl.teacher.simulated.recordings import Recording

_WASTE = 0.3  # share of malformed steps from which they are the cause
_JUDGEMENTS = ("yes", "no")  # answers that stand in no passage


def causes(recording: Recording) -> list[str]:
    """Keys of `ADVICE` that fit a failed recording, the decisive one first."""
    turns = read_turns(recording)
    found: list[str] = []
    malformed = [not turn.query and turn.answer is None for turn in turns]
    malformed = [bad or bool(m.invalid) for bad, m in zip(malformed, recording.moves, strict=True)]
    if turns and sum(malformed) / len(turns) >= _WASTE:
        found.append("invalid")
    answers = [turn.answer for turn in turns if turn.answer is not None]
    queries = [turn.query for turn in turns if turn.query]
    if answers and not queries:
        return [*found, "unsearched"]
    searching = []
    if len(set(map(normal, queries))) < len(queries):
        searching.append("repeated")
    if any(whole_question(query, recording.goal) for query in queries):
        searching.append("whole")
    if answers:
        found += [*_wrong(recording, turns, answers[-1]), *searching]
    else:
        found += [*searching, "unanswered"]
    return list(dict.fromkeys(found))


def _wrong(recording: Recording, turns: list[Turn], answer: str) -> list[str]:
    """Returns what is wrong with an answer after at least one search."""
    found, compared = [], compares(recording)
    if compared:
        if len([n for n in names_in(recording.goal) if read_about(n, turns)]) < 2:
            found.append("one_side")
    elif two_steps(recording) and not any(
        follows_up(turn.query, recording.goal, turns[:at]) for at, turn in enumerate(turns)
    ):
        found.append("one_step")
    documents = [document for turn in turns for document in turn.documents]
    if normal(answer) not in _JUDGEMENTS:
        said = [title for title, text in documents if holds(f"{title} . {text}", answer)]
        if not said:
            found.append("unread")
        elif not (found or compared) and not any(_sought(title, turns) for title in said):
            found.append("wrong_passage")
    if "one_step" not in found and misled(recording):
        found.append("misled")
    return found or ["wrong_fact"]


def read_about(name: str, turns: list[Turn]) -> bool:
    """Returns whether a passage of that title was read, or the name was searched."""
    return any(
        holds(turn.query, name) or any(holds(title, name) for title, _ in turn.documents)
        for turn in turns
    )


def _sought(title: str, turns: list[Turn]) -> bool:
    """Returns whether a passage of this title (or without one) was what a search looked for."""
    return not title or any(
        holds(turn.query, title) or holds(title, turn.query) for turn in turns if turn.query
    )
