"""Checks of what the teacher answers; each raises ValueError with a sentence it can act on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.teacher.ask import field
from skillrl.types import GENERAL, Provenance, Skill, Trajectory

_LIMITS = {"title": 80, "principle": 600, "when_to_apply": 300}


def check_training(trajectories: Collection[Trajectory], what: str) -> None:
    """Raises `SkillRLError` if a trajectory is not of the training split.

    The teacher never sees held-out tasks, and they never decide what it sees.
    """
    for trajectory in trajectories:
        if trajectory.task.split != "train":
            raise SkillRLError(
                f"{what}: trajectory {trajectory.id!r} is of split {trajectory.task.split!r}; only "
                "'train' may reach the teacher. Pass training rollouts."
            )


def skill_list(
    sources: Collection[str], *, teacher: str, step: int, category: str, kind: str, limit: int
) -> Callable[[Any], list[Skill]]:
    """A validator: a JSON list of skills; at most `limit` of them are kept."""

    def check(value: Any) -> list[Skill]:
        if isinstance(value, dict) and len(value) == 1:
            (value,) = value.values()
        if not isinstance(value, list):
            raise ValueError(f"expected a list of objects, got {type(value).__name__}")
        return [
            read_skill(item, sources, teacher=teacher, step=step, category=category, kind=kind)
            for item in value[:limit]
        ]

    return check


def read_skill(
    item: Any,
    sources: Collection[str],
    *,
    teacher: str,
    step: int,
    category: str = GENERAL,
    kind: str = "skill",
) -> Skill:
    """One skill without id; trajectories that the teacher names in vain are not believed."""
    words = {
        name: field(item, name, limit=limit, required=name != "when_to_apply")
        for name, limit in _LIMITS.items()
    }
    named = item.get("sources") or []
    if not isinstance(named, list):
        raise ValueError("field 'sources' must be a list of trajectory ids")
    known = tuple(name for name in named if name in sources)
    return Skill(
        id="",
        category=category,
        kind=kind,
        provenance=Provenance(teacher, step, tuple(dict.fromkeys(known)) or tuple(sources)),
        title=words["title"],
        principle=words["principle"],
        when_to_apply=words["when_to_apply"],
    )
