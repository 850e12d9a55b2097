"""Grows the bank from failures of weak categories (paper 3.3).

Departs from the paper on purpose: failures come from training rollouts since the last
event, never from validation, so that held-out tasks neither trigger, select nor teach.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from skillrl.io.text import short_repr
from skillrl.skills import prompts
from skillrl.skills.answers import Entries, check_training, read_entries, read_skill
from skillrl.skills.bank import SkillBank
from skillrl.skills.proposals import Addition, Proposal, Refinement
from skillrl.teacher.ask import TeacherUsage, ask_about, ask_json
from skillrl.teacher.base import Embedder, Teacher, TeacherError
from skillrl.types import GENERAL, Trajectory

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Counts the successes of a category over the rollouts since the last event."""

    episodes: int
    wins: int

    @property
    def rate(self) -> float:
        """Share of wins; 0 without episodes."""
        return self.wins / self.episodes if self.episodes else 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Holds what the teacher will be shown.

    Attributes:
      rates: success per category, sorted by name.
      overall: success over all episodes.
      failing: categories below the threshold with enough episodes, weakest first.
      failures: failed episodes to analyse, category by category in turn.
      pairs: id of a failure -> a success at the same task.
    """

    rates: Mapping[str, Rate]
    overall: Rate
    failing: tuple[str, ...]
    failures: tuple[Trajectory, ...]
    pairs: Mapping[str, Trajectory]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvolutionEvent:
    """Says what one look at the training rollouts led to; `to_json` gives plain JSON values.

    Attributes:
      step: training iteration.
      bank_before: version before.
      bank_after: version after.
      overall: share of episodes won.
      categories: category -> {"episodes", "wins", "rate"}.
      failing: categories below the threshold.
      analysed: ids of the failures that the teacher saw.
      pairs: id of a failure -> id of the success shown with it.
      added: ids of new skills.
      refined: ids of skills with new words.
      refused: {"title", "reason"} of what the teacher proposed in vain.
      teacher_failures: questions without a usable answer; the bank then stays as it was.
      teacher_error: why the teacher did not answer, or "".
      requests: requests made.
      dropped: entries of the teacher's answer that were malformed and left out.
    """

    step: int
    bank_before: int
    bank_after: int
    overall: float
    categories: Mapping[str, Mapping[str, float]]
    failing: tuple[str, ...] = ()
    analysed: tuple[str, ...] = ()
    pairs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    added: tuple[str, ...] = ()
    refined: tuple[str, ...] = ()
    refused: tuple[Mapping[str, str], ...] = ()
    teacher_failures: int = 0
    teacher_error: str = ""
    requests: int = 0
    dropped: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return dataclasses.asdict(self)


def select_failures(
    trajectories: Collection[Trajectory],
    *,
    evolution_threshold: float = 0.4,
    min_episodes: int = 4,
    max_analysis_deep: int = 10,
    max_analysis_shallow: int = 5,
) -> Selection:
    """Chooses failures by stratified round-robin over the failing categories.

    Within a category the worst come first (low score, many invalid actions), one of each
    task before the second of any. At most `max_analysis_deep` if overall success is below
    the threshold, else `max_analysis_shallow`. Does not depend on the order of `trajectories`.

    Args:
      trajectories: training rollouts since the last event; failed environments are left out.
      evolution_threshold: a category whose success is below this is failing (delta).
      min_episodes: fewer episodes than this say nothing about a category.
      max_analysis_deep: most failures where overall success is below the threshold.
      max_analysis_shallow: most failures otherwise.

    Raises:
      SkillRLError: a trajectory is not of the training split.
    """
    check_training(trajectories, "evolve")
    usable = sorted((t for t in trajectories if not t.error), key=lambda t: t.id)
    rates: dict[str, Rate] = {}
    for name in sorted({t.task.category for t in usable}):
        members = [t for t in usable if t.task.category == name]
        rates[name] = Rate(len(members), sum(t.won for t in members))
    overall = Rate(len(usable), sum(t.won for t in usable))
    failing = tuple(
        sorted(
            (
                name
                for name, rate in rates.items()
                if rate.episodes >= min_episodes and rate.rate < evolution_threshold
            ),
            key=lambda name: (rates[name].rate, name),
        )
    )
    limit = max_analysis_deep if overall.rate < evolution_threshold else max_analysis_shallow
    queues = [_ranked([t for t in usable if t.task.category == name]) for name in failing]
    failures: list[Trajectory] = []
    while len(failures) < limit and any(queues):
        for queue in queues:
            if queue and len(failures) < limit:
                failures.append(queue.pop(0))
    winners: dict[str, Trajectory] = {}
    for item in usable:
        if item.won:
            best = winners.setdefault(item.task.id, item)
            if len(item.steps) < len(best.steps):
                winners[item.task.id] = item
    pairs = {item.id: winners[item.task.id] for item in failures if item.task.id in winners}
    return Selection(
        rates=rates, overall=overall, failing=failing, failures=tuple(failures), pairs=pairs
    )


def evolve(
    bank: SkillBank,
    trajectories: Collection[Trajectory],
    *,
    teacher: Teacher,
    step: int,
    embedder: Embedder | None = None,
    evolution_threshold: float = 0.4,
    min_episodes: int = 4,
    max_new_skills: int = 3,
    max_analysis_deep: int = 10,
    max_analysis_shallow: int = 5,
    max_tries: int = 3,
) -> tuple[SkillBank, EvolutionEvent]:
    """Runs one evolution event: SkillBank <- SkillBank ∪ S_new, with refinements.

    The teacher sees whole failed episodes of the failing categories, a success at the
    same task where there is one, and the skills that were in force. A teacher that does
    not answer, or not usably, is logged and counted; the bank is then returned unchanged.

    Args:
      bank: the bank the episodes were played with.
      trajectories: training rollouts since the last event.
      teacher: who analyses.
      step: training iteration, for history and provenance.
      embedder: finds near-duplicates among the proposals.
      evolution_threshold: a category whose success is below this is failing (delta).
      min_episodes: fewer episodes than this say nothing about a category.
      max_analysis_deep: most failures shown where overall success is below the threshold.
      max_analysis_shallow: most failures shown otherwise.
      max_new_skills: most additions and refinements together; the rest is refused.
      max_tries: requests before giving up.

    Raises:
      SkillRLError: a trajectory is not of the training split.
    """
    chosen = select_failures(
        trajectories,
        evolution_threshold=evolution_threshold,
        min_episodes=min_episodes,
        max_analysis_deep=max_analysis_deep,
        max_analysis_shallow=max_analysis_shallow,
    )
    event = EvolutionEvent(
        step=step,
        bank_before=bank.version,
        bank_after=bank.version,
        overall=chosen.overall.rate,
        categories={
            name: {"episodes": r.episodes, "wins": r.wins, "rate": r.rate}
            for name, r in chosen.rates.items()
        },
        failing=chosen.failing,
        analysed=tuple(item.id for item in chosen.failures),
        pairs={failure: success.id for failure, success in chosen.pairs.items()},
    )
    if not chosen.failures or max_new_skills < 1:
        return bank, event

    allowed = (*chosen.failing, GENERAL)
    existing = [skill for skill in bank.skills if skill.category in allowed]
    known = {skill.id for skill in existing}

    def ask(failures: Sequence[Trajectory]) -> tuple[Entries[Proposal] | None, TeacherUsage]:
        chat = prompts.evolution(
            failures,
            chosen.pairs,
            existing,
            rates={name: chosen.rates[name].rate for name in chosen.failing},
            categories=allowed,
            count=max_new_skills,
        )
        check = _Proposals(
            sources=tuple(t.id for t in failures),
            known=known,
            allowed=allowed,
            teacher=teacher,
            step=step,
        )
        return ask_json(teacher, chat, check, purpose="evolve", max_tries=max_tries)

    counts, problem, grown = TeacherUsage(), "", bank
    try:
        answer, counts, shown = ask_about(chosen.failures, ask, what=f"evolve at step {step}")
        event = dataclasses.replace(
            event,
            analysed=tuple(item.id for item in shown),
            pairs={t.id: chosen.pairs[t.id].id for t in shown if t.id in chosen.pairs},
            dropped=len(answer.dropped) if answer else 0,
        )
        if answer is None:
            problem = "no answer could be used: " + "; ".join(counts.reasons)
        else:
            grown = bank.apply(answer.kept, step=step, embedder=embedder, limit=max_new_skills)
    except TeacherError as error:  # or the embedder's, which finds near-duplicates
        _LOG.warning("step %d: the bank does not evolve, the teacher failed: %s", step, error)
        problem = str(error)
    if problem:
        return bank, dataclasses.replace(
            event, teacher_failures=1, teacher_error=problem, requests=counts.asked
        )
    bank, new = grown, grown.history[len(bank.history) :]
    return bank, dataclasses.replace(
        event,
        bank_after=bank.version,
        added=tuple(item.skill for item in new if item.action == "added"),
        refined=tuple(item.skill for item in new if item.action == "refined"),
        refused=tuple(
            {"title": item.title, "reason": item.reason} for item in new if item.action == "refused"
        ),
        requests=counts.asked,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Proposals:
    """Checks the teacher's answer; see `prompts.evolution` for its form."""

    sources: Sequence[str]
    known: Collection[str]
    allowed: Sequence[str]
    teacher: Teacher
    step: int

    def __call__(self, value: Any) -> Entries[Proposal]:
        if isinstance(value, list):
            value = {"add": value}
        if not isinstance(value, dict) or not {"add", "refine"} & set(value):
            raise ValueError("expected an object with the lists 'add' and 'refine'")
        entries: list[tuple[str, Any]] = []
        for name in ("refine", "add"):
            items = value.get(name)
            if items is not None and not isinstance(items, list):
                raise ValueError(f"{name!r} must be a list")
            entries += [(name, item) for item in items or ()]
        return read_entries(entries, self._read)

    def _read(self, entry: tuple[str, Any]) -> Proposal:
        name, item = entry
        skill = read_skill(item, self.sources, teacher=self.teacher.model_id, step=self.step)
        cause = item.get("cause")
        cause = " ".join(cause.split())[:300] if isinstance(cause, str) else ""
        if name == "refine":
            target = item.get("id")
            if not isinstance(target, str) or target not in self.known:
                raise ValueError(
                    f"'refine' names the skill {short_repr(target)}; use an id of the list of "
                    "existing skills"
                )
            return Refinement(
                target=target,
                title=skill.title,
                principle=skill.principle,
                when_to_apply=skill.when_to_apply,
                teacher=skill.provenance.teacher,
                sources=skill.provenance.sources,
                reason=cause,
            )
        category = item.get("category")
        if not isinstance(category, str) or category not in self.allowed:
            raise ValueError(
                f"category {short_repr(category)} is not one of {', '.join(self.allowed)}"
            )
        return Addition(
            skill=dataclasses.replace(skill, category=category), reason=cause, evolved=True
        )


def _ranked(members: Sequence[Trajectory]) -> list[Trajectory]:
    """Sorts failures, worst first; the second of a task only after the first of every other."""
    failures = sorted(
        (t for t in members if not t.won),
        key=lambda t: (t.score, -sum(bool(s.invalid) for s in t.steps), t.id),
    )
    turn: dict[str, int] = {}
    keyed = []
    for rank, item in enumerate(failures):
        nth = turn.get(item.task.id, 0)
        turn[item.task.id] = nth + 1
        keyed.append((nth, rank, item))
    return [item for _, _, item in sorted(keyed, key=lambda entry: entry[:2])]
