"""Reads which skills the teacher wants to add, refine, merge and retire."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from skillrl.io.text import short_repr
from skillrl.skills.answers import Entries, read_entries, read_skill
from skillrl.skills.proposals import Addition, Merge, Proposal, Refinement, Retirement
from skillrl.skills.worth import Estimated, told
from skillrl.types import Skill

_LISTS = ("retire", "merge", "refine", "add")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReadChanges:
    """Reads an answer in the form of `prompts.evolution`; what leaves the bank comes first.

    Attributes:
      sources: ids of the trajectories that the teacher was shown.
      known: ids of the skills that it was shown.
      allowed: categories that a new skill may name.
      utility: id of a skill -> what it is measured to be worth; one that is measured to help is
        not retired on the teacher's word.
      teacher: model id, for provenance.
      step: training iteration, for provenance.
    """

    sources: Sequence[str]
    known: Collection[str]
    allowed: Sequence[str]
    utility: Mapping[str, Estimated]
    teacher: str
    step: int

    def __call__(self, value: Any) -> Entries[Proposal]:
        """Returns the proposals of a decoded answer; the malformed ones are left out.

        Raises:
          ValueError: it has none of the lists, or not one good entry among bad ones.
        """
        if isinstance(value, list):
            value = {"add": value}
        if not isinstance(value, dict) or not set(_LISTS) & set(value):
            raise ValueError("expected an object with the lists 'add', 'refine', 'merge', 'retire'")
        entries: list[tuple[str, Any]] = []
        for name in _LISTS:
            items = value.get(name)
            if items is not None and not isinstance(items, list):
                raise ValueError(f"{name!r} must be a list")
            entries += [(name, item) for item in items or ()]
        return read_entries(entries, self._read)

    def _read(self, entry: tuple[str, Any]) -> Proposal:
        name, item = entry
        if not isinstance(item, dict):
            raise ValueError(f"{name!r} holds {short_repr(item)}; each entry is an object")
        readers: dict[str, Callable[[Any, str], Proposal]] = {
            "add": self._addition,
            "refine": self._refinement,
            "merge": self._merge,
            "retire": self._retirement,
        }
        cause = item.get("cause")
        return readers[name](item, " ".join(cause.split())[:300] if isinstance(cause, str) else "")

    def _addition(self, item: Any, cause: str) -> Addition:
        skill, category = self._skill(item), item.get("category")
        if not isinstance(category, str) or category not in self.allowed:
            raise ValueError(
                f"category {short_repr(category)} is not one of {', '.join(self.allowed)}"
            )
        return Addition(
            skill=dataclasses.replace(skill, category=category), reason=cause, evolved=True
        )

    def _refinement(self, item: Any, cause: str) -> Refinement:
        skill = self._skill(item)
        return Refinement(
            target=self._target("refine", item.get("id")),
            title=skill.title,
            principle=skill.principle,
            when_to_apply=skill.when_to_apply,
            teacher=skill.provenance.teacher,
            sources=skill.provenance.sources,
            reason=cause,
        )

    def _merge(self, item: Any, cause: str) -> Merge:
        skill, named = self._skill(item), item.get("ids")
        if not isinstance(named, list):
            raise ValueError("field 'ids' of 'merge' must be a list of ids of existing skills")
        targets = tuple(dict.fromkeys(self._target("merge", name) for name in named))
        if len(targets) < 2:
            raise ValueError("'merge' names fewer than two different skills in 'ids'")
        return Merge(
            targets=targets,
            title=skill.title,
            principle=skill.principle,
            when_to_apply=skill.when_to_apply or None,
            teacher=skill.provenance.teacher,
            sources=skill.provenance.sources,
            reason=cause,
        )

    def _retirement(self, item: Any, cause: str) -> Retirement:
        target = self._target("retire", item.get("id"))
        estimate = self.utility.get(target)
        if estimate is not None and estimate.low > 0:
            raise ValueError(
                f"'retire' names the skill {target}, which is measured ({told(estimate)}); keep it"
            )
        return Retirement(target=target, sources=tuple(self.sources), reason=cause)

    def _skill(self, item: Any) -> Skill:
        return read_skill(item, self.sources, teacher=self.teacher, step=self.step)

    def _target(self, name: str, target: Any) -> str:
        if not isinstance(target, str) or target not in self.known:
            raise ValueError(
                f"{name!r} names the skill {short_repr(target)}; use an id of the list of "
                "existing skills"
            )
        return target
