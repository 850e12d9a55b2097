"""Checks what the teacher answers; each check raises ValueError with a sentence it can act on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

from skillrl.errors import SkillRLError
from skillrl.io.text import printable
from skillrl.teacher.ask import field
from skillrl.types import GENERAL, Provenance, Skill, Trajectory

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

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


@dataclasses.dataclass(frozen=True, slots=True)
class Entries(Generic[T]):
    """Holds the entries of an answer.

    Attributes:
      kept: those that are in the form asked for.
      dropped: of each of the others, what was wrong with it.
    """

    kept: tuple[T, ...]
    dropped: tuple[str, ...] = ()


def read_entries(value: Any, read: Callable[[Any], T], *, limit: int | None = None) -> Entries[T]:
    """Reads the entries of a JSON list, at most `limit` good ones; the malformed are left out.

    Args:
      value: the decoded answer: a list, or an object with nothing but one.
      read: makes one entry; raises ValueError where it is malformed.
      limit: as many good entries are read, and no further.

    Raises:
      ValueError: it is no list, or has entries, none of them good.
    """
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    if not isinstance(value, list):
        raise ValueError(f"expected a list of objects, got {type(value).__name__}")
    kept: list[T] = []
    dropped: list[str] = []
    for number, item in enumerate(value, 1):
        if limit is not None and len(kept) >= limit:
            break
        try:
            kept.append(read(item))
        except ValueError as error:
            dropped.append(f"entry {number}: {error}")
    if dropped and not kept:
        raise ValueError(dropped[0])
    if dropped:
        _LOG.warning(
            "the teacher's answer: %d of %d entries left out, the first since %s",
            len(dropped), len(dropped) + len(kept), printable(dropped[0]),
        )  # fmt: skip
    return Entries(tuple(kept), tuple(dropped))


def read_skill(
    item: Any,
    sources: Collection[str],
    *,
    teacher: str,
    step: int,
    category: str = GENERAL,
    kind: str = "skill",
) -> Skill:
    """Reads one skill without id; sources that do not exist are not believed.

    Args:
      item: the decoded entry.
      sources: ids of the trajectories that the teacher was shown.
      teacher: model id, for the skill's provenance.
      step: training iteration, for the skill's provenance.
      category: category of the skill.
      kind: ``skill`` or ``mistake``.

    Raises:
      ValueError: it is not in the form asked for.
    """
    words = {
        name: field(item, name, limit=limit, required=name != "when_to_apply")
        for name, limit in _LIMITS.items()
    }
    named = item.get("sources")
    if isinstance(named, str):
        named = [named]
    if named is not None and not isinstance(named, list):
        raise ValueError("field 'sources' must be a list of trajectory ids")
    known = tuple(name for name in named or () if isinstance(name, str) and name in sources)
    return Skill(
        category=category,
        kind=kind,
        provenance=Provenance(teacher, step, tuple(dict.fromkeys(known)) or tuple(sources)),
        title=words["title"],
        principle=words["principle"],
        when_to_apply=words["when_to_apply"],
    )
