"""Makes cold-start data: successes with thoughts, as prompts and responses of single steps.

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Holds one step to imitate: its tokens, and what a person would want to read.

    Attributes:
      trajectory: id of the episode.
      step: index in the episode.
      prompt: text of the prompt.
      response: thought and action.
      prefix_ids: the part of the prompt that a group shares.
      suffix_ids: the step's own part.
      response_ids: tokens to imitate, the end of turn included.
    """

    trajectory: str
    step: int
    prompt: str
    response: str
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns a row of ``sft/examples.jsonl``."""
        return dataclasses.asdict(self)


def examples(
    trajectory: Trajectory,
    thoughts: Sequence[str],
    *,
    skills: Sequence[Skill],
    agent: SkillAgent,
) -> list[Example]:
    """Makes examples of the steps of a successful episode whose actions were valid.

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
                    trajectory=trajectory.id,
                    step=i,
                    prompt=f"{system}\n{user}{text}",
                    response=f"{thought} | {step.action}",
                    prefix_ids=prefix,
                    suffix_ids=suffix,
                    response_ids=response,
                )
            )
        past.append(HistoryStep(step.observation, step.action, bool(step.invalid)))
    return found


def sample_of(example: Example, index: int) -> Sample:
    """Returns `example` as a sample to train on; `index` stands for its trajectory."""
    return Sample(
        prefix_ids=example.prefix_ids,
        suffix_ids=example.suffix_ids,
        response_ids=example.response_ids,
        trajectory=index,
    )
