"""A small environment that keeps the contract; the tests break it in one line each."""

import random
import threading

from skillrl import Observation, StepResult, Task, register
from skillrl.envs import Move

SHARED = []


class Stairs:
    """So many stairs are to be climbed, then the bell is to be rung."""

    def __init__(self, max_steps):
        self.max_steps = max_steps

    def reset(self, task):
        self.goal, self.at, self.steps, self.done = task.payload["stairs"], 0, 0, False
        return Observation(f"You stand on stair {self.at}.", self.offers())

    def offers(self):
        return ("go up", "go down", "ring") if self.at else ("go up", "ring")

    def step(self, action):
        if self.done:
            raise RuntimeError("it is over")
        self.steps += 1
        known = action in self.offers()
        self.at += known * {"go up": 1, "go down": -1}.get(action, 0)
        won = known and action == "ring" and self.at == self.goal
        self.done = won or self.steps >= self.max_steps
        text = f"You stand on stair {self.at}." if known else "What?"
        score = 1.0 if won else 0.0
        return StepResult(
            observation=Observation(text, self.offers()),
            done=self.done,
            won=won,
            reward=score,
            score=score,
        )

    def close(self):
        pass


class Guide:
    def __init__(self, task):
        self.left = task.payload["stairs"]

    def act(self, observation):
        self.left -= 1
        return Move("up", "go up") if self.left >= 0 else Move("there", "ring")


@register("steps")
class Suite:
    name = "steps"
    role = "You climb."
    categories = {"low": "Low", "high": "High"}  # noqa: RUF012
    simulated = "stairs"

    def __init__(self, config):
        self.max_steps = config.max_steps

    def tasks(self, split):
        first = {"train": 1, "valid_seen": 6, "valid_unseen": 9}[split]
        return tuple(
            Task(
                id=f"{split}/{stairs}",
                split=split,
                category="high" if stairs > 5 else "low",
                goal=f"ring on stair {stairs}",
                payload={"stairs": stairs},
            )
            for stairs in range(first, first + 3)
        )

    def make(self):
        return Stairs(self.max_steps)

    def expert(self, task):
        return Guide(task)


assert random
assert threading
