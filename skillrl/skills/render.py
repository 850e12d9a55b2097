"""A whole trajectory as text: what the teacher reads.

No step is left out: each is there with its observation, the agent's words, the action, whether
it was valid, and what came of it. Blanks and newlines inside a text become one blank, so
that each line starts with a label of this format.
"""

from __future__ import annotations

from collections.abc import Sequence

from skillrl.skills.budget import shorten
from skillrl.types import Step, Trajectory

_END = 3  # steps at the end whose observations stay whole: where a failure shows


def render_trajectory(trajectory: Trajectory, *, longest: int | None = None) -> str:
    """Writes the trajectory as labelled lines.

    The observation of the first step stands at the top; afterwards the ``Result`` of a
    step is what the next step observes, so that no text occurs twice. The last result is
    the outcome, as a trajectory keeps no observation after its last action.

    Args:
      trajectory: what is told.
      longest: longer observations lose their middle, but for those of the last three steps; None
        keeps all whole.
    """
    task, steps = trajectory.task, trajectory.steps
    seen = [_line(step.observation) for step in steps]
    if longest is not None:
        early = max(0, len(seen) - _END)
        seen[:early] = [shorten(text, longest) for text in seen[:early]]
    outcome = "success" if trajectory.won else "failure"
    lines = [
        f"=== Trajectory {trajectory.id}",
        f"Task: {_line(task.goal)}",
        f"Category: {task.category}",
        f"Outcome: {outcome} after {len(steps)} steps, score {trajectory.score:g}",
    ]
    if steps:
        lines.append(f"Observation: {seen[0]}")
    end = "The goal is met." if trajectory.won else "The episode ends; the goal is not met."
    for number, step in enumerate(steps, 1):
        result = seen[number] if number < len(steps) else end
        lines += [f"Step {number}", *_words(step), f"Action: {_line(step.action)}"]
        lines.append(f"Valid: no, {_line(step.invalid)}" if step.invalid else "Valid: yes")
        lines.append(f"Result: {result}")
    return "\n".join([*lines, "=== End"])


def render_all(trajectories: Sequence[Trajectory], *, longest: int | None = None) -> str:
    """Writes several trajectories, one after the other; see `render_trajectory`."""
    return "\n\n".join(render_trajectory(item, longest=longest) for item in trajectories)


def _words(step: Step) -> list[str]:
    """Returns what the agent said, unless it is no more than the action."""
    said = _line(step.response)
    return [f"Agent: {said}"] if said and said != _line(step.action) else []


def _line(text: str) -> str:
    return " ".join(text.split())
