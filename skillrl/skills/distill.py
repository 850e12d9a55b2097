"""From trajectories to the first skill bank (paper 3.1 and 3.2).

Per category, successes become strategic patterns (s+) and failures lessons (s-); a
balanced mixture of all categories becomes general skills and common mistakes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from skillrl.io.text import truncate
from skillrl.skills import budget, prompts
from skillrl.skills.answers import Entries, check_training, read_entries, read_skill
from skillrl.skills.bank import SkillBank
from skillrl.skills.proposals import Addition
from skillrl.teacher.ask import TeacherUsage, ask_about, ask_json, field
from skillrl.teacher.base import Embedder, Message, Teacher, TeacherError
from skillrl.types import GENERAL, Skill, Trajectory

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one failure teaches (paper 3.1): four items; `title` names the entry in the bank."""

    category: str
    title: str
    where_it_failed: str
    what_was_wrong: str
    what_to_do_instead: str
    principle: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DistillReport:
    """What distillation did.

    Attributes:
      successes: category -> number of successes that the teacher saw.
      failures: category -> number of failures that the teacher saw.
      excluded: trajectories left out because their environment failed.
      lessons: failures in four items.
      skipped: questions without a usable answer, by name.
      counts: requests, malformed answers, questions skipped, entries dropped.
      reasons: name of a skipped question -> why, in the server's own words where it gave any.
    """

    successes: Mapping[str, int]
    failures: Mapping[str, int]
    excluded: int
    lessons: tuple[Lesson, ...]
    skipped: tuple[str, ...]
    counts: TeacherUsage
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
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
    max_request_tokens: int = 0,
    max_tries: int = 3,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[SkillBank, DistillReport]:
    """Makes the skill bank of Algorithm 1, line "distil".

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
      max_request_tokens: budget of a question, see `budget.fit`; 0 sets none.
      max_tries: requests per question before it is skipped and counted.
      progress: called with (questions done, questions in all, name of the question).

    Returns:
      The bank and the report.

    Raises:
      SkillRLError: a trajectory is not of the training split.
      TeacherError: the teacher does not answer, or not one skill could be made of what it says.
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
    questions: list[_Question] = []
    if mixed:
        questions.append(
            _Question(
                purpose="distill_general",
                category=GENERAL,
                shown=mixed,
                limit=general_count,
                chat=prompts.general_skills,
            )
        )
    if mixed_losses:
        questions.append(
            _Question(
                purpose="distill_mistakes",
                category=GENERAL,
                shown=mixed_losses,
                limit=mistakes_count,
                chat=prompts.common_mistakes,
            )
        )
    for name in order:
        if wins[name]:
            ask = functools.partial(prompts.success_patterns, name)
            questions.append(
                _Question(
                    purpose="distill_success",
                    category=name,
                    shown=wins[name],
                    limit=skills_per_category,
                    chat=ask,
                )
            )
        if losses[name]:
            ask = functools.partial(prompts.failure_lessons, name)
            questions.append(
                _Question(
                    purpose="distill_failure",
                    category=name,
                    shown=losses[name],
                    limit=lessons_per_category,
                    chat=ask,
                )
            )

    found: list[Skill] = []
    lessons: list[Lesson] = []
    skipped: dict[str, str] = {}
    counts = TeacherUsage()
    for number, question in enumerate(questions):
        if progress:
            progress(number, len(questions), question.label)
        build = functools.partial(_chat, question)
        shown = budget.affordable(
            question.shown, build, max_tokens=max_request_tokens, what=question.label
        )
        answer, cost, _ = ask_about(
            shown,
            functools.partial(_ask, question, teacher, max_request_tokens, max_tries),
            what=question.label,
        )
        counts += cost + TeacherUsage(omitted=len(question.shown) - len(shown))
        if answer is None:
            skipped[question.label] = "; ".join(cost.reasons)
            continue
        counts += TeacherUsage(dropped=len(answer.dropped))
        found += [skill for skill, _ in answer.kept]
        lessons += [lesson for _, lesson in answer.kept if lesson]
    if progress:
        progress(len(questions), len(questions), "done")
    if questions and not found:
        raise TeacherError(_nothing(teacher.model_id, len(questions), skipped))
    if skipped or counts.dropped:
        _LOG.warning(
            "teacher %s: %d of %d questions without a usable answer, %d entries left out; the "
            "report has the reasons",
            teacher.model_id, len(skipped), len(questions), counts.dropped,
        )  # fmt: skip

    bank = SkillBank().apply(
        [Addition(skill=skill, reason="distilled") for skill in found], embedder=embedder
    )
    report = DistillReport(
        successes={name: len(wins[name]) for name in order},
        failures={name: len(losses[name]) for name in order},
        excluded=len(trajectories) - len(usable),
        lessons=tuple(lessons),
        skipped=tuple(skipped),
        reasons=dict(skipped),
        counts=counts,
    )
    return bank, report


def _choose(trajectories: Sequence[Trajectory], each: int) -> list[Trajectory]:
    """Chooses up to `each` successes and `each` failures, of as many tasks as possible."""
    chosen: list[Trajectory] = []
    for won in (True, False):
        by_task: dict[str, list[Trajectory]] = {}
        for item in sorted(trajectories, key=lambda t: t.id):
            if item.won == won:
                by_task.setdefault(item.task.id, []).append(item)
        chosen += _round_robin(list(by_task.values()), each)
    return chosen


def _round_robin(lists: Sequence[Sequence[Trajectory]], limit: int) -> list[Trajectory]:
    """Returns the first of each list, then the second of each, ...; at most `limit`."""
    longest = max((len(items) for items in lists), default=0)
    turns = (items[i] for i in range(longest) for items in lists if i < len(items))
    return [item for item, _ in zip(turns, range(limit), strict=False)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked about some trajectories: `chat` makes the messages."""

    purpose: str
    category: str
    shown: Sequence[Trajectory]
    limit: int
    chat: Callable[..., list[Message]]

    @property
    def label(self) -> str:
        return f"{self.purpose} {self.category}"


def _chat(question: _Question, shown: Sequence[Trajectory], longest: int | None) -> list[Message]:
    return question.chat(shown, count=question.limit, longest=longest)


def _ask(
    question: _Question,
    teacher: Teacher,
    max_tokens: int,
    max_tries: int,
    shown: Sequence[Trajectory],
) -> tuple[Entries[tuple[Skill, Lesson | None]] | None, TeacherUsage]:
    """Asks `question` about `shown`, which are some of its trajectories."""
    sources = [item.id for item in shown]
    kind = "mistake" if question.purpose in ("distill_mistakes", "distill_failure") else "skill"

    def read(item: Any) -> tuple[Skill, Lesson | None]:
        skill = read_skill(
            item, sources, teacher=teacher.model_id, step=0, category=question.category, kind=kind
        )
        return skill, _lesson(item, skill) if question.purpose == "distill_failure" else None

    chat, cut = budget.fit(
        shown, functools.partial(_chat, question), max_tokens=max_tokens, what=question.label
    )
    answer, usage = ask_json(
        teacher,
        chat,
        lambda value: read_entries(value, read, limit=question.limit),
        purpose=question.purpose,
        max_tries=max_tries,
    )
    return answer, usage + TeacherUsage(cut=cut)


def _lesson(item: Any, skill: Skill) -> Lesson:
    items = {
        name: field(item, name, limit=600)
        for name in ("where_it_failed", "what_was_wrong", "what_to_do_instead")
    }
    return Lesson(category=skill.category, title=skill.title, principle=skill.principle, **items)


def _nothing(teacher: str, questions: int, skipped: Mapping[str, str]) -> str:
    """Says why a teacher left the bank empty, the most frequent reasons first."""
    reasons = Counter(truncate(reason, 250) for reason in skipped.values())
    if questions > len(skipped):
        reasons["it answered with an empty list"] = questions - len(skipped)
    told = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common(3))
    more = f"; and {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
    return (
        f"{teacher}: not one skill came of {questions} question(s): {told}{more}. Training on an "
        "empty bank would be training without skills. Where answers are cut off, raise "
        "model.teacher_max_tokens or the server's own limit; else choose another "
        "model.teacher_model_id, then run the same command again."
    )
