"""Cold-start data: successes with thoughts, as prompts and responses of single steps.

One example is one step (as in the released data): the prompt is the one that RL will
show, byte for byte, with the skills that are retrieved for the task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from skillrl.agent.agent import SkillAgent
from skillrl.agent.prompt import HistoryStep
from skillrl.training.batch import Sample
from skillrl.types import Observation, Skill, Trajectory


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One step to imitate: its tokens, and what a person would want to read."""

    trajectory: str
    step: int
    prompt: str
    response: str
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``sft/examples.jsonl``."""
        return dataclasses.asdict(self)


def examples(
    trajectory: Trajectory,
    thoughts: Sequence[str],
    skills: Sequence[Skill],
    agent: SkillAgent,
) -> list[Example]:
    """The steps of a successful episode whose actions were valid.

    Args:
      trajectory: won.
      thoughts: one per step.
      skills: retrieved for the task.
      agent: builds the prompts.
    """
    prefix, system, user = agent.prefix(trajectory.task, skills)
    past: list[HistoryStep] = []
    found = []
    for i, (step, thought) in enumerate(zip(trajectory.steps, thoughts, strict=True)):
        observation = Observation(step.observation, step.admissible)
        if not step.invalid:
            suffix, text = agent.suffix(observation, past, prefix_length=len(prefix), skills=skills)
            response = agent.response_ids(thought, step.action)
            found.append(
                Example(
                    trajectory.id,
                    i,
                    f"{system}\n{user}{text}",
                    f"{thought} | {step.action}",
                    prefix,
                    suffix,
                    response,
                )
            )
        past.append(HistoryStep(step.observation, step.action, bool(step.invalid)))
    return found


def sample_of(example: Example, index: int) -> Sample:
    """`example` as a row to train on."""
    return Sample(example.prefix_ids, example.suffix_ids, example.response_ids, trajectory=index)
