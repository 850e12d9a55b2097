"""Advice about questions, as a prompt may say it and a demonstrator know it."""

from __future__ import annotations

import random

from benchmarks.advised.form import LINES, Knows, Prompt, mixed
from launchers.tiny_policies import search_advice as words
from launchers.tiny_policies.search_pupil import ALL, Pupil, topics_of
from skillrl.envs.base import Expert
from skillrl.envs.search.categories import CATEGORIES as CATEGORIES
from skillrl.envs.search.customs import right_about
from skillrl.envs.search.questions import CUSTOM, parse_question
from skillrl.envs.search.relations import RELATIONS
from skillrl.types import Skill, Task

EXPERIENCE = "archives"
"""What the custom tells, in one word."""


def demonstrator(task: Task, knows: Knows) -> Expert:
    """Returns who answers one question with procedures, archives, both or neither."""
    return Pupil(
        task.goal, ALL if knows.procedures else (), right_about(CUSTOM) if knows.experience else {}
    )


def prompts() -> dict[str, Prompt]:
    """Returns name of a kind of prompt -> what it shows for a task."""
    right, other = right_about(CUSTOM), right_about(CUSTOM + 1)

    def procedures(task: Task, rng: random.Random, *, held_back: bool = False) -> list[Skill]:
        pieces = words.PIECES.get(task.category, ())
        return [
            words.advice(rng, piece, category=task.category, held_back=held_back)
            for piece in pieces
        ]

    def archives(task, rng, *, known=right, held_back: bool = False) -> list[Skill]:
        return [
            words.archive(rng, t, (known[t],), category=task.category, held_back=held_back)
            for t in topics_of(parse_question(task.goal))
        ]

    def elsewhere(task: Task, rng: random.Random) -> list[Skill]:
        mine = topics_of(parse_question(task.goal))
        topics = rng.sample([key for key in RELATIONS if key not in mine], LINES - 2)
        others = [c for c in words.PIECES if c != task.category]
        found = [words.archive(rng, t, (right[t],), category=task.category) for t in topics]
        found += [words.advice(rng, words.PIECES[c][0], category=task.category) for c in others[:2]]
        return rng.sample(found, len(found))

    def nothing(task: Task, rng: random.Random) -> list[Skill]:
        return [words.neutral(rng, category=task.category) for _ in range(LINES)]

    return {
        "none": lambda task, rng: [],
        "about nothing": nothing,
        "about something else": elsewhere,
        "procedures": procedures,
        "archives": archives,
        "both": mixed(procedures, archives),
        "both, among others": mixed(
            procedures, archives, lambda task, rng: elsewhere(task, rng)[: LINES - 3]
        ),
        "both, held back": mixed(
            lambda task, rng: procedures(task, rng, held_back=True),
            lambda task, rng: archives(task, rng, held_back=True),
        ),
        "both, of another custom": mixed(
            procedures, lambda task, rng: archives(task, rng, known=other)
        ),
    }
