"""From trajectories to the first skill bank (paper 3.1 and 3.2).

Per category, successes become strategic patterns (s+) and failures lessons (s-); a
balanced mixture of all categories becomes general skills and common mistakes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from skillrl.skills import prompts
from skillrl.skills.answers import check_training, read_skill, skill_list
from skillrl.skills.bank import SkillBank
from skillrl.teacher.ask import Counts, ask_json, field
from skillrl.teacher.base import Embedder, Message, Teacher
from skillrl.types import GENERAL, Skill, Trajectory


@dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """What one failure teaches (paper 3.1): four items; `title` names the entry in the bank."""

    category: str
    title: str
    where_it_failed: str
    what_was_wrong: str
    what_to_do_instead: str
    principle: str


@dataclasses.dataclass(frozen=True, slots=True)
class DistillReport:
    """What distillation did.

    Attributes:
      successes: category -> number of successes that the teacher saw.
      failures: category -> number of failures that the teacher saw.
      excluded: trajectories left out because their environment failed.
      lessons: failures in four items.
      skipped: questions without a usable answer, by name.
      counts: requests, malformed answers, questions skipped.
    """

    successes: Mapping[str, int]
    failures: Mapping[str, int]
    excluded: int
    lessons: tuple[Lesson, ...]
    skipped: tuple[str, ...]
    counts: Counts

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)


def distill(
    trajectories: Collection[Trajectory],
    *,
    teacher: Teacher,
    categories: Iterable[str],
    embedder: Embedder | None = None,
    max_per_category: int = 16,
    skills_per_category: int = 6,
    lessons_per_category: int = 4,
    general_count: int = 12,
    mistakes_count: int = 12,
    max_tries: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[SkillBank, DistillReport]:
    """The skill bank of Algorithm 1, line "distil".

    Args:
      trajectories: training episodes, successes and failures.
      teacher: who writes the skills. Its `TeacherError` passes through; with a caching
        teacher, calling again goes on where it stopped.
      categories: categories of the environment, in the order of the bank.
      embedder: finds near-duplicates; without one only equal titles are found.
      max_per_category: most trajectories of a category in one question; half of them
        are kept for each of success and failure where there are enough.
      skills_per_category: most skills of a category.
      lessons_per_category: most mistakes of a category.
      general_count: most general skills.
      mistakes_count: most general mistakes.
      max_tries: requests per question before it is skipped and counted.
      progress: called with (questions done, questions in all, name of the question).

    Returns:
      The bank and the report.

    Raises:
      SkillRLError: a trajectory is not of the training split.
      TeacherError: the teacher does not answer.
    """
    check_training(trajectories, "distill")
    usable = [item for item in trajectories if not item.error]
    order = list(dict.fromkeys([*categories, *(item.task.category for item in usable)]))
    half = max(1, max_per_category // 2)
    chosen = {name: _choose([t for t in usable if t.task.category == name], half) for name in order}
    wins = {name: [t for t in chosen[name] if t.won] for name in order}
    losses = {name: [t for t in chosen[name] if not t.won] for name in order}
    mixed_wins = _round_robin(list(wins.values()), max_per_category)
    mixed_losses = _round_robin(list(losses.values()), max_per_category)
    mixed = _round_robin([mixed_wins, mixed_losses], max_per_category)

    # General questions first: what a general skill says is not repeated per category.
    questions: list[tuple[str, list[Message], list[Trajectory], str, str, int]] = []
    if mixed:
        chat = prompts.general_skills(mixed, count=general_count)
        questions.append(("distill_general", chat, mixed, GENERAL, "skill", general_count))
    if mixed_losses:
        chat = prompts.common_mistakes(mixed_losses, count=mistakes_count)
        questions.append(
            ("distill_mistakes", chat, mixed_losses, GENERAL, "mistake", mistakes_count)
        )
    for name in order:
        if wins[name]:
            chat = prompts.success_patterns(name, wins[name], count=skills_per_category)
            questions.append(
                ("distill_success", chat, wins[name], name, "skill", skills_per_category)
            )
        if losses[name]:
            chat = prompts.failure_lessons(name, losses[name], count=lessons_per_category)
            questions.append(
                ("distill_failure", chat, losses[name], name, "mistake", lessons_per_category)
            )

    found: list[Skill] = []
    lessons: list[Lesson] = []
    skipped: list[str] = []
    counts = Counts()
    for number, (purpose, chat, shown, category, kind, limit) in enumerate(questions):
        label = f"{purpose} {category}"
        if progress:
            progress(number, len(questions), label)
        ids = [item.id for item in shown]
        make = {"teacher": teacher.model_id, "step": 0, "category": category, "kind": kind}
        if purpose == "distill_failure":
            check = _lesson_list(ids, make, limit)
            pairs, cost = ask_json(teacher, chat, check, purpose=purpose, max_tries=max_tries)
            answer = None if pairs is None else [skill for skill, _ in pairs]
            lessons += [lesson for _, lesson in pairs or ()]
        else:
            listed = skill_list(ids, limit=limit, **make)  # type: ignore[arg-type]
            answer, cost = ask_json(teacher, chat, listed, purpose=purpose, max_tries=max_tries)
        counts += cost
        found += answer or ()
        if answer is None:
            skipped.append(label)
    if progress:
        progress(len(questions), len(questions), "done")

    bank = SkillBank().add(found, step=0, reason="distilled", embedder=embedder)
    report = DistillReport(
        successes={name: len(wins[name]) for name in order},
        failures={name: len(losses[name]) for name in order},
        excluded=len(trajectories) - len(usable),
        lessons=tuple(lessons),
        skipped=tuple(skipped),
        counts=counts,
    )
    return bank, report


def _choose(trajectories: Sequence[Trajectory], each: int) -> list[Trajectory]:
    """Up to `each` successes and `each` failures, of as many different tasks as possible."""
    chosen: list[Trajectory] = []
    for won in (True, False):
        by_task: dict[str, list[Trajectory]] = {}
        for item in sorted(trajectories, key=lambda t: t.id):
            if item.won == won:
                by_task.setdefault(item.task.id, []).append(item)
        chosen += _round_robin(list(by_task.values()), each)
    return chosen


def _round_robin(lists: Sequence[Sequence[Trajectory]], limit: int) -> list[Trajectory]:
    """The first of each list, then the second of each, ...; at most `limit`."""
    longest = max((len(items) for items in lists), default=0)
    turns = (items[i] for i in range(longest) for items in lists if i < len(items))
    return [item for item, _ in zip(turns, range(limit), strict=False)]


def _lesson_list(
    sources: Collection[str], make: Mapping[str, Any], limit: int
) -> Callable[[Any], list[tuple[Skill, Lesson]]]:
    def check(value: Any) -> list[tuple[Skill, Lesson]]:
        if isinstance(value, dict) and len(value) == 1:
            (value,) = value.values()
        if not isinstance(value, list):
            raise ValueError(f"expected a list of objects, got {type(value).__name__}")
        found = []
        for item in value[:limit]:
            skill = read_skill(item, sources, **make)
            items = {
                name: field(item, name, limit=600)
                for name in ("where_it_failed", "what_was_wrong", "what_to_do_instead")
            }
            lesson = Lesson(
                category=skill.category, title=skill.title, principle=skill.principle, **items
            )
            found.append((skill, lesson))
        return found

    return check
