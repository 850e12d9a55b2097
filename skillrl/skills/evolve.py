"""Grows the bank from failures of weak categories (paper 3.3).

Departs from the paper on purpose: failures come from training rollouts since the last
event, never from validation, so that held-out tasks neither trigger, select nor teach.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from skillrl.skills import budget, prompts
from skillrl.skills.answers import Entries
from skillrl.skills.bank import SkillBank
from skillrl.skills.changes import ReadChanges
from skillrl.skills.failures import Selection, select_failures
from skillrl.skills.history import BankEvent
from skillrl.skills.proposals import Proposal
from skillrl.skills.worth import NOTHING_MEASURED, Estimated, worth_by
from skillrl.teacher.ask import TeacherUsage, ask_about, ask_json
from skillrl.teacher.base import Embedder, Message, Teacher, TeacherError
from skillrl.types import GENERAL, Trajectory

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvolutionEvent:
    """Says what one look at the training rollouts led to; `to_json` gives plain JSON values.

    Attributes:
      step: training iteration.
      bank_before: version before.
      bank_after: version after.
      overall: share of episodes won.
      categories: category -> {"episodes", "wins", "rate"}.
      used: ids of skills that had been in prompts with the words they had before the event.
      failing: categories below the threshold.
      analysed: ids of the failures that the teacher saw.
      pairs: id of a failure -> id of the success shown with it.
      added: ids of new skills.
      refined: ids of skills with new words.
      merged: ids of skills that took others in.
      retired: ids of skills that left the bank: merged into another, hurtful, or beyond the cap.
      refused: {"title", "reason"} of what the teacher proposed in vain.
      teacher_failures: questions without a usable answer; the bank then stays as it was.
      teacher_error: why the teacher did not answer, or "".
      requests: requests made.
      dropped: entries of the teacher's answer that were malformed and left out.
      cut: characters left out of long observations, to keep within the budget of a request.
      omitted: failures that were chosen and did not fit into the request.
    """

    step: int
    bank_before: int
    bank_after: int
    overall: float
    categories: Mapping[str, Mapping[str, float]]
    used: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    analysed: tuple[str, ...] = ()
    pairs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    added: tuple[str, ...] = ()
    refined: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    refused: tuple[Mapping[str, str], ...] = ()
    teacher_failures: int = 0
    teacher_error: str = ""
    requests: int = 0
    dropped: int = 0
    cut: int = 0
    omitted: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return dataclasses.asdict(self)


def evolve(
    bank: SkillBank,
    trajectories: Collection[Trajectory],
    *,
    teacher: Teacher,
    step: int,
    policy_version: int = 0,
    embedder: Embedder | None = None,
    utility: Mapping[str, Estimated] = NOTHING_MEASURED,
    evolution_threshold: float = 0.4,
    min_episodes: int = 4,
    max_new_skills: int = 3,
    max_skills: int = 0,
    max_analysis_deep: int = 10,
    max_analysis_shallow: int = 5,
    max_request_tokens: int = 0,
    max_tries: int = 3,
) -> tuple[SkillBank, EvolutionEvent]:
    """Runs one evolution event: SkillBank <- SkillBank ∪ S_new, with refinements.

    The teacher sees whole failed episodes of the failing categories, a success at the
    same task where there is one, and the skills that were in force with what they are worth. It
    may also merge and retire, which the paper's does not. A teacher that does not answer, or not
    usably, is logged and counted; the bank is then returned unchanged.

    Args:
      bank: the bank the episodes were played with.
      trajectories: training rollouts since the last event.
      teacher: who analyses.
      step: training iteration, for history and provenance.
      policy_version: number of updates of the policy, for the history.
      embedder: finds near-duplicates among the proposals.
      utility: id of a skill -> what it is measured to be worth; the others are unmeasured.
      evolution_threshold: a category whose success is below this is failing (delta).
      min_episodes: fewer episodes than this say nothing about a category.
      max_new_skills: most additions and refinements together, and most merges and retirements;
        the rest is refused.
      max_skills: the bank keeps at most as many, those of the highest utility; 0 sets no limit.
      max_analysis_deep: most failures shown where overall success is below the threshold.
      max_analysis_shallow: most failures shown otherwise.
      max_request_tokens: budget of the request, see `budget.fit`; 0 sets none.
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
    event = _begun(bank, chosen, step=step)
    change = functools.partial(
        bank.apply,
        step=step,
        policy_version=policy_version,
        embedder=embedder,
        limit=max_new_skills,
        max_skills=max_skills,
        worth=worth_by(utility),
    )
    if not chosen.failures or max_new_skills < 1:
        return _ended(bank, change([]), event)

    allowed = (*chosen.failing, GENERAL)
    existing = [skill for skill in bank.skills if skill.category in allowed]
    what = f"evolve at step {step}"

    def build(failures: Sequence[Trajectory], longest: int | None) -> list[Message]:
        return prompts.evolution(
            failures,
            chosen.pairs,
            existing,
            rates={name: chosen.rates[name].rate for name in chosen.failing},
            categories=allowed,
            count=max_new_skills,
            utility=utility,
            longest=longest,
        )

    def ask(failures: Sequence[Trajectory]) -> tuple[Entries[Proposal] | None, TeacherUsage]:
        chat, cut = budget.fit(failures, build, max_tokens=max_request_tokens, what=what)
        read = ReadChanges(
            sources=tuple(t.id for t in failures),
            known={skill.id for skill in existing},
            allowed=allowed,
            utility=utility,
            teacher=teacher.model_id,
            step=step,
        )
        answer, usage = ask_json(teacher, chat, read, purpose="evolve", max_tries=max_tries)
        return answer, usage + TeacherUsage(cut=cut)

    counts, problem, grown = TeacherUsage(), "", bank
    affordable = budget.affordable(chosen.failures, build, max_tokens=max_request_tokens, what=what)
    try:
        answer, counts, shown = ask_about(affordable, ask, what=what)
        event = dataclasses.replace(
            event,
            analysed=tuple(item.id for item in shown),
            pairs={t.id: chosen.pairs[t.id].id for t in shown if t.id in chosen.pairs},
            dropped=len(answer.dropped) if answer else 0,
            cut=counts.cut,
            omitted=len(chosen.failures) - len(affordable),
        )
        if answer is None:
            problem = "no answer could be used: " + "; ".join(counts.reasons)
        else:
            grown = change(answer.kept)
    except TeacherError as error:  # or the embedder's, which finds near-duplicates
        _LOG.warning("step %d: the bank does not evolve, the teacher failed: %s", step, error)
        problem = str(error)
    if problem:
        return bank, dataclasses.replace(
            event, teacher_failures=1, teacher_error=problem, requests=counts.asked
        )
    return _ended(bank, grown, dataclasses.replace(event, requests=counts.asked))


def _begun(bank: SkillBank, chosen: Selection, *, step: int) -> EvolutionEvent:
    """Returns the event as it stands before the teacher is asked."""
    return EvolutionEvent(
        step=step,
        bank_before=bank.version,
        bank_after=bank.version,
        overall=chosen.overall.rate,
        categories={
            name: {"episodes": r.episodes, "wins": r.wins, "rate": r.rate}
            for name, r in chosen.rates.items()
        },
        used=tuple(skill.id for skill in bank.skills if skill.use.episodes),
        failing=chosen.failing,
        analysed=tuple(item.id for item in chosen.failures),
        pairs={failure: success.id for failure, success in chosen.pairs.items()},
    )


def _ended(
    before: SkillBank, after: SkillBank, event: EvolutionEvent
) -> tuple[SkillBank, EvolutionEvent]:
    """Returns the new bank, and the event with what happened to its skills."""
    new = after.history[len(before.history) :]

    def ids(action: str) -> tuple[str, ...]:
        return tuple(item.skill for item in new if item.action == action)

    return after, dataclasses.replace(
        event,
        bank_after=after.version,
        added=ids("added"),
        refined=ids("refined"),
        merged=ids("merged"),
        retired=ids("retired"),
        refused=tuple(_refusal(item) for item in new if item.action == "refused"),
    )


def _refusal(event: BankEvent) -> Mapping[str, str]:
    return {"title": event.title, "reason": event.reason}
