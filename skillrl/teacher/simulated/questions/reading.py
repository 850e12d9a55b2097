"""Reads search episodes (Search QA): what the question asks, the passages, what happened."""

from __future__ import annotations

import dataclasses
import re

from skillrl.teacher.simulated.recordings import Recording

_SEARCH = re.compile(r"<search>(.*?)</search>", re.S)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)
_INFORMATION = re.compile(r"<information>(.*?)(?:</information>|$)", re.S)
_DOCUMENT = re.compile(r'Doc \d+ ?\(Title: "([^"]*)"\) ?(.*?)(?=\s*Doc \d+ ?\(Title: |$)', re.S)
_NAME = re.compile(r"[A-Z][\w'-]*(?: [A-Z][\w'-]*)*")
_ASKING = (
    "who whose whom what which where when why how is are was were do does did has have had in on "
    "of at by for from to the a an"
)
_COMPARES = re.compile(r"\bor\b|\bboth\b|\bsame\b")


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """Holds one step: a search with its passages, or an answer; neither if it was malformed.

    Attributes:
      query: what was searched, or "".
      answer: what was answered; None if this was no answer.
      documents: (title, text) of what was found.
    """

    query: str
    answer: str | None
    documents: tuple[tuple[str, str], ...]


def read_turns(recording: Recording) -> list[Turn]:
    """Returns the steps of a recording."""
    turns = []
    for move in recording.moves:
        answers = _ANSWER.findall(move.action)
        query = _SEARCH.search(move.action)
        turns.append(
            Turn(
                query=query[1].strip() if query and not answers else "",
                answer=answers[-1].strip() if answers else None,
                documents=tuple(read_documents(move.result)),
            )
        )
    return turns


def read_documents(text: str) -> list[tuple[str, str]]:
    """Returns (title, text) of an observation's passages; one without title in another form."""
    found = []
    for block in _INFORMATION.findall(text):
        found += _DOCUMENT.findall(block.strip()) or [("", block.strip())]
    return found


def names_in(text: str) -> list[str]:
    """Returns names: words with capitals in a row, without those that begin a question."""
    found = []
    for name in _NAME.findall(text):
        words = name.split()
        while words and words[0].lower() in _ASKING.split():
            words = words[1:]
        if words:
            found.append(" ".join(words).removesuffix("'s"))
    return list(dict.fromkeys(found))


def normal(text: str) -> str:
    """Puts a text in lower case, without punctuation, articles and superfluous blanks."""
    words = re.sub(r"[^\w\s]", "", text.lower()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def holds(text: str, part: str) -> bool:
    """Returns whether `part` stands in `text` as whole words, both in normal form."""
    return f" {normal(part)} " in f" {normal(text)} "


def compares(recording: Recording) -> bool:
    """Returns whether two things are compared."""
    named = "compar" in recording.category.lower()
    return named or (bool(_COMPARES.search(recording.goal)) and len(names_in(recording.goal)) > 1)


def two_steps(recording: Recording) -> bool:
    """Returns whether what is asked must be found by way of something else."""
    return bool(re.search(r"multi|hop|bridge", recording.category.lower()))


def whole_question(query: str, question: str) -> bool:
    """Returns whether a query is (nearly) the whole question."""
    asked, words = normal(question).split(), set(normal(query).split())
    return len(asked) > 3 and sum(word in words for word in asked) >= 0.8 * len(asked)


def follows_up(query: str, question: str, turns: list[Turn]) -> bool:
    """Tells whether a query names what earlier passages say and the question does not."""
    texts = " ".join(text for turn in turns for _, text in turn.documents)
    new = [name for name in names_in(query) if not holds(question, name)]
    return any(holds(texts, name) for name in new)


def evidence(recording: Recording) -> int:
    """Returns how many of the moves are searches, answers, or replies about them."""
    return sum(
        bool(_SEARCH.search(m.action) or _ANSWER.search(m.action) or "</search>" in m.result)
        for m in recording.moves
    )
