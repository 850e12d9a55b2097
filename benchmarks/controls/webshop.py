"""Shoppers that do not read: what success means must be far above what they reach."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from skillrl.envs.base import Environment
from skillrl.envs.webshop.expert import BUY, parse_goal, read_results
from skillrl.types import Observation, Task


class Control(Protocol):
    """A policy that is new for each episode."""

    def act(self, observation: Observation) -> str:
        """The next action, given the newest observation."""


class UniformShopper:
    """Chooses uniformly among the admissible actions; searches with words of the goal.

    Args:
      goal: a synthetic goal sentence.
      seed: of its choices.
    """

    def __init__(self, goal: str, seed: int):
        self._query = parse_goal(goal).phrase
        self._rng = random.Random(seed)

    def act(self, observation: Observation) -> str:
        """Any admissible action."""
        action = self._rng.choice(observation.admissible)
        return f"search[{self._query}]" if action.startswith("search[") else action


class FirstHitShopper:
    """Searches for the whole goal sentence and buys the first product found.

    Args:
      goal: a synthetic goal sentence.
      choosy: clicks the wanted options first, where the product has them.
    """

    def __init__(self, goal: str, *, choosy: bool):
        self._goal = goal
        self._clicks = [f"click[{v}]" for _, v in parse_goal(goal).options] if choosy else []

    def act(self, observation: Observation) -> str:
        """Searches, opens the first, perhaps clicks options, buys."""
        actions = observation.admissible
        if BUY in actions:
            while self._clicks:
                if (click := self._clicks.pop(0)) in actions:
                    return click
            return BUY
        if results := read_results(observation):
            return results[0].action
        return f"search[{self._goal}]"


CONTROLS: dict[str, Callable[[str, int], Control]] = {
    "uniform": UniformShopper,
    "first hit": lambda goal, seed: FirstHitShopper(goal, choosy=False),
    "first hit, with options": lambda goal, seed: FirstHitShopper(goal, choosy=True),
}
"""Name -> maker of a control from a goal sentence and a seed."""


def success_rate(
    environment: Environment, tasks: Sequence[Task], make: Callable[[str, int], Control]
) -> float:
    """Share of `tasks` that a control (see `CONTROLS`) wins; task number i has seed i."""
    wins = 0
    for seed, task in enumerate(tasks):
        control, observation, done = make(task.goal, seed), environment.reset(task), False
        while not done:
            result = environment.step(control.act(observation))
            observation, done = result.observation, result.done
        wins += result.won
    return wins / len(tasks)
