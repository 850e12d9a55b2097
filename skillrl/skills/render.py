"""Writes a whole trajectory as text: what the teacher reads.

Nothing is cut: every step with its observation, the agent's words, the action, whether
it was valid, and what came of it. Blanks and newlines inside a text become one blank, so
that each line starts with a label of this format.
"""

from __future__ import annotations

from collections.abc import Sequence

from skillrl.types import Step, Trajectory


def render_trajectory(trajectory: Trajectory) -> str:
    """Writes the trajectory as labelled lines.

    The observation of the first step stands at the top; afterwards the ``Result`` of a
    step is what the next step observes, so that no text occurs twice. The last result is
    the outcome, as a trajectory keeps no observation after its last action.
    """
    task, steps = trajectory.task, trajectory.steps
    outcome = "success" if trajectory.won else "failure"
    lines = [
        f"=== Trajectory {trajectory.id}",
        f"Task: {_line(task.goal)}",
        f"Category: {task.category}",
        f"Outcome: {outcome} after {len(steps)} steps, score {trajectory.score:g}",
    ]
    if steps:
        lines.append(f"Observation: {_line(steps[0].observation)}")
    end = "The goal is met." if trajectory.won else "The episode ends; the goal is not met."
    for number, step in enumerate(steps, 1):
        result = _line(steps[number].observation) if number < len(steps) else end
        lines += [f"Step {number}", *_words(step), f"Action: {_line(step.action)}"]
        lines.append(f"Valid: no, {_line(step.invalid)}" if step.invalid else "Valid: yes")
        lines.append(f"Result: {result}")
    return "\n".join([*lines, "=== End"])


def render_all(trajectories: Sequence[Trajectory]) -> str:
    """Writes several trajectories, one after the other."""
    return "\n\n".join(render_trajectory(trajectory) for trajectory in trajectories)


def _words(step: Step) -> list[str]:
    """Returns what the agent said, unless it is no more than the action."""
    said = _line(step.response)
    return [f"Agent: {said}"] if said and said != _line(step.action) else []


def _line(text: str) -> str:
    return " ".join(text.split())
