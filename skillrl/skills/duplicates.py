"""Whether a bank already says what a skill says: by its title, or by the meaning of its text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable

import numpy as np

from skillrl.teacher.base import Embedder
from skillrl.types import GENERAL, Skill

DUPLICATE_SIMILARITY = 0.85
"""Cosine similarity from which two skills of one category say the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class Twins:
    """Finds the skill that already says what another one would say.

    Attributes:
      embedder: compares whole texts; without one only equal titles are found.
      max_similarity: cosine similarity from which two skills say the same.
    """

    embedder: Embedder | None = None
    max_similarity: float = DUPLICATE_SIMILARITY

    def find(
        self,
        skill: Skill,
        bank: Iterable[Skill],
        *,
        besides: Collection[str] = (),
        titles: bool = True,
    ) -> tuple[Skill | None, str]:
        """Looks among the skills of the same category and the general ones.

        Args:
          skill: what would be said.
          bank: the skills there are.
          besides: ids of skills that do not count, since `skill` takes their place.
          titles: whether an equal title is enough.

        Returns:
          The skill that already says this, and how that was seen; None and "" where none does.
        """
        rivals = [
            other
            for other in bank
            if other.category in (skill.category, GENERAL) and other.id not in besides
        ]
        if titles:
            for other in rivals:
                if normal(other.title) == normal(skill.title):
                    return other, f"same title as {other.id}"
        if self.embedder is None or not rivals:
            return None, ""
        vectors = self.embedder.embed([skill_text(item) for item in (skill, *rivals)])
        similarity = vectors[1:] @ vectors[0]
        best = int(np.argmax(similarity))
        if similarity[best] >= self.max_similarity:
            return rivals[best], f"cosine {similarity[best]:.2f} with {rivals[best].id}"
        return None, ""


def skill_text(skill: Skill) -> str:
    """Returns what is embedded of a skill: "title. principle. when_to_apply"."""
    return ". ".join(filter(None, (skill.title, skill.principle, skill.when_to_apply)))


def normal(title: str) -> str:
    """Returns the words of a title in lower case, without punctuation."""
    return " ".join(re.findall(r"\w+", title.lower()))
