"""The goals of a careless household agent, which carries one object to a place and no more."""

from __future__ import annotations

from skillrl.envs.alfworld.expert import LOOK, parse_goal
from skillrl.envs.alfworld.generate import make_problem
from skillrl.envs.alfworld.manifest import spec_of
from skillrl.types import Task


def careless_goal(task: Task) -> str:
    """Strips a task of the treatment, the second object or the lamp, and says it as a goal.

    What should be looked at under a lamp goes to the first place of the room.

    Args:
      task: of the generated world.
    """
    goal = parse_goal(task.goal)
    place = goal.place
    if goal.category == LOOK:
        spec = spec_of({"category": task.category, **task.payload["game"]})
        place = min(r.kind for r in make_problem(spec).room.receptacles).lower()
    return f"put some {goal.thing} on {place}"
