"""Advice about shops, as a prompt may say it and a demonstrator know it."""

from __future__ import annotations

import random

from benchmarks.advised.form import LINES, Knows, Prompt, mixed
from launchers.tiny_policies import shop_advice as words
from launchers.tiny_policies.shop_pupil import ALL, Pupil
from skillrl.envs.base import Expert
from skillrl.envs.webshop.categories import CATEGORIES as CATEGORIES
from skillrl.envs.webshop.customs import KINDS, kind_in, listed_under
from skillrl.envs.webshop.expert import parse_goal
from skillrl.envs.webshop.shops import CUSTOM
from skillrl.types import Skill, Task

EXPERIENCE = "words"
"""What the custom tells, in one word."""


def demonstrator(task: Task, knows: Knows) -> Expert:
    """Returns who shops for one goal with procedures, the custom's words, both or neither."""
    return Pupil(
        task.goal,
        ALL if knows.procedures else (),
        listed_under(CUSTOM) if knows.experience else {},
    )


def prompts() -> dict[str, Prompt]:
    """Returns name of a kind of prompt -> what it shows for a task."""
    right, other = listed_under(CUSTOM), listed_under(CUSTOM + 1)

    def procedures(task: Task, rng: random.Random, *, held_back: bool = False) -> list[Skill]:
        return [
            words.advice(rng, piece, category=task.category, held_back=held_back) for piece in ALL
        ]

    def shelf(task, rng, *, known=right, held_back: bool = False) -> list[Skill]:
        kind = kind_in(parse_goal(task.goal).phrase)
        line = words.shelf(rng, kind, known[kind], category=task.category, held_back=held_back)
        return [line]

    def elsewhere(task: Task, rng: random.Random) -> list[Skill]:
        mine = kind_in(parse_goal(task.goal).phrase)
        kinds = rng.sample([kind for kind in KINDS if kind != mine], LINES - 2)
        found = [words.shelf(rng, kind, right[kind], category=task.category) for kind in kinds]
        found += [words.indifferent(rng, category=task.category) for _ in range(2)]
        return rng.sample(found, len(found))

    def nothing(task: Task, rng: random.Random) -> list[Skill]:
        draw = (words.neutral, words.nonsense)
        return [rng.choice(draw)(rng, category=task.category) for _ in range(LINES)]

    return {
        "none": lambda task, rng: [],
        "about nothing": nothing,
        "about something else": elsewhere,
        "procedures": procedures,
        "words": shelf,
        "both": mixed(procedures, shelf),
        "both, among others": mixed(
            procedures, shelf, lambda task, rng: elsewhere(task, rng)[: LINES - 3]
        ),
        "both, held back": mixed(
            lambda task, rng: procedures(task, rng, held_back=True),
            lambda task, rng: shelf(task, rng, held_back=True),
        ),
        "both, of another custom": mixed(
            procedures, lambda task, rng: shelf(task, rng, known=other)
        ),
    }
