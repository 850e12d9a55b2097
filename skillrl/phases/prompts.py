"""Looks at what a bank does to prompts, before a phase plays or learns with it.

Skills that never arrive and prompts that do not fit would otherwise show after hours, one as a
number that nobody expected, the other as an error in the middle.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence

from skillrl.agent.agent import SkillAgent, make_agent
from skillrl.config.settings import SkillRetrievalConfig
from skillrl.errors import SkillRLError
from skillrl.models.policy import Model
from skillrl.phases.build import make_buckets
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.coverage import coverage
from skillrl.skills.retrieval import Retriever
from skillrl.types import Task

_EACH = 16  # tasks of a category that are looked at
_BUDGETS = ("mistakes_top_k", "top_k", "general_top_k")  # the first of equals goes first


def look(
    session: Session,
    bank: SkillBank,
    *,
    model: Model | None,
    retriever: Retriever,
    phase: str,
    tasks: Iterable[Task],
) -> None:
    """Warns of tasks without skills (also in metrics) and refuses prompts that do not fit.

    Args:
      session: of the run.
      bank: the skills at hand.
      model: the policy's architecture, or None where a server has it and counts tokens.
      retriever: chooses the skills of a prompt.
      phase: sft, rl or evaluate; an evaluation writes nothing.
      tasks: that the phase will meet; the first few of each category are looked at.

    Raises:
      SkillRLError: skills and task are longer than prompts may be; says what to set.
    """
    chosen = some(tasks)
    if not bank.skills or not chosen or session.config.skill_retrieval.content == "none":
        return
    if model is not None:
        check_fit(session, bank, model=model, retriever=retriever, tasks=chosen)
    settings = session.config.skill_retrieval
    found = coverage(bank, chosen, embedder=retriever.embedder, settings=settings)
    warning = found.warning(settings, session.config.model.embedder)
    if warning:
        print(f"warning: {phase}: {warning}", file=sys.stderr, flush=True)
    name = f"{phase}_retrieval"
    if phase != "evaluate" and not session.metrics.rows(name):
        session.metrics.write(name, 0, found.numbers())


def check_fit(
    session: Session,
    bank: SkillBank,
    *,
    model: Model,
    retriever: Retriever,
    tasks: Sequence[Task],
) -> None:
    """Refuses a bank whose skills do not fit into prompts, with settings under which they do.

    Args:
      session: of the run.
      bank: the skills at hand.
      model: the policy's architecture, whose tokenizer counts.
      retriever: chooses the skills of a prompt.
      tasks: whose prompts are measured.

    Raises:
      SkillRLError: skills and task are longer than prompts may be.
    """
    settings, limit = session.config.skill_retrieval, make_buckets(session.config).prefix_limit
    ruler = _Ruler(session, bank, model=model, retriever=retriever, tasks=tasks)
    if not session.config.skill_retrieval.first_step:
        _check_late(session, ruler)
    longest, task = ruler.longest(settings)
    if longest <= limit:
        return
    rl, buckets = session.config.rl, session.config.rollout.prefix_buckets
    room = -(-(longest + longest // 16) // 32) * 32
    sets = []
    if buckets and buckets[-1] < room:
        grown = ",".join(map(str, (*buckets, room)))
        sets.append(f"--set 'rollout.prefix_buckets=[{grown}]'")
    needed = room + min(make_buckets(session.config).suffix_limit, rl.max_prompt_length)
    if needed > rl.max_prompt_length:
        sets.append(f"--set rl.max_prompt_length={needed}")
    fewer = ruler.fitting(settings, limit)
    what = (
        f"the longest of rollout.prefix_buckets is {buckets[-1]}"
        if buckets and limit == buckets[-1]
        else f"rl.max_prompt_length is {rl.max_prompt_length}"
    )
    raise SkillRLError(
        f"with the skills of this bank, prompts have up to {longest} tokens before the first "
        f"observation (task {task.id}), but {what}. Make room with {' '.join(sets)}"
        + (f", or show fewer skills with {fewer}" if fewer else "")
        + "."
    )


def _check_late(session: Session, ruler: _Ruler) -> None:
    """Refuses skills that would fill most of each step's own part of the prompt."""
    settings, limit = session.config.skill_retrieval, make_buckets(session.config).suffix_limit
    longest, task = ruler.longest(settings, late=True)
    if 4 * longest < 3 * limit:
        return
    needed = 2 * longest + session.config.rl.max_prompt_length
    fewer = ruler.fitting(settings, limit // 2, late=True)
    raise SkillRLError(
        f"skill_retrieval.first_step is false, so skills stand in each step's own part of the "
        f"prompt: up to {longest} tokens (task {task.id}) of the {limit} that it has there. Set "
        f"skill_retrieval.first_step=true, or make room with --set rl.max_prompt_length={needed} "
        "--set 'rollout.suffix_buckets=[]' --set 'rollout.cache_buckets=[]'"
        + (f", or show fewer skills with {fewer}" if fewer else "")
        + "."
    )


class _Ruler:
    """Measures the prefixes of some tasks."""

    def __init__(
        self,
        session: Session,
        bank: SkillBank,
        *,
        model: Model,
        retriever: Retriever,
        tasks: Sequence[Task],
    ):
        config = session.config
        unlimited = dataclasses.replace(config.rl, max_prompt_length=2**31 - 1)
        config = dataclasses.replace(config, rl=unlimited)
        self._agent: SkillAgent = make_agent(config, session.suite, model.tokenizer)
        self._retriever, self._bank, self._tasks = retriever, bank, tasks

    def longest(self, settings: SkillRetrievalConfig, *, late: bool = False) -> tuple[int, Task]:
        """Measures the longest prefix that any of the tasks has.

        Args:
          settings: how many skills are shown.
          late: measure the skills that stand in a step's own part of the prompt instead.

        Returns:
          Its length in tokens, and its task.
        """
        lengths, retrieve = [], dataclasses.replace(self._retriever, settings=settings)
        for task in self._tasks:
            skills = retrieve(self._bank, task)
            ids, *_ = self._agent.late(skills) if late else self._agent.prefix(task, skills)
            lengths.append(len(ids))
        at = max(range(len(lengths)), key=lengths.__getitem__)
        return lengths[at], self._tasks[at]

    def fitting(self, settings: SkillRetrievalConfig, limit: int, *, late: bool = False) -> str:
        """Finds budgets of skills with which all prefixes fit, the largest budget lowered first.

        Args:
          settings: the budgets to start from.
          limit: the tokens that a prefix may have.
          late: as in `longest`.

        Returns:
          The flags that set them, or "" if nothing fits.
        """
        fewer = settings
        while self.longest(fewer, late=late)[0] > limit:
            largest = max(_BUDGETS, key=lambda name: getattr(fewer, name))
            if not getattr(fewer, largest):
                return ""
            fewer = dataclasses.replace(fewer, **{largest: getattr(fewer, largest) - 1})
        changed = [name for name in _BUDGETS if getattr(fewer, name) != getattr(settings, name)]
        return " ".join(f"--set skill_retrieval.{name}={getattr(fewer, name)}" for name in changed)


def some(tasks: Iterable[Task]) -> list[Task]:
    """Picks the first few different tasks of each category."""
    found: dict[str, dict[str, Task]] = {}
    for task in tasks:
        of = found.setdefault(task.category, {})
        if len(of) < _EACH:
            of.setdefault(task.id, task)
    return [task for of in found.values() for task in of.values()]
