"""An agent for questions that knows only what it is told: the demonstrator of the base policy."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from launchers.tiny_policies.search_advice import BOTH, HOPS, PIECES, READ
from skillrl.envs.base import Move
from skillrl.envs.search.categories import ATTRIBUTE, COMPARISON, DIRECT, MULTI_HOP
from skillrl.envs.search.expert import VALUE, QuestionExpert, answer, quote, read_documents
from skillrl.envs.search.questions import Comparison, Lookup, parse_question
from skillrl.envs.search.relations import KINDS, RELATIONS

ALL = (READ, HOPS, BOTH)
"""All pieces of competence; none of them is there without advice."""

_CLAIM = re.compile(rf": ([a-z]+)(?: (?:in|for|by))? {VALUE}")


def category_of(question: str) -> str:
    """Returns the category of a question of the generated world."""
    goal = parse_question(question)
    if isinstance(goal, Comparison):
        return COMPARISON
    if goal.first:
        return MULTI_HOP
    return DIRECT if RELATIONS[goal.last].value in KINDS else ATTRIBUTE


def topics_of(goal: Lookup | Comparison) -> tuple[str, ...]:
    """Returns the relations that a parsed question asks for, in the order of the searches."""
    if isinstance(goal, Comparison):
        return (goal.relation,)
    return (goal.first, goal.last) if goal.first else (goal.last,)


class Pupil(QuestionExpert):
    """Plays one question with some pieces of competence and without the others.

    Asked for a thing, it answers without `READ` what its card says first. Without `HOPS` it stops
    after the first of two steps, without `BOTH` it answers the first of two names when it has read
    about that one. Words and numbers it reads in any case. Without an archive it searches the name
    alone, and believes the first card of that name.

    Args:
      question: of the generated world.
      told: pieces that the prompt gives advice about.
      archives: relation -> the archive to look in.

    Raises:
      SkillRLError: it is not a question of the generated world.
    """

    def __init__(self, question: str, told: Collection[str], archives: Mapping[str, str]):
        super().__init__(question, archives)
        needs = PIECES.get(category_of(question), ())
        self.lacks = {piece for piece in needs if piece not in told}

    def look_up(self, goal: Lookup) -> Move:
        """Searches and answers, one step too early or the wrong fact where it is not told."""
        if HOPS in self.lacks and (middle := self.fact(goal.name, goal.first)):
            return answer(quote(goal.name, goal.first, middle), middle)
        if READ in self.lacks and (first := self._first_claim(goal)):
            return answer(quote(goal.name, *first), first[1])
        return super().look_up(goal)

    def compare(self, goal: Comparison) -> Move:
        """Searches both, or only the first where it is not told."""
        if BOTH in self.lacks and (found := self.fact(goal.a, goal.relation)):
            return answer(quote(goal.a, goal.relation, found), goal.a)
        return super().compare(goal)

    def _first_claim(self, goal: Lookup) -> tuple[str, str] | None:
        """Returns relation and value that come first on the card; None before there is one."""
        archive = self.archives.get(goal.last, "")
        for text in reversed(self._window):
            for title, content in read_documents(text):
                claim = _CLAIM.search(content)
                if title == goal.name and f", {archive}" in content and claim:
                    return claim[1], claim[2]
        return None
