"""A small environment on openenv-core's own server, for our client. No skillrl here.

    python openenv_server.py PORT

A corridor of five doors: the agent starts at door `seed` mod 3 and wins at door 4.
"""

import sys

import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Walk(Action):
    message: str


class Seen(Observation):
    text: str
    legal_actions: list[str]
    instruction: str = "go to door 4"


class Corridor(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        super().__init__()
        self._state = State()

    def reset(self, seed=None, episode_id=None, **_):
        self._door, self._state = (seed or 0) % 3, State(episode_id=episode_id)
        return self._see()

    def step(self, action, timeout_s=None, **_):
        self._state.step_count += 1
        if action.message not in ("on", "back"):
            raise ValueError(f"no way {action.message}")
        self._door = max(0, self._door + (1 if action.message == "on" else -1))
        return self._see()

    def _see(self):
        won = self._door == 4
        return Seen(
            text=f"You are at door {self._door}.",
            legal_actions=["on", "back"],
            done=won,
            reward=float(won),
        )

    @property
    def state(self):
        return self._state


if __name__ == "__main__":
    app = create_fastapi_app(Corridor, Walk, Seen, max_concurrent_envs=8)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
