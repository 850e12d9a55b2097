"""Checks what single answers hold: numbers that agree, actions that an agent can write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skillrl.envs.check.findings import Finding, quoted
from skillrl.envs.check.play import Played
from skillrl.io.numbers import is_number
from skillrl.types import Observation, StepResult, Task


def check_answers(episodes: Sequence[Played]) -> list[Finding]:
    """Checks that truth values and numbers agree, and that an agent can write each action."""
    found = []
    for played in episodes:
        task = played.task
        for number, answer in enumerate(played.answers):
            found += _check_numbers(answer, number, task)
            found += _check_offers(answer.observation, done=answer.done, number=number, task=task)
    return _first_per_kind(found)


def notes(episodes: Sequence[Played]) -> list[str]:
    """Returns what is allowed and worth knowing."""
    short = episodes and all(one.ended and len(one.actions) == 1 for one in episodes)
    if not short or any(one.answers[-1].won for one in episodes):
        return []
    return ["every episode ended with its first action, and none was won"]


def _check_numbers(answer: StepResult, number: int, task: Task) -> list[Finding]:
    place = f"after {number} actions"
    flags = {"done": answer.done, "won": answer.won}
    found = [
        Finding(f"{name} is True or False", f"{value!r} {place}", "return bool(...)", task.id)
        for name, value in flags.items()
        if not isinstance(value, bool)
    ]
    if not is_number(answer.reward):
        found.append(
            Finding("reward is a finite number", f"{answer.reward!r} {place}", "use 0.0", task.id)
        )
    if not is_number(answer.score) or not 0 <= answer.score <= 1:
        found.append(
            Finding(
                "score lies between 0 and 1",
                f"score={answer.score!r} {place}",
                "divide it by its largest value; the rest belongs into reward",
                task.id,
            )
        )
    elif answer.won and answer.score < 1:
        found.append(
            Finding(
                "a won episode has score 1",
                f"won=True with score={answer.score!r} {place}",
                "set score=1.0 together with won, or won only where the score is 1",
                task.id,
            )
        )
    elif answer.won is False and answer.score >= 1:
        found.append(
            Finding(
                "a score of 1 is a won episode",
                f"score={answer.score!r} with won=False {place}",
                "set won=True together with score=1.0, or give less than 1 for less than the goal",
                task.id,
            )
        )
    if answer.won is True and answer.done is False:
        found.append(
            Finding(
                "a won episode is over",
                f"won=True with done=False {place}",
                "return done=True together with won: what counts is won at the end",
                task.id,
            )
        )
    return found


def _check_offers(seen: Observation, *, done: bool, number: int, task: Task) -> list[Finding]:
    """Checks what a prompt (one action per line) and a stripped answer can carry."""
    place = f"after {number} actions"
    found = []
    for action in seen.admissible:
        if action != action.strip() or not action or "\n" in action:
            found.append(
                Finding(
                    "an admissible action is one line without white space around it",
                    f"{action!r} {place}",
                    "strip it: as it is, no answer of an agent can ever be equal to it",
                    task.id,
                )
            )
    twice = [action for action, count in Counter(seen.admissible).items() if count > 1]
    if twice and not done:
        found.append(
            Finding(
                "every admissible action is offered once",
                f"{quoted(twice, 80)} {place} are offered twice",
                "remove the copies: tuple(dict.fromkeys(actions))",
                task.id,
            )
        )
    return found


def _first_per_kind(found: Sequence[Finding]) -> list[Finding]:
    """Keeps one finding of each kind per task, the earliest."""
    kinds: dict[tuple[str, str], Finding] = {}
    for finding in found:
        kinds.setdefault((finding.expected, finding.task), finding)
    return list(kinds.values())
