"""Plays as an expert that reads only the question and the last two observations.

It looks a thing up by its name, believes the passages that bear its title, and takes the next
thing from what they say; its thought is the sentence that it acts on. It remembers no more than
a prompt shows with ``agent.history_length=1``: the newest observation, the one before, and the
newest actions. So it stays right when somebody else acts in between, and its pupil need not
guess.
"""

from __future__ import annotations

import re

from skillrl.envs.base import Move
from skillrl.envs.search.questions import FEWER, MORE, Comparison, Lookup, parse_question
from skillrl.envs.search.relations import RELATIONS
from skillrl.types import Observation

WINDOW = 2
"""Observations it knows: the newest, and so many less one before it."""

_DOCUMENT = re.compile(
    r'Doc \d+\(Title: "([^"\n]*)"\) (.*?)(?=\nDoc \d+\(Title: |</information>)', re.DOTALL
)
_VALUE = r"([A-Z][a-z]+ [A-Z][a-z]+|[a-z]+|\d)"


def read_documents(text: str) -> list[tuple[str, str]]:
    """Returns (title, text) of the documents of an observation."""
    return _DOCUMENT.findall(text)


class QuestionExpert:
    """Answers one question; make a new one for the next.

    Args:
      question: of the generated world.

    Raises:
      SkillRLError: the question is none (see `parse_question`).
    """

    def __init__(self, question: str):
        self.goal = parse_question(question)
        self._window: list[str] = []
        self._last_query = ""

    def act(self, observation: Observation) -> Move:
        """Returns the next search, or the answer."""
        self._window = [*self._window, observation.text][-WINDOW:]
        if isinstance(self.goal, Comparison):
            return self._compare(self.goal)
        return self._look_up(self.goal)

    def _look_up(self, goal: Lookup) -> Move:
        name = goal.name
        if goal.first:
            middle = self._fact(name, goal.first)
            if not middle:
                return self._search(name, goal.first, f"Find {name}.")
            if not self._fact(middle, goal.last):
                return self._search(middle, goal.last, _quote(name, goal.first, middle))
            name = middle
        if value := self._fact(name, goal.last):
            return _answer(_quote(name, goal.last, value), value)
        return self._search(name, goal.last, f"Find {name}.")

    def _compare(self, goal: Comparison) -> Move:
        a, b = self._fact(goal.a, goal.relation), self._fact(goal.b, goal.relation)
        read = [_quote(n, goal.relation, v) for n, v in ((goal.a, a), (goal.b, b)) if v]
        if goal.wanted not in (MORE, FEWER):
            if b == goal.wanted != a:
                return _answer(read[-1], goal.b)
            if a or b:
                return _answer(read[0], goal.a if goal.wanted == a or not a else goal.b)
        elif a and b:
            first = (int(a) > int(b)) == (goal.wanted == MORE)
            return _answer(" ".join(read), goal.a if first else goal.b)
        if a:
            return self._search(goal.b, goal.relation, read[0])
        return self._search(goal.a, goal.relation, f"Find {goal.a}.")

    def _fact(self, name: str, relation: str) -> str:
        """Returns what passages about `name` say, or ""."""
        before, _, after = RELATIONS[relation].says.partition("{y}")
        pattern = re.escape(before.format(x=name)) + _VALUE + re.escape(after.format(x=name))
        for text in reversed(self._window):
            for title, content in read_documents(text):
                if title == name and (match := re.search(pattern, content)):
                    return match[1]
        return ""

    def _search(self, name: str, relation: str, thought: str) -> Move:
        query = name
        if self._last_query == name:  # it did not help: say more
            query = f"{name} {relation}"
        self._last_query = query
        return Move(thought, f"<search>{query}</search>")


def _quote(name: str, relation: str, value: str) -> str:
    return RELATIONS[relation].sentence(name, value)


def _answer(thought: str, text: str) -> Move:
    return Move(thought, f"<answer>{text}</answer>")
