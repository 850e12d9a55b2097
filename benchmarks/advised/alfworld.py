"""Advice about households, as a prompt may say it and a demonstrator know it."""

from __future__ import annotations

import random

from benchmarks.advised.form import LINES, Knows, Prompt, mixed
from launchers.tiny_policies import household_advice as words
from launchers.tiny_policies.alfworld import BASICS
from launchers.tiny_policies.household_pupil import NATIVE, Pupil
from skillrl.envs.alfworld.customs import known_homes
from skillrl.envs.alfworld.expert import parse_goal
from skillrl.envs.alfworld.generate import CATEGORIES as CATEGORIES
from skillrl.envs.alfworld.manifest import CUSTOM
from skillrl.envs.base import Expert
from skillrl.types import Skill, Task

EXPERIENCE = "homes"
"""What the custom tells, in one word."""


def demonstrator(task: Task, knows: Knows) -> Expert:
    """Returns who does one task with procedures, homes, both or neither."""
    return Pupil(
        task.goal,
        NATIVE if knows.procedures else (),
        known_homes(CUSTOM) if knows.experience else {},
        random.Random(task.id),
    )


def prompts() -> dict[str, Prompt]:
    """Returns name of a kind of prompt -> what it shows for a task."""
    right, other = known_homes(CUSTOM), known_homes(CUSTOM + 1)

    def procedures(task: Task, rng: random.Random, *, held_back: bool = False) -> list[Skill]:
        pieces = words.PIECES.get(task.category, BASICS)
        return [
            words.advice(rng, piece, category=task.category, held_back=held_back)
            for piece in pieces
        ]

    def homes(task, rng, *, known=right, held_back: bool = False) -> list[Skill]:
        thing = parse_goal(task.goal).thing
        return [words.home(rng, thing, known[thing], category=task.category, held_back=held_back)]

    def elsewhere(task: Task, rng: random.Random) -> list[Skill]:
        mine = parse_goal(task.goal).thing
        things = rng.sample([thing for thing in right if thing != mine], LINES - 2)
        others = rng.sample([c for c in words.PIECES if c != task.category], 2)
        found = [words.home(rng, t, right[t], category=task.category) for t in things]
        found += [
            words.advice(rng, words.PIECES[of][0], category=task.category, of=of) for of in others
        ]
        return rng.sample(found, len(found))

    def nothing(task: Task, rng: random.Random) -> list[Skill]:
        draw = (words.neutral, words.rambling)
        return [rng.choice(draw)(rng, category=task.category) for _ in range(LINES)]

    return {
        "none": lambda task, rng: [],
        "about nothing": nothing,
        "about something else": elsewhere,
        "procedures": procedures,
        "homes": homes,
        "both": mixed(procedures, homes),
        "both, among others": mixed(
            procedures, homes, lambda task, rng: elsewhere(task, rng)[: LINES - 3]
        ),
        "both, held back": mixed(
            lambda task, rng: procedures(task, rng, held_back=True),
            lambda task, rng: homes(task, rng, held_back=True),
        ),
        "both, of another custom": mixed(
            procedures, lambda task, rng: homes(task, rng, known=other)
        ),
    }
