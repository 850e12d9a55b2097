"""Other things that could be done in a generated household, besides its task."""

from __future__ import annotations

import random

from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.expert import LOOK, TWO
from skillrl.envs.alfworld.generate import CATEGORIES, choices, goal_sentence, make_problem
from skillrl.envs.alfworld.manifest import spec_of
from skillrl.errors import SkillRLError
from skillrl.types import Task


def other_goal(task: Task, rng: random.Random) -> str:
    """A goal sentence that fits the objects of `task`'s household; its own if nothing else does.

    Args:
      task: of the generated world.
      rng: chooses category, object, destination and wording.
    """
    spec = spec_of({"category": task.category, **task.payload["game"]})
    problem = make_problem(spec)
    here = {receptacle.kind for receptacle in problem.room.receptacles}
    kinds = [kind for kind, _, _ in problem.things]
    categories = list(CATEGORIES)
    rng.shuffle(categories)
    for category in categories:
        if category == LOOK and rooms.LAMP not in kinds:
            continue
        try:
            pairs = choices(category, problem.room.kind, here)
        except SkillRLError:
            continue  # this kind of room has no such task
        needed = 2 if category == TWO else 1
        fitting = [(thing, place) for thing, place in pairs if kinds.count(thing) >= needed]
        if fitting:
            return goal_sentence(category, *rng.choice(fitting), rng)
    return task.goal
