"""A bank of trajectories: what the episodes themselves are worth in place of skills.

The paper's ablation "raw trajectories" (table 3) shows experience as it is. Here an entry is a
successful training episode, retrieved by similarity to the task as skills are, and given as many
tokens as skills take in a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.caps import CountTokens
from skillrl.skills.retrieval import Retrieve
from skillrl.types import Skill, Task, Trajectory

_TASKS = 64  # whose skills are measured: embedding them may cost requests


def raw_bank(
    trajectories: Iterable[Trajectory], *, budget: int, count_tokens: CountTokens
) -> SkillBank:
    """Makes a bank of the successes among `trajectories`, the first of each task.

    Args:
      trajectories: episodes of the training split.
      budget: tokens that an entry may take, its heading included.
      count_tokens: counts the tokens of skills in a prompt.

    Raises:
      SkillRLError: there is no success among them.
    """
    first: dict[str, Trajectory] = {}
    for trajectory in trajectories:
        if trajectory.won and not trajectory.error:
            first.setdefault(trajectory.task.id, trajectory)
    if not first:
        raise SkillRLError(
            "raw_trajectories: no collected episode was won, so there is none to show. Collect "
            "more (collect.episodes, collect.expert_episodes), or leave this arm out."
        )
    return SkillBank(
        tuple(
            _entry(trajectory, f"raw_{number:03d}", budget=budget, count_tokens=count_tokens)
            for number, trajectory in enumerate(first.values(), 1)
        )
    )


def skill_budget(
    bank: SkillBank, tasks: Sequence[Task], *, retrieve: Retrieve, count_tokens: CountTokens
) -> int:
    """Averages the tokens that the skills of `bank` take in the prompts of the first tasks.

    Args:
      bank: the skills.
      tasks: of the training split.
      retrieve: chooses the skills of a prompt.
      count_tokens: counts their tokens.

    Returns:
      The mean, rounded up; 0 where there are no tasks.
    """
    counts = [count_tokens(retrieve(bank, task)) for task in tasks[:_TASKS]]
    return -(-sum(counts) // len(counts)) if counts else 0


def _entry(trajectory: Trajectory, name: str, *, budget: int, count_tokens: CountTokens) -> Skill:
    """Writes an episode with what was seen after each action, or else its actions alone, cut."""

    def skill(steps: Sequence[str]) -> Skill:
        return Skill(
            id=name,
            title=_line(trajectory.task.goal),
            principle=", ".join(steps),
            category=trajectory.task.category,
        )

    def fits(steps: Sequence[str]) -> bool:
        return count_tokens([skill(steps)]) <= budget

    steps = [step for step in trajectory.steps if not step.invalid] or list(trajectory.steps)
    seen = [_line(step.observation) for step in steps[1:]] + [_line(trajectory.final)]
    whole = [
        f"{_line(step.action)} ({result})" if result else _line(step.action)
        for step, result in zip(steps, seen, strict=True)
    ]
    if fits(whole):
        return skill(whole)
    actions = [_line(step.action) for step in steps]
    return skill(actions[: _most(len(actions), lambda n: fits(actions[:n]))])


def _most(n: int, fits: Callable[[int], bool]) -> int:
    """Finds how many of `n` fit, at least one: more of them never take less room."""
    low, high = 1, n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _line(text: str) -> str:
    return " ".join(text.split())
