"""Checks the step limit: an episode that nobody wins ends at ``max_steps``.

Random play may win, or end its episodes otherwise, long before the limit. So it is led past
every early end: the action that ended the episode is left out, and another one is said there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from skillrl.envs.base import AnswerForm, Suite
from skillrl.envs.check.findings import Finding
from skillrl.envs.check.play import Played, advance, filled, follow, handle, wrapped
from skillrl.types import Observation, Task

_ATTEMPTS = 24  # episodes of one task, each longer than the one before
_NONSENSE = ("wait for nothing in particular", "")


def check_lasting(episodes: Sequence[Played], max_steps: int) -> list[Finding]:
    """Checks that the last action that is allowed ends the episode."""
    return [
        Finding(
            f"the {max_steps}th action ends the episode (max_steps={max_steps})",
            f"it was not done after {len(played.actions)} actions",
            "count the steps and return done=True at max_steps",
            played.task.id,
        )
        for played in episodes
        if not played.ended and len(played.actions) >= max_steps
    ]


def note_lasting(episodes: Sequence[Played], max_steps: int) -> list[str]:
    """Returns what is allowed and worth knowing."""
    if not episodes or any(len(played.actions) >= max_steps for played in episodes):
        return []
    longest = max(len(played.actions) for played in episodes)
    said = "can be led on after" if longest else "outlives its"
    where = f"{longest} actions" if longest else "first action"
    return [f"no episode {said} {where}, so nothing was seen of max_steps={max_steps}"]


def outlast(suite: Suite, task: Task, form: AnswerForm, *, idle: bool) -> Played:
    """Plays the longest episode that was found, of at most ``max_steps`` actions.

    Args:
      suite: what is played.
      task: with which task.
      form: how nonsense is written.
      idle: says nothing that is on offer, where that ends no episode.
    """
    rng = random.Random(f"{task.id}/{idle}")
    barred: dict[int, set[str]] = {}
    actions: list[str] = []
    played = Played(task)
    for _ in range(_ATTEMPTS):
        with handle(suite) as environment:
            played = follow(environment, task, actions)
            while not played.ended and len(played.actions) < suite.max_steps:
                seen = played.answers[-1].observation
                action = _other(
                    seen,
                    barred.get(len(played.actions), ()),
                    task=task,
                    form=form,
                    rng=rng,
                    idle=idle,
                )
                if action is None:  # all that was tried here ends it
                    return played
                advance(environment, played, action)
        if not played.ended or len(played.actions) >= suite.max_steps or not played.actions:
            return played
        last = len(played.actions) - 1
        barred.setdefault(last, set()).add(played.actions[-1])
        actions = played.actions[:-1]
    return played


def _other(
    seen: Observation,
    barred: Sequence[str] | set[str],
    *,
    task: Task,
    form: AnswerForm,
    rng: random.Random,
    idle: bool,
) -> str | None:
    """Returns an action that has not ended the episode here; None where all have."""
    nonsense = [wrapped(text, form, rng) for text in _NONSENSE]
    offers = [filled(offer, task, rng) for offer in seen.admissible]
    rng.shuffle(offers)
    wanted = [*nonsense, *offers] if idle else [*offers, *nonsense]
    return next((action for action in wanted if action not in barred), None)
