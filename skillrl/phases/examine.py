"""Examinations of skills: training tasks played with and without each, by the current policy.

Both arms of a pair make their random draws at the same addresses (phase ``EXAM``, iteration, task,
member 0, repeat 0, step), so they differ in nothing but the skill. All is a function of policy,
bank, iteration and seed: a resumed run examines the same skills on the same tasks, and gets the
same answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.parallel import random_keys
from skillrl.phases.session import Session
from skillrl.rollouts import store
from skillrl.rollouts.player import Player, make_job, play
from skillrl.skills.bank import SkillBank
from skillrl.skills.exams import Pair, pairs_of, plan, tally
from skillrl.skills.proposals import Retirement
from skillrl.skills.store import save_bank
from skillrl.skills.utility import describe, estimates, verdicts
from skillrl.types import Exams, Task, Trajectory


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExamReport:
    """What one examination cost and gave.

    Attributes:
      episodes: how many were played.
      errored: those of them whose environment failed; their pairs are left out.
      exams: what each examined skill's new pairs gave.
      found: what its pairs say by now, those of before included, in words.
      retired: ids of the skills that left the bank for it.
      pairs: the pairs themselves, which `to_json` leaves out, as it does the next.
      played: the episodes.
    """

    episodes: int = 0
    errored: int = 0
    exams: Mapping[str, Exams] = dataclasses.field(default_factory=dict)
    found: Mapping[str, str] = dataclasses.field(default_factory=dict)
    retired: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    played: tuple[Trajectory, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Returns what it cost, as metrics; empty where nothing was examined."""
        if not self.episodes:
            return {}
        return {
            "exam_episodes": float(self.episodes),
            "exam_pairs": float(sum(exams.pairs for exams in self.exams.values())),
        }

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, without the episodes."""
        return {
            "episodes": self.episodes,
            "errored": self.errored,
            "skills": {
                name: {
                    "pairs": exams.pairs,
                    "gain": exams.gain,
                    "squares": exams.squares,
                    "found": self.found[name],
                }
                for name, exams in self.exams.items()
            },
            "retired": list(self.retired),
        }


def examine(
    player: Player,
    bank: SkillBank,
    tasks: Sequence[Task],
    *,
    episodes: int,
    seed: int,
    iteration: int,
    temperature: float,
) -> tuple[SkillBank, ExamReport]:
    """Examines skills of `bank` and records what was found; nothing is decided here.

    Args:
      player: who plays; the policy that was published last is the one that is asked.
      bank: the skills.
      tasks: tasks of the training split.
      episodes: most episodes that it may take.
      seed: of the run.
      iteration: training iteration.
      temperature: of sampling.

    Returns:
      The bank with the new examinations, and the report.

    Raises:
      SkillRLError: a task is not of the training split. Also whatever `play` raises.
    """
    sittings = plan(
        bank, tasks, player.retriever, episodes=episodes, seed=seed, iteration=iteration
    )
    if not sittings:
        return bank, ExamReport()
    jobs = [
        make_job(
            player,
            sitting.task,
            bank,
            phase=random_keys.EXAM,
            iteration=iteration,
            member=member,  # tells the arms apart on disk
            drawn_as=0,
            skills=skills,
        )
        for sitting in sittings
        for member, skills in enumerate(sitting.arms)
    ]
    played = tuple(
        dataclasses.replace(trajectory, source="exam")  # its id is none of a rollout's
        for trajectory in play(player, jobs, temperature=temperature)
    )
    version = player.engine.version
    pairs = pairs_of(sittings, played)
    exams = tally(
        ((pair.skill, pair.difference) for pair in pairs), step=iteration, policy_version=version
    )
    tested = bank.record_exams(exams)
    found = estimates(tested)
    return tested, ExamReport(
        episodes=len(played),
        errored=sum(bool(trajectory.error) for trajectory in played),
        exams=exams,
        found={name: describe(found[name]) for name in exams},
        pairs=tuple(pairs),
        played=played,
    )


def hold_exams(
    session: Session, player: Player, bank: SkillBank, *, iteration: int
) -> tuple[SkillBank, ExamReport]:
    """Examines skills as the settings say, and retires those whose interval lies below zero.

    Episodes, and a bank from which skills went, are written to the run directory. Skills are
    judged by all they were measured by, be it examinations or groups with bare members.

    Args:
      session: the run.
      player: who plays; its engine has the current policy.
      bank: the skills.
      iteration: how many training iterations are done.

    Returns:
      The bank that is left, and the report.

    Raises:
      SkillRLError: whatever `examine` raises.
    """
    config = session.config
    rollouts = config.rl.batch_size * config.evolution.validation_interval
    report = ExamReport()
    if config.evolution.exam_share:
        bank, report = examine(
            player,
            bank,
            session.suite.tasks("train"),
            episodes=int(config.evolution.exam_share * rollouts),
            seed=session.seed,
            iteration=iteration,
            temperature=config.rl.temperature,
        )
        store.write(session.run.file("rl", "exams", f"{iteration:05d}.jsonl"), report.played)
    hurting = [_with_evidence(verdict, report.pairs) for verdict in verdicts(bank)]
    if not hurting:
        return bank, report
    left = bank.apply(hurting, step=iteration, policy_version=player.engine.version)
    save_bank(left, session.run.file("banks", f"{left.version}.json"))
    retired = tuple(verdict.target for verdict in hurting)
    return left, dataclasses.replace(report, retired=retired)


def _with_evidence(verdict: Retirement, pairs: Sequence[Pair]) -> Retirement:
    """Names the newest episodes that speak against a skill: lost with it, won without."""
    against = [p for p in pairs if p.skill == verdict.target and p.difference < 0]
    sources = [t.id for p in against for t in (p.with_skill, p.without)]
    return dataclasses.replace(verdict, sources=tuple(dict.fromkeys(sources)))
