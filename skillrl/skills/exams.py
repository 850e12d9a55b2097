"""Which skills are examined, on which tasks, and what the episodes say. Pure; nobody plays here.

A sitting is a task of the training split, played with the skills retrieved for it, and once more
without each skill under examination; nothing takes the place of the one that is left out. Every
skill of a sitting is compared with the same episode, so a sitting of m skills takes m + 1 episodes
and gives m pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.utility import Estimate, estimates
from skillrl.types import Exams, Skill, Task, Trajectory

PAIRS_EACH = 8
"""As many skills are examined at once as get about so many pairs each; the others wait."""

_LOOKED_AT = 2  # tasks per episode of the budget: embedding them may cost requests


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """One task of an examination.

    Attributes:
      task: what is played.
      skills: those retrieved for it, in prompt order.
      examined: ids of the skills among them that are left out in turn.
    """

    task: Task
    skills: tuple[Skill, ...]
    examined: tuple[str, ...]

    @property
    def arms(self) -> tuple[tuple[Skill, ...], ...]:
        """Returns the skills of each episode: all of them, then without each examined one."""
        without = (
            tuple(skill for skill in self.skills if skill.id != left_out)
            for left_out in self.examined
        )
        return (self.skills, *without)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A task played with a skill and without it, all else alike."""

    skill: str
    with_skill: Trajectory
    without: Trajectory

    @property
    def difference(self) -> int:
        """Success with the skill minus success without it: -1, 0 or 1."""
        return int(self.with_skill.won) - int(self.without.won)


def plan(
    bank: SkillBank,
    tasks: Sequence[Task],
    retrieve: Callable[[SkillBank, Task], Sequence[Skill]],
    *,
    episodes: int,
    seed: int,
    iteration: int,
) -> tuple[Sitting, ...]:
    """Plans an examination; the same arguments always give the same one.

    Unmeasured skills come first, then those of which nothing is decided yet, the widest interval
    first, then the decided ones, since a policy that has learned a skill by heart may need it no
    longer. `PAIRS_EACH` says how many of them take part. Tasks are shuffled anew for each
    iteration, and a skill takes those in which it is retrieved in that order, so that it is
    examined on a fair sample of its situations; skills take turns until the budget is spent.

    Args:
      bank: the skills.
      tasks: tasks of the training split.
      retrieve: gives the skills that a task's prompt shows.
      episodes: most episodes that the examination may take.
      seed: of the run.
      iteration: training iteration, which gives the tasks another order.

    Raises:
      SkillRLError: a task is not of the training split.
    """
    check_training_tasks(tasks)
    if episodes < 2 or not bank.skills:
        return ()
    shuffled = np.random.default_rng([seed, iteration]).permutation(len(tasks)).tolist()
    pool = [tasks[at] for at in shuffled[: _LOOKED_AT * episodes]]
    shown = [tuple(retrieve(bank, task)) for task in pool]
    arises: dict[str, list[int]] = {}
    for at, skills in enumerate(shown):
        for skill in skills:
            arises.setdefault(skill.id, []).append(at)
    waiting = [skill.id for skill in by_urgency(bank) if skill.id in arises]
    chosen = waiting[: max(1, episodes // (2 * PAIRS_EACH))]
    examined: dict[int, list[str]] = {}
    spent = 0
    turns = ((turn, name) for turn in range(len(pool)) for name in chosen)
    for turn, name in turns:
        if turn >= len(arises[name]):
            continue
        at = arises[name][turn]
        spent += 1 if at in examined else 2
        if spent > episodes:
            break
        examined.setdefault(at, []).append(name)
    return tuple(
        Sitting(task=pool[at], skills=shown[at], examined=tuple(examined[at]))
        for at in sorted(examined)
    )


def by_urgency(bank: SkillBank) -> list[Skill]:
    """Sorts skills by how much their examination would tell; see `plan`."""
    found = estimates(bank)

    def key(skill: Skill) -> tuple[bool, bool, float]:
        estimate: Estimate | None = found.get(skill.id)
        if estimate is None:
            return False, False, 0.0
        return True, estimate.state != 0, estimate.low - estimate.high

    return sorted(bank.skills, key=key)  # stable: ties keep bank order


def pairs_of(sittings: Sequence[Sitting], played: Sequence[Trajectory]) -> list[Pair]:
    """Pairs up the episodes of an examination; a pair of which one has failed is left out.

    Args:
      sittings: what was planned.
      played: an episode for each arm of each sitting, in their order.

    Raises:
      ValueError: there are more or fewer episodes than arms.
    """
    arms = sum(len(sitting.arms) for sitting in sittings)
    if arms != len(played):
        raise ValueError(f"{len(played)} episodes for the {arms} arms of {len(sittings)} sittings")
    pairs, at = [], 0
    for sitting in sittings:
        whole, *without = played[at : at + len(sitting.arms)]
        at += len(sitting.arms)
        for name, trajectory in zip(sitting.examined, without, strict=True):
            if not whole.error and not trajectory.error:
                pairs.append(Pair(skill=name, with_skill=whole, without=trajectory))
    return pairs


def tally(
    differences: Iterable[tuple[str, int]], *, step: int, policy_version: int
) -> dict[str, Exams]:
    """Adds up the differences of pairs by skill, for `SkillBank.record_exams`.

    Args:
      differences: id of a skill, and success with it minus success without it: -1, 0 or 1.
      step: training iteration.
      policy_version: number of updates behind the policy that played.
    """
    found: dict[str, list[int]] = {}
    for name, difference in differences:
        found.setdefault(name, []).append(difference)
    return {
        name: Exams(
            pairs=len(of_skill),
            gain=sum(of_skill),
            squares=sum(map(abs, of_skill)),
            step=step,
            policy_version=policy_version,
        )
        for name, of_skill in found.items()
    }


def check_training_tasks(tasks: Sequence[Task]) -> None:
    """Raises `SkillRLError` if a task is not of the training split.

    What is held out decides nothing: neither what a skill is worth nor whether it stays.
    """
    for task in tasks:
        if task.split != "train":
            raise SkillRLError(
                f"examinations: task {task.id!r} is of split {task.split!r}; only 'train' may "
                "decide what a skill is worth. Pass the training tasks."
            )
