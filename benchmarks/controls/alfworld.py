"""Policies that never read the task: what success means must be far above what they reach.

Each acts on the admissible actions alone. `play_task` runs any policy on one task.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Protocol

from skillrl.envs.base import Environment
from skillrl.types import Observation, Task


class Control(Protocol):
    """A policy that is new for each episode."""

    def act(self, observation: Observation) -> str:
        """The next action, given the newest observation."""


class UniformControl:
    """Chooses uniformly among the admissible actions."""

    def __init__(self, seed: int):
        self._rng = random.Random(seed)

    def act(self, observation: Observation) -> str:
        """Any admissible action."""
        return self._rng.choice(observation.admissible)


class SweepControl:
    """Goes from place to place, takes what it finds, treats it, and puts it down elsewhere.

    Args:
      seed: order of the places; 0 for the order of the admissible list.
      verb: ``clean``, ``heat`` or ``cool`` for everything it takes, or "".
      lamp: where there may be a lamp, finds and lights it first, then carries things to it.
    """

    def __init__(self, seed: int, verb: str = "", lamp: bool = False):
        self._rng = random.Random(seed) if seed else None
        self._verb = verb
        self._lamp = lamp
        self._lamp_place = ""
        self._here = ""
        self._held = ""
        self._origin = ""
        self._treated = False
        self._visited: set[str] = set()
        self._handled: set[str] = set()

    def act(self, observation: Observation) -> str:
        """The next step of the sweep."""
        action = self._choose(observation.admissible)
        words = action.split()
        if action.startswith("go to "):
            self._here = action[6:]
            self._visited.add(self._here)
        elif words[0] == "take":
            self._held, self._origin = " ".join(words[1:3]), " ".join(words[4:])
            self._handled.add(self._held)
            self._visited -= {self._here}
            self._treated = False
        elif words[0] == "move":
            self._held = ""
        elif words[0] == self._verb:
            self._treated = True
        elif words[0] == "use":
            self._lamp_place = self._here
        return action

    def _choose(self, actions: tuple[str, ...]) -> str:
        def first(prefix: str, *, without: str = "\n") -> str:
            return next((a for a in actions if a.startswith(prefix) and without not in a), "")

        if "go to sinkbasin 1" in actions:
            self._lamp = False  # kitchens and bathrooms have no lamps: sweep them
        if self._lamp and not self._lamp_place:
            return first("use ") or first("open ") or self._next(actions)
        if self._held and self._verb and not self._treated:
            appliance = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}[self._verb]
            if act := first(f"{self._verb} {self._held}") or first(f"go to {appliance} "):
                return act
            self._treated = True  # it is at the appliance, which does nothing for this thing
        if self._held:
            if self._lamp_place and self._here != self._lamp_place:
                return first(f"go to {self._lamp_place}") or self._next(actions)
            put = first(f"move {self._held} to ", without=f" to {self._origin}")
            return put or first("open ") or self._next(actions)
        for act in actions:
            if act.startswith("take ") and " ".join(act.split()[1:3]) not in self._handled:
                return act
        return first("open ") or self._next(actions)

    def _next(self, actions: tuple[str, ...]) -> str:
        ways = [a for a in actions if a.startswith("go to ")]
        fresh = [a for a in ways if a[6:] not in self._visited] or ways or list(actions)
        return self._rng.choice(fresh) if self._rng else fresh[0]


CONTROLS: dict[str, Callable[[int], Control]] = {
    "uniform": UniformControl,
    "sweep": lambda seed: SweepControl(0),
    "sweep, random order": lambda seed: SweepControl(seed + 1),
    "clean everything": lambda seed: SweepControl(seed + 1, verb="clean"),
    "heat everything": lambda seed: SweepControl(seed + 1, verb="heat"),
    "cool everything": lambda seed: SweepControl(seed + 1, verb="cool"),
    "lamp, else sweep": lambda seed: SweepControl(0, lamp=True),
    "lamp, else heat": lambda seed: SweepControl(seed + 1, verb="heat", lamp=True),
}
"""Name -> maker of a control from a seed; the controls differ in what they insist on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """An episode: was it won, in how many steps, and were all actions admissible."""

    won: bool
    steps: int
    admissible: bool


def play_task(environment: Environment, task: Task, act: Callable[[Observation], str]) -> Played:
    """Plays `task` to its end with ``act(observation) -> action``."""
    observation = environment.reset(task)
    steps, admissible = 0, True
    while True:
        action = act(observation)
        admissible &= action in observation.admissible
        result = environment.step(action)
        steps += 1
        observation = result.observation
        if result.done:
            return Played(result.won, steps, admissible)
