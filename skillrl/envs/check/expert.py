"""Checks the demonstrator, where an environment has one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from skillrl.envs.base import AnswerForm, Expert, Move, Suite, is_admissible
from skillrl.envs.check.findings import Broken, Finding, blamed, quoted
from skillrl.envs.check.play import Played, advance, handle, start
from skillrl.types import Observation, Task


def check_expert(
    suite: Suite, tasks: Sequence[Task], form: AnswerForm
) -> tuple[list[Finding], list[str], list[Played]]:
    """Checks that the expert's moves are on offer and always the same, and that it wins."""
    found: list[Finding] = []
    shown: list[Played] = []
    for task in tasks:
        try:
            wrong: list[Finding] = []
            played = expert_episode(suite, task, form=form, wrong=wrong)
            again = expert_episode(suite, task, form=form, wrong=[])
        except Broken as broken:
            found += [*wrong, broken.finding]
            continue
        if played is None or again is None:
            continue
        shown.append(played)
        found += wrong
        if played.actions != again.actions:
            found.append(
                Finding(
                    "the expert does the same in every episode of a task",
                    f"{quoted(played.actions)}, then {quoted(again.actions)}",
                    "draw nothing at random, and give a fresh expert for every episode",
                    task.id,
                )
            )
    if not shown:
        none = "no task has an expert, so collect.expert_episodes must be 0"
        return found, [] if found else [none], shown
    lost = sum(not played.answers[-1].won for played in shown)
    if lost == len(shown):
        found.append(
            Finding(
                "the expert wins",
                f"it won none of {lost} episodes",
                "repair it, or return None from expert(task): demonstrations are its successes",
            )
        )
    elif lost:
        return found, [f"the expert lost {lost} of {len(shown)} episodes"], shown
    return found, [], shown


def expert_episode(
    suite: Suite, task: Task, *, form: AnswerForm, wrong: list[Finding]
) -> Played | None:
    """Plays an episode of the expert (None without one); adds its faults to `wrong`.

    Args:
      suite: makes expert and environment.
      task: what is played.
      form: how an agent states its actions.
      wrong: gets a finding for each fault.

    Raises:
      Broken: it raised, or its move is no `Move`.
    """
    with blamed("expert(task)", task.id):
        expert = suite.expert(task)
    if expert is None:
        return None
    with handle(suite) as environment:
        played = start(environment, task)
        while not played.ended and len(played.actions) < suite.max_steps:
            seen = played.answers[-1].observation
            action = _move(expert, seen, task).action
            if (problem := _problem(action, seen, form)) and not wrong:
                wrong.append(
                    Finding(
                        "the expert does what an agent could do",
                        f"{quoted(action, 60)} after {len(played.actions)} actions {problem}",
                        "let it choose among observation.admissible, exactly as written there",
                        task.id,
                    )
                )
            advance(environment, played, action)
    return played


def _move(expert: Expert, seen: Observation, task: Task) -> Move:
    with blamed("expert.act(observation)", task.id):
        move: object = expert.act(seen)
    texts = isinstance(move, Move) and isinstance(move.thought, str)
    if not isinstance(move, Move) or not texts or not isinstance(move.action, str):
        raise Broken(
            Finding(
                "expert.act(observation) is a skillrl.envs.Move of two strings",
                f"it is {quoted(move)}",
                "return Move(thought, action)",
                task.id,
            )
        )
    return move


def _problem(action: str, seen: Observation, form: AnswerForm) -> str:
    """Says why no agent could have said this, or ""."""
    if seen.admissible and not is_admissible(action, seen.admissible):
        return f"is not among the {len(seen.admissible)} admissible ones"
    if not action.strip() or action != action.strip():
        return "is empty or has white space around it"
    names = "|".join(map(re.escape, form.tags))
    if len(form.tags) > 1 and not re.fullmatch(rf"<({names})>.*</\1>", action, re.DOTALL):
        return f"is not a block of one of the tags {', '.join(form.tags)}"
    return ""
