"""Defines what a teacher and an embedder are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np

from skillrl.errors import SkillRLError


class Message(TypedDict):
    """Holds one chat turn; `role` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


class TeacherError(SkillRLError):
    """The teacher (or embedder) gave no usable answer; the message says why and what to do.

    Attributes:
      question: it is there, and what failed is this one question: others may be answered.
      too_long: the question has more text than it can take.
    """

    def __init__(self, message: str = "", *, question: bool = False, too_long: bool = False):
        super().__init__(message)
        self.question, self.too_long = question or too_long, too_long


class Unusable(TeacherError):
    """The teacher answered, but refused, was cut off or said nothing: the message says which."""

    def __init__(self, message: str = ""):
        super().__init__(message, question=True)


class Teacher(Protocol):
    """Writes skills, lessons and thoughts (M_T in the paper).

    Attributes:
      model_id: recorded as the provenance of what it writes.
      simulated: it is a stand-in that follows rules, not a language model.
    """

    model_id: str
    simulated: bool

    def complete(self, messages: Sequence[Message], *, purpose: str) -> str:
        """Answers a chat.

        Args:
          messages: the whole conversation; all that the teacher knows.
          purpose: what the request is for (``distill_success``, ``evolve``, ...).

        Raises:
          TeacherError: there was no answer.
          Unusable: there was one, but no whole text in it.
        """


class Embedder(Protocol):
    """Turns texts into vectors whose dot product is their similarity.

    An embedder must be deterministic, hashable and weakly referable (any plain class is).
    """

    model_id: str

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns float32 [n, d], rows of length 1 (or 0 for a text without content)."""
