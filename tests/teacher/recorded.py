"""Episodes of any environment for tests of the simulated teacher, as (action, observation)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from skillrl.skills import prompts
from skillrl.skills.render import render_trajectory
from skillrl.teacher.simulated import SimulatedTeacher
from skillrl.teacher.simulated.domains import domain_of
from skillrl.teacher.simulated.recordings import Recording, read_recordings
from skillrl.types import Skill, Step, Task, Trajectory


def episode(
    goal: str,
    script: Sequence[tuple[str, str]],
    *,
    category: str,
    opening: str,
    won: bool = False,
    task: str = "0001",
    invalid: Sequence[str] = (),
) -> Trajectory:
    """An episode in which each action leads to the observation beside it."""
    observation, steps = opening, []
    for action, result in script:
        why = "not admissible" if action in invalid else ""
        steps.append(
            Step(
                observation=observation,
                admissible=(),
                suffix_ids=(),
                response_ids=(),
                logprobs=(),
                response=f"Well, {action}",
                action=action,
                invalid=why,
            )
        )
        observation = result
    final = observation if steps else ""
    return Trajectory(
        task=Task(id=f"train/{task}", split="train", category=category, goal=goal),
        prefix_ids=(),
        steps=tuple(steps),
        won=won,
        final=final,
    )


def reading(trajectory: Trajectory) -> Recording:
    (recording,) = read_recordings(render_trajectory(trajectory))
    return recording


def diagnose(trajectory: Trajectory) -> list[str]:
    recording = reading(trajectory)
    return domain_of([recording]).causes(recording)


def evolve(failures: Sequence[Trajectory], skills: Sequence[Skill] = (), pairs=None, *, count=3):
    categories = sorted({t.task.category for t in failures})
    chat = prompts.evolution(
        failures, pairs or {}, skills, rates=dict.fromkeys(categories, 0.0),
        categories=(*categories, "general"), count=count,
    )  # fmt: skip
    return ask(chat, "evolve")


def ask(chat, purpose: str):
    """The answer, which must be the same twice."""
    answer = SimulatedTeacher().complete(chat, purpose=purpose)
    assert SimulatedTeacher().complete(chat, purpose=purpose) == answer
    return json.loads(answer)


def thoughts(trajectory: Trajectory) -> list[str]:
    return ask(prompts.thoughts(trajectory, [], max_words=60), "rewrite")


def check_sizes(texts: Sequence[str], advice, fill) -> None:
    """Titles of at most 4 words, principles of 14, occasions of 8."""
    for words in advice.values():
        for text, most in (
            (words.title, 4), (words.mistake, 4), (words.principle, 14), (words.stronger, 14),
            (words.when, 8),
        ):  # fmt: skip
            assert len(fill(text).split()) <= most, text
    assert all(len(text.split()) <= 14 for text in texts)
    words = {word.strip(".,:?").lower() for text in texts for word in text.split()}
    assert len(words) < 150
