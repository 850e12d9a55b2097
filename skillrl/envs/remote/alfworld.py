"""Offers AgentGym's ALFWorld server (agentenv-alfworld) as a suite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.envs.alfworld.generate import CATEGORIES
from skillrl.envs.base import register
from skillrl.envs.remote.agentgym import KeyedWire, is_texts, look, not_the_server
from skillrl.envs.remote.connection import Connection
from skillrl.envs.remote.environment import EpisodeStart
from skillrl.envs.remote.suite import RemoteSuite
from skillrl.errors import SkillRLError
from skillrl.io.json_text import is_real
from skillrl.types import Observation, StepResult

_TRAIN_GAMES = 2420  # agentenv-alfworld/configs/mappings_train.json; then mappings_test.json
_TEST_GAMES = 200
_SEEN_EVERY = 20
_TASK_LINE = re.compile(r"\n?Your task is to:\s*(.*)\Z", re.DOTALL)


@register("agentgym_alfworld")
class AgentGymAlfworldSuite(RemoteSuite):
    """Offers ALFWorld on an AgentGym server, by default http://localhost:3000.

    On AgentGym's own server, numbers 0 to 2419 are its training games, of which every
    twentieth is kept as valid_seen, and 2420 to 2619 its test games, here valid_unseen.
    """

    name = "agentgym_alfworld"
    role = "You are an agent in a household, seeing and acting only through text."
    categories: Mapping[str, str] = CATEGORIES
    default_url = "http://localhost:3000"

    def check_server(self) -> None:
        """Raises SkillRLError unless / greets as an ALFWorld server does."""
        _, text, value = look(self.connection, "alfworld")
        greeting = value if isinstance(value, str) else ""
        if "alfworld" in greeting.lower():
            return
        if greeting.startswith("This is environment") and self._read_header() is not None:
            return  # one of ours, which says what else it serves
        raise not_the_server(self.connection, "alfworld", text=text, value=value)

    def wire(self) -> AlfworldWire:
        """Returns a new session on the server."""
        return AlfworldWire(self.connection)

    def numbers(self, split: str) -> Sequence[int]:
        """Returns the server's numbers of the tasks of a split; the class says which."""
        seen = range(_SEEN_EVERY - 1, _TRAIN_GAMES, _SEEN_EVERY)
        if split == "train":
            return [n for n in range(_TRAIN_GAMES) if n not in seen]
        return seen if split == "valid_seen" else range(_TRAIN_GAMES, _TRAIN_GAMES + _TEST_GAMES)

    def categorise(self, goal: str, category: str) -> str:
        """Returns the kind of game the server names; raises SkillRLError for an unknown one."""
        if category in self.categories:
            return category
        raise SkillRLError(
            f"{self.connection.url}: the server says that {goal!r} is of the kind {category!r}; "
            f"ALFWorld has {', '.join(self.categories)}. Is it another environment?"
        )


class AlfworldWire(KeyedWire):
    """Speaks to agentenv-alfworld: {"id", "observation", "available_actions", ...}."""

    def __init__(self, connection: Connection):
        super().__init__(connection, "id")

    def start(self, number: int) -> EpisodeStart:
        """Starts game `number`."""
        if not self.is_open:
            answer = self.connection.post("/create", {})
            self.open(answer.get("id") if isinstance(answer, dict) else answer)
        answer = self.play("/reset", {"game": number, "world_type": "Text"})
        seen = self._observation("/reset", answer)
        match = _TASK_LINE.search(seen.text)
        if match is None:
            raise self.malformed("/reset", answer)
        kind = answer.get("task_type")
        category = kind.split("/")[0].split("-")[0] if isinstance(kind, str) else ""
        goal = match[1].strip().rstrip(".")
        return EpisodeStart(
            Observation(seen.text[: match.start()].strip(), seen.admissible), goal, category
        )

    def act(self, action: str) -> StepResult:
        """Plays one action; the reward is 1 when the goal is met."""
        answer = self.play("/step", {"action": action})
        seen = self._observation("/step", answer)
        reward, done = answer.get("reward"), answer.get("done")
        if not is_real(reward) or not isinstance(done, bool):
            raise self.malformed("/step", answer)
        won = reward >= 1
        return StepResult(
            observation=seen, done=done or won, won=won, reward=float(reward), score=float(won)
        )

    def _observation(self, path: str, answer: Any) -> Observation:
        answer = answer if isinstance(answer, dict) else {}
        text, actions = answer.get("observation"), answer.get("available_actions")
        if not isinstance(text, str) or not is_texts(actions):
            raise self.malformed(path, answer)
        return Observation(text, tuple(action for action in actions if action != "help"))
