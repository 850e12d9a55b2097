"""Writes thoughts into successful trajectories: the cold start's demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.skills import prompts
from skillrl.skills.answers import check_training
from skillrl.teacher.ask import ask_about, ask_json
from skillrl.teacher.base import Teacher
from skillrl.types import Skill, Trajectory

_TAGS = ("<think>", "</think>", "<action>", "</action>")


def rewrite_thoughts(
    trajectory: Trajectory,
    *,
    teacher: Teacher,
    skills: Sequence[Skill],
    max_words: int = 60,
    max_tries: int = 3,
) -> tuple[str, ...] | None:
    """Asks for one thought per step, in order; the actions stay what they were.

    Args:
      trajectory: a success of the training split.
      teacher: who writes the thoughts.
      skills: those that the demonstration's prompt shows.
      max_words: longest thought.
      max_tries: requests before giving up.

    Returns:
      As many thoughts as steps; None where no answer of the teacher could be used (logged).

    Raises:
      SkillRLError: the trajectory is not a success, or not of the training split.
      TeacherError: the teacher does not answer.
    """
    check_training([trajectory], "rewrite_thoughts")
    if not trajectory.won or not trajectory.steps:
        raise SkillRLError(
            f"rewrite_thoughts: trajectory {trajectory.id!r} is not a success with at least one "
            "step; demonstrations are written for successes only."
        )

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("expected a list of texts")
        if len(value) != len(trajectory.steps):
            raise ValueError(
                f"{len(value)} thoughts for {len(trajectory.steps)} steps; give one per step"
            )
        texts = tuple(" ".join(item.split()) for item in value)
        for number, text in enumerate(texts, 1):
            if not text:
                raise ValueError(f"thought {number} is empty")
            if len(text.split()) > max_words:
                raise ValueError(f"thought {number} has more than {max_words} words")
            if len(text) > 20 * max_words:
                raise ValueError(f"thought {number} has {len(text)} characters")
            if any(tag in text for tag in _TAGS):
                raise ValueError(f"thought {number} holds a tag; write plain words")
        return texts

    chat = prompts.thoughts(trajectory, skills, max_words=max_words)
    texts, _, _ = ask_about(
        [trajectory],
        lambda _: ask_json(teacher, chat, check, purpose="rewrite", max_tries=max_tries),
        what=f"the thoughts of {trajectory.id}",
    )
    return texts
