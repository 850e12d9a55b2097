"""Writes short thoughts for the steps of a rightly answered question."""

from __future__ import annotations

import re

from skillrl.teacher.simulated.domain import short
from skillrl.teacher.simulated.questions.cards import Card, asked_of, read_cards, told_archive
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
_NUMBERS = ("one", "two")  # of names that are compared, in the order of the question

THOUGHT_FORMS = (
    "Find {name}.",
    "Now find {name}.",
    "Find {topic} in {archive}.",
    "Found one {value} one, two {value} two. I need {value} two.",
    "Found it.",
    "Next do this: ",
)
"""What is thought where no passage says what the move follows from.

Elsewhere that sentence is quoted, as the environment's expert does: one style to learn, not two.
"""


def think(recording: Recording) -> list[str]:
    """Returns one thought per move; its action follows from it."""
    turns = read_turns(recording)
    first, thoughts = "", []
    for at, turn in enumerate(turns):
        if card_thought := _of_cards(recording, turns, at):
            thoughts.append(card_thought)
            continue
        if turn.answer is not None:
            thought = _answering(recording, turns[:at], turn.answer)
        elif turn.query:
            name = _name(turn.query)
            first = first or name
            thought = f"Find {name}." if name == first else _following(recording, turns[:at], name)
        else:
            words = re.findall(r"\w+", recording.moves[at].action)
            thought = " ".join(["Next", "do", "this:", *(words or ["nothing"])]) + "."
        thoughts.append(short(thought, _LONGEST))
    return thoughts


def _of_cards(recording: Recording, turns: list[Turn], at: int) -> str:
    """Returns what the last card said, and what is sought next; "" without cards."""
    turn = turns[at]
    earlier = [card for t in reversed(turns[:at]) if (card := _card(t))]
    before = next(iter(earlier), None)
    if turn.answer is not None:
        return _concluding(recording, turns[:at], earlier, turn.answer) if before else ""
    card = _card(turn)
    topic = asked_of(card, recording.goal) if card else ""
    if not card or not topic:
        return ""
    archive = told_archive(recording.told, topic)
    seek = f"Find {topic} in {archive}." if archive and holds(turn.query, archive) else ""
    read = _claim(before, recording, card.name) if before and before.name != card.name else ""
    return f"{read} {seek or f'Find {topic}.'}".strip()


def _concluding(recording: Recording, turns: list[Turn], cards: list[Card], answer: str) -> str:
    """Says what the answer follows from.

    That is what the newest card says; before that, what led to it; and of two names, what both
    cards say.

    Args:
      recording: of the episode.
      turns: those before the answer.
      cards: that were looked for, the newest first.
      answer: the answer.
    """
    last = cards[0]
    if compares(recording):
        topic = asked_of(last, recording.goal)
        said = {c.claims[topic][1] for t in turns for c in read_cards(t) if topic in c.claims}
        wanted = [value for value in sorted(said) if holds(recording.goal, value)]
        if topic and wanted and any(card.name != last.name for card in cards):
            other = next(card for card in cards if card.name != last.name)
            names = names_in(recording.goal)[-2:]
            number = {normal(name): n for name, n in zip(names, _NUMBERS, strict=False)}
            found = [
                f"{number[normal(c.name)]} {c.claims[topic][1]} {number[normal(c.name)]}"
                for c in (other, last)
                if topic in c.claims and normal(c.name) in number
            ]
            if normal(answer) in number:
                which = number[normal(answer)]
                return f"Found {', '.join(found)}. I need {wanted[0]} {which}."
        return _claim(last, recording, answer)
    for card in cards:
        if card.name != last.name and any(
            normal(value) == normal(last.name) for _, value in card.claims.values()
        ):
            return f"{_claim(card, recording, last.name)} {_claim(last, recording, answer)}"
    return _claim(last, recording, answer)


def _card(turn: Turn) -> Card | None:
    """Returns the first card about the name that a search looked for."""
    return next((c for c in read_cards(turn) if turn.query and holds(turn.query, c.name)), None)


def _claim(card: Card, recording: Recording, value: str) -> str:
    """Returns the claim that has `value`, or else the one that is asked for; "" without either."""
    same = [topic for topic, (_, said) in card.claims.items() if normal(said) == normal(value)]
    topic = next(iter(same), asked_of(card, recording.goal))
    return f"{card.name}: {card.claims[topic][0]}." if topic else ""


def _name(query: str) -> str:
    return next(iter(names_in(query)), query.rstrip("?. "))


def _following(recording: Recording, turns: list[Turn], name: str) -> str:
    """Returns what was read that leads to the next search."""
    names = names_in(recording.goal)
    if compares(recording) and name in names[-2:]:
        read = [_known(other, recording.goal, turns)[0] for other in names[-2:] if other != name]
        return next(filter(None, read), f"Now find {name}.")
    return _saying(name, turns) or f"Now find {name}."


def _answering(recording: Recording, turns: list[Turn], answer: str) -> str:
    """Says why this is the answer; of two things that are compared, what is known of them."""
    names = names_in(recording.goal)
    if not compares(recording) or len(names) < 2:
        return _saying(answer, turns) or "Found it."
    known = {name: _known(name, recording.goal, turns) for name in names[-2:]}
    if all(value.isdigit() for _, value in known.values()):
        return " ".join(sentence for sentence, _ in known.values())
    for name, (sentence, value) in known.items():
        if normal(name) == normal(answer) and value and holds(recording.goal, value):
            return sentence
    wrong = [s for s, value in known.values() if value and not holds(recording.goal, value)]
    return wrong[0] if wrong else "Found it."


def _saying(value: str, turns: list[Turn]) -> str:
    """Returns the newest sentence, of a passage that was looked for, that says `value`; or ""."""
    for turn in reversed(turns):
        for title, text in turn.documents:
            if not holds(turn.query, title) or normal(title) == normal(value):
                continue
            for sentence in _sentences(text):
                if holds(sentence, value):
                    return sentence
    return ""


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.)\s+", text.strip())


def _known(name: str, question: str, turns: list[Turn]) -> tuple[str, str]:
    """Returns what passages about `name` say where the question has a choice: (sentence, value).

    The value is the word of a sentence about it that the question lacks, if there is only one;
    or if there is none, the last of the sentence: "X makes rope." for "Which company makes soap,
    ...". Empty if no passage says it.
    """
    asked = set(normal(question).split())
    for turn in reversed(turns):
        for title, text in turn.documents:
            if normal(title) != normal(name):
                continue
            for sentence in _sentences(text):
                words = normal(sentence.replace(name, " ")).split()
                new = [word for word in words if word not in asked]
                if words and len(new) < 2 and len(words) > 1:
                    return sentence, new[0] if new else words[-1]
    return "", ""
