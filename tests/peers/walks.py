"""Expert walks through generated ALFWorld games, for peers that have no expert.

    python tests/peers/walks.py OUTPUT.json

One entry per game: the number of its task, its goal, and [action or null, text after it].
"""

from __future__ import annotations

import json
import sys

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.envs.serve.catalogue import TaskCatalogue

GAMES = 12  # two of each kind


def main() -> None:
    suite = make_suite("alfworld", EnvConfig())
    start, _ = TaskCatalogue(suite).splits["valid_unseen"]
    walks = []
    for at, task in enumerate(suite.tasks("valid_unseen")[:GAMES]):
        environment, expert = suite.make(), suite.expert(task)
        observation = environment.reset(task)
        seen: list[tuple[str | None, str]] = [(None, observation.text)]
        done = False
        while not done:
            action = expert.act(observation).action
            result = environment.step(action)
            observation, done = result.observation, result.done
            seen.append((action, observation.text))
        assert result.won
        walks.append({"number": start + at, "goal": task.goal, "seen": seen})
    with open(sys.argv[1], "w") as file:
        json.dump(walks, file)


if __name__ == "__main__":
    main()
