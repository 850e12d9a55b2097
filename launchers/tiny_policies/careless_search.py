"""A careless agent for questions: it searches once and answers the first thing it reads.

A policy that imitates it knows the format and the words, but does not read which of
several facts was asked for, and stops after the first of two hops: a weakness that
reinforcement learning can mend.
"""

from __future__ import annotations

import re

from skillrl.envs.base import Move
from skillrl.envs.search.expert import read_documents
from skillrl.envs.search.questions import Comparison, parse_question
from skillrl.envs.search.relations import KINDS, NAMES, VALUES
from skillrl.types import Observation


def words_of(kind: str) -> re.Pattern[str]:
    """Compiles a pattern of everything that may be a value of `kind`."""
    if kind in KINDS:
        first, last = ("|".join(words.split()) for words in NAMES[kind])
        return re.compile(rf"\b(?:{first}) (?:{last})\b")
    return re.compile(rf"\b(?:{'|'.join(VALUES[kind].split())})\b")


_ANYTHING = re.compile("|".join(words_of(kind).pattern for kind in (*KINDS, *VALUES)))


class CarelessExpert:
    """Searches the first name of the question, and answers the first thing it then reads.

    That is whatever document 1 says first, unless it is in the question or the title; of two
    things compared, the first. It needs nothing but the newest observation.

    Args:
      question: of the generated world.

    Raises:
      SkillRLError: it is not a question of the generated world.
    """

    def __init__(self, question: str):
        self._question = question
        goal = parse_question(question)
        self._compares = isinstance(goal, Comparison)
        self._name = goal.a if isinstance(goal, Comparison) else goal.name

    def act(self, observation: Observation) -> Move:
        """Makes the next search, or gives the answer."""
        documents = read_documents(observation.text)
        if not documents:
            return Move(f"Find {self._name}.", f"<search>{self._name}</search>")
        title, text = documents[0]
        for sentence in [] if self._compares else re.split(r"(?<=\.) ", text):
            for thing in _ANYTHING.findall(sentence):
                if thing not in self._question and thing != title:
                    return Move(sentence, f"<answer>{thing}</answer>")
        return Move("Found it.", f"<answer>{self._name}</answer>")
