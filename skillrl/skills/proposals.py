"""Proposes changes to a skill bank; `SkillBank.apply` makes them."""

from __future__ import annotations

import dataclasses

from skillrl.types import Skill


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Proposes a new skill.

    Attributes:
      skill: the skill; the bank gives it an id where its own is empty.
      reason: why it is proposed, for the bank's history.
      evolved: the skill comes from failures during training, so the bank names it ``dyn_NNN``
        whatever its id is.
    """

    skill: Skill
    reason: str = ""
    evolved: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """Proposes new words for a skill of the bank.

    Attributes:
      target: id of the skill.
      title: its new title; None keeps the old one, and so for the next two.
      principle: its new principle.
      when_to_apply: the new situation it is for.
      teacher: model id of the teacher that wrote the words; "" keeps the old one.
      sources: ids of the trajectories behind the words, which the skill's provenance gains.
      reason: why it is proposed, for the bank's history.
    """

    target: str
    title: str | None = None
    principle: str | None = None
    when_to_apply: str | None = None
    teacher: str = ""
    sources: tuple[str, ...] = ()
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """Proposes to take a skill out of the bank; its id is never given again.

    Attributes:
      target: id of the skill.
      reason: why it is proposed, for the bank's history.
    """

    target: str
    reason: str = ""


Proposal = Addition | Refinement | Retirement
