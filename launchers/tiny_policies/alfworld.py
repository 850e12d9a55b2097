"""The course in ALFWorld: a household agent that makes every task the simplest one."""

from __future__ import annotations

import collections
import random
import re
from collections.abc import Sequence

from launchers.tiny_policies.careless_alfworld import careless_goal
from launchers.tiny_policies.course import Course, Stage
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.envs.alfworld.expert import TemplateExpert, parse_goal
from skillrl.envs.alfworld.rooms import CAN_CONTAIN
from skillrl.types import Observation, Task

MAX_STEPS = 25
_NAME = re.compile(r" [a-z]+ [1-9](?!\d)")  # a numbered name, one token like any other word


def _expert(task: Task, careless: bool) -> TemplateExpert:
    return TemplateExpert(careless_goal(task) if careless else task.goal)


def _random_move(task: Task, observation: Observation, rng: random.Random) -> str:
    return rng.choice(observation.admissible)


def _slip(
    task: Task,
    action: str,
    past: Sequence[HistoryStep],
    observation: Observation,
    rng: random.Random,
) -> str:
    """Makes a slip: a wrong number, a mixture of two actions, or something out of place.

    Most of them are what a policy does that recites without looking: the same place again,
    the next number of its kind, or the kind that comes next in other rooms. It learns to
    read the list only if it has seen its own favourites fail.
    """
    words, other = action.split(), rng.choice(observation.admissible).split()
    visited = [p.action for p in past if p.action.startswith("go to ")]
    if visited and rng.random() < 0.7:
        place, number = visited[-1].rsplit(" ", 1)
        kinds = sorted(f"go to {kind.lower()}" for kind in CAN_CONTAIN)
        after = [f"{kind} 1" for kind in kinds if kind > place][:3]
        if number.isdecimal():
            after += [f"{place} {int(number) + 1}"] * 2
        absent = [a for a in [*after, visited[-1]] if a not in observation.admissible]
        return rng.choice(absent or [visited[-1]])
    thing = parse_goal(task.goal).thing
    return rng.choice(
        [
            " ".join(str(rng.randint(1, 4)) if w.isdigit() else w for w in words),
            " ".join(words[:2] + other[-2:]),
            " ".join(other[:2] + words[-2:]),
            past[-1].action if past else "go to cabinet 4",
            f"take {thing} {rng.randint(1, 2)} from {' '.join(other[-2:])}",
            rng.choice(["take mug 1 from countertop 1", "open fridge 1", ""]),
        ]
    )


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists ``go to`` and the numbered names, with numbers up to the largest frequent one."""
    counts = collections.Counter(name for text in texts for name in _NAME.findall(text))
    most: dict[str, int] = {}
    for name, count in counts.items():
        kind, number = name.rsplit(" ", 1)
        if count >= 20:
            most[kind] = max(most.get(kind, 0), int(number))
    return (
        "go to",
        *(f"{kind} {number + 1}" for kind in sorted(most) for number in range(most[kind])),
    )


COURSE = Course(
    env="alfworld",
    max_steps=MAX_STEPS,
    prompts=PromptConfig(history_length=0, action_history=MAX_STEPS, max_prompt_length=1024),
    other_prompts=(PromptConfig(history_length=2),),
    stages=(
        Stage(
            updates=260,
            episodes=6,
            skilled=0.0,
            rate=0.020,
            last_rate=0.0120,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.30,
            impossible=0.5,
        ),
        Stage(
            updates=180,
            episodes=6,
            skilled=0.5,
            rate=0.012,
            last_rate=0.0030,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.30,
            impossible=0.5,
        ),
        Stage(
            updates=320,
            episodes=6,
            skilled=0.5,
            rate=0.008,
            last_rate=0.0004,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.30,
            impossible=0.5,
        ),
        Stage(
            updates=70,
            episodes=6,
            skilled=0.5,
            rate=0.0045,
            last_rate=0.0003,
            aligned=0.1,
            aligned_with_skills=0.1,
            noise=0.30,
            impossible=0.5,
        ),
    ),
    expert=_expert,
    random_move=_random_move,
    slip=_slip,
    phrases=_phrases,
)
