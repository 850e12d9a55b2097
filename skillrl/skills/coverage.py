"""Tells which tasks get skills of their own category, and which get none, and why."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from skillrl.config.settings import SkillRetrievalConfig
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import best_similarities, get_retrieval, retrieve
from skillrl.teacher.base import Embedder
from skillrl.types import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """Holds what retrieval finds for some tasks.

    Attributes:
      tasks: category -> how many were asked about.
      without: category -> how many of them get no task-specific skill though the bank has some.
      missing: categories of which the bank has no skill at all.
      skills: task-specific skills retrieved, over all tasks.
      enough: threshold under which each task of `without` would get a skill; NaN without any.
    """

    tasks: Mapping[str, int]
    without: Mapping[str, int]
    missing: tuple[str, ...]
    skills: int
    enough: float = math.nan

    def numbers(self) -> dict[str, float]:
        """Returns metrics: tasks, those without a skill of their category, skills per task."""
        total = sum(self.tasks.values())
        bare = sum(self.without.values()) + sum(self.tasks[name] for name in self.missing)
        return {
            "tasks": total,
            "tasks_without_skills": bare,
            "task_skills": self.skills / max(1, total),
        }

    def warning(self, settings: SkillRetrievalConfig, embedder: str) -> str:
        """Returns what to know and to set where tasks go without, or ""."""
        said = []
        total, bare = sum(self.tasks.values()), sum(self.without.values())
        if bare:
            where = ", ".join(f"{c} {n} of {self.tasks[c]}" for c, n in self.without.items() if n)
            told = f"{bare} of {total} tasks get no task-specific skill ({where})"
            if settings.order == "similar":  # other rules need not have a threshold
                told += (
                    ": none is more similar than skill_retrieval.similarity_threshold="
                    f"{settings.similarity_threshold:g} by model.embedder={embedder}. Use --set "
                    f"skill_retrieval.similarity_threshold={self.enough:g}, with which each gets "
                    "one, or -1 for no threshold"
                )
            said.append(told)
        if self.missing:
            said.append(f"the bank has no skills for {', '.join(self.missing)}")
        return "; ".join(said)


def coverage(
    bank: SkillBank, tasks: Sequence[Task], *, embedder: Embedder, settings: SkillRetrievalConfig
) -> Coverage:
    """Counts what is retrieved for `tasks`; asks only for vectors that prompts want anyway.

    Args:
      bank: where to look.
      tasks: for whom.
      embedder: asked only where the retrieval rule uses it.
      settings: rule and budgets of retrieval.
    """
    if not settings.top_k:  # none are wanted
        return Coverage(
            tasks=dict(Counter(task.category for task in tasks)),
            without={},
            missing=(),
            skills=0,
            enough=math.nan,
        )
    asked: dict[str, int] = {}
    without: dict[str, int] = {}
    missing: dict[str, None] = {}
    skills, low = 0, math.inf
    asks = get_retrieval(settings.order).uses_embedder
    best = best_similarities(bank, tasks, embedder=embedder if asks else None)
    for task, similarity in zip(tasks, best, strict=True):
        asked[task.category] = asked.get(task.category, 0) + 1
        if similarity is None:
            missing[task.category] = None
            continue
        found = retrieve(
            bank,
            task,
            embedder=embedder,
            top_k=settings.top_k,
            similarity_threshold=settings.similarity_threshold,
            general_top_k=0,
            mistakes_top_k=0,
            order=settings.order,
        )
        skills += len(found.task_specific)
        if settings.top_k and not found.task_specific:
            without[task.category] = without.get(task.category, 0) + 1
            low = min(low, similarity)
    # A skill must exceed the threshold, so one that is rounded down lets it in.
    enough = math.floor(low * 100 - 1e-6) / 100 if without else math.nan
    return Coverage(
        tasks=asked, without=without, missing=tuple(missing), skills=skills, enough=enough
    )
