"""Plays as an expert that reads only the question and the last two observations.

It looks a thing up by its name, in the archive that it knows to be right if it knows one, believes
the first card with that title, and takes the next thing from what it says; its thought is what it
read, on both cards where it took two steps or compares two names, and what it looks for. It
remembers no more than a prompt shows with ``agent.history_length=1``: the newest observation, the
one before, and the newest actions. So it stays right when somebody else acts in between, and its
pupil need not guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from skillrl.envs.base import Move
from skillrl.envs.search.questions import Comparison, Lookup, parse_question
from skillrl.envs.search.relations import RELATIONS
from skillrl.types import Observation

WINDOW = 2
"""Observations it knows: the newest, and so many less one before it."""

_DOCUMENT = re.compile(
    r'Doc \d+\(Title: "([^"\n]*)"\) (.*?)(?=\nDoc \d+\(Title: |</information>)', re.DOTALL
)
VALUE = r"([A-Z][a-z]+ [A-Z][a-z]+|[a-z]+|\d)"
"""What a card may say of a relation, as a regular expression."""

NUMBERS = ("one", "two")
"""How a thought calls the names that a question compares, in the order of the question."""


def read_documents(text: str) -> list[tuple[str, str]]:
    """Returns (title, text) of the documents of an observation."""
    return _DOCUMENT.findall(text)


class QuestionExpert:
    """Answers one question; make a new one for the next.

    Args:
      question: of the generated world.
      archives: relation -> the archive to look in; what it does not name is searched by name
        alone.

    Raises:
      SkillRLError: the question is none (see `parse_question`).
    """

    def __init__(self, question: str, archives: Mapping[str, str] | None = None):
        self.goal = parse_question(question)
        self.archives = dict(archives or {})
        self._window: list[str] = []

    def act(self, observation: Observation) -> Move:
        """Returns the next search, or the answer."""
        self._window = [*self._window, observation.text][-WINDOW:]
        if isinstance(self.goal, Comparison):
            return self.compare(self.goal)
        return self.look_up(self.goal)

    def look_up(self, goal: Lookup) -> Move:
        """Searches one thing after the other and answers what the last card says."""
        name, read = goal.name, ""
        if goal.first:
            middle = self.fact(name, goal.first)
            if not middle:
                return self.search(name, goal.first)
            name, read = middle, quote(name, goal.first, middle)
        if value := self.fact(name, goal.last):
            return answer(f"{read} {quote(name, goal.last, value)}".strip(), value)
        return self.search(name, goal.last, read)

    def compare(self, goal: Comparison) -> Move:
        """Searches both, and answers the second if its card has what is wanted, else the first."""
        a, b = self.fact(goal.a, goal.relation), self.fact(goal.b, goal.relation)
        if not a and not b:
            return self.search(goal.a, goal.relation)
        if not b:
            return self.search(goal.b, goal.relation, quote(goal.a, goal.relation, a))
        chosen = goal.b if b == goal.wanted else goal.a
        return answer(conclude((a, b), goal.wanted, second=chosen == goal.b), chosen)

    def fact(self, name: str, relation: str) -> str:
        """Returns what the newest card about `name` says, of the right archive, or ""."""
        before = re.escape(RELATIONS[relation].claim(""))
        archive = re.escape(self.archives.get(relation, ""))
        for text in reversed(self._window):
            for title, content in read_documents(text):
                if title != name or not re.match(f".*, {archive}", content):
                    continue
                if match := re.search(f"[:;] {before}{VALUE}[;.]", content):
                    return match[1]
        return ""

    def search(self, name: str, relation: str, read: str = "") -> Move:
        """Returns a search for a relation of a thing, after what was `read` before."""
        archive = self.archives.get(relation, "")
        seek = f"Find {relation} in {archive}." if archive else f"Find {relation}."
        return Move(f"{read} {seek}".strip(), f"<search>{f'{name} {archive}'.strip()}</search>")


def quote(name: str, relation: str, value: str) -> str:
    """Returns what a card says, as a thought."""
    return RELATIONS[relation].sentence(name, value)


def conclude(found: Sequence[str], wanted: str, *, second: bool) -> str:
    """Returns the thought that decides between two names.

    A value stands between two equal numbers, so that the choice repeats what was written after the
    same word: ``Found one baker one, two clerk two. I need clerk two.`` To go on as after the same
    word is what a small policy learns; whether two words far apart are the same it does not.

    Args:
      found: what the cards say of the first and of the second name; "" where none was read.
      wanted: what the question asks for.
      second: whether the second name is the answer.
    """
    said = [f"{n} {value} {n}" for n, value in zip(NUMBERS, found, strict=True) if value]
    return f"Found {', '.join(said)}. I need {wanted} {NUMBERS[second]}."


def answer(thought: str, text: str) -> Move:
    """Returns the move that answers."""
    return Move(thought, f"<answer>{text}</answer>")
