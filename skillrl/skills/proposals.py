"""Changes that may be made to a skill bank; `SkillBank.apply` makes them."""

from __future__ import annotations

import dataclasses

from skillrl.errors import SkillRLError
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
      sources: ids of the trajectories that speak against it.
      reason: why it is proposed, for the bank's history.
    """

    target: str
    sources: tuple[str, ...] = ()
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Proposes that skills of the bank which say much the same become one.

    The first target keeps its id and place and gets the new words; the others leave the bank.

    Attributes:
      targets: ids of two or more different skills.
      title: title of the one skill.
      principle: its principle.
      when_to_apply: the situation it is for; None keeps that of the first target.
      teacher: model id of the teacher that wrote the words; "" keeps that of the first target.
      sources: ids of the trajectories behind the words, which the skill's provenance gains beside
        those of all targets.
      reason: why it is proposed, for the bank's history.
    """

    targets: tuple[str, ...]
    title: str
    principle: str
    when_to_apply: str | None = None
    teacher: str = ""
    sources: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if len(set(self.targets)) < max(2, len(self.targets)):
            raise SkillRLError(
                f"a merge of {list(self.targets)!r:.80}: name two or more different skills"
            )


Proposal = Addition | Refinement | Retirement | Merge
