"""Offers AgentGym's WebShop server (agentenv-webshop) as a suite."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from skillrl.envs.base import register
from skillrl.envs.remote.agentgym import KeyedWire, is_texts, look, not_the_server
from skillrl.envs.remote.connection import Connection
from skillrl.envs.remote.environment import EpisodeStart
from skillrl.envs.remote.suite import RemoteSuite
from skillrl.io.json_text import is_real
from skillrl.types import Observation, StepResult

_SESSIONS = 6910  # synthetic goals of WebShop's 1,000 products
_TEST, _DEV = 500, 1500  # WebShop's own splits: test below 500, dev below 1500
_INSTRUCTION = re.compile(r"\A.*?Instruction:\s*\[SEP\]\s*(.*?)\s*\[SEP\]\s*", re.DOTALL)
_SEARCH = "search[<your query>]"

# Keywords of the released SkillRL code, here as whole words (there "ring" is in "string").
_WORDS: Mapping[str, tuple[str, ...]] = {
    "apparel": (
        *("shirt", "dress", "jacket", "pant", "coat", "sweater", "blouse"),
        *("clothing", "clothes", "t-shirt"),
    ),
    "footwear": ("shoe", "boot", "sneaker", "sandal", "heel", "slipper", "footwear"),
    "electronics": (
        *("laptop", "phone", "computer", "tablet", "charger", "cable"),
        *("headphone", "speaker", "camera", "electronic"),
    ),
    "accessories": (
        *("necklace", "ring", "bracelet", "earring", "watch", "jewelry"),
        *("bag", "purse", "wallet"),
    ),
    "home_decor": (
        *("furniture", "lamp", "curtain", "pillow", "bedding", "decor"),
        *("candle", "vase", "rug"),
    ),
    "beauty_health": (
        *("cream", "lotion", "shampoo", "conditioner", "moisturizer"),
        *("serum", "makeup", "beauty", "vitamin", "supplement"),
    ),
}
_MARKS = {key: re.compile(rf"\b(?:{'|'.join(w)})(?:e?s)?\b") for key, w in _WORDS.items()}


@register("agentgym_webshop")
class AgentGymWebshopSuite(RemoteSuite):
    """Offers WebShop on an AgentGym server, by default http://localhost:3001.

    On AgentGym's own server, sessions 0 to 499 are valid_unseen (WebShop's test), 500 to
    1499 valid_seen (its dev) and 1500 to 6909 train: session n plays goal n.
    """

    name = "agentgym_webshop"
    role = "You are an agent that shops on a web site, seeing and acting only through text."
    categories: Mapping[str, str] = {
        "apparel": "Apparel",
        "footwear": "Footwear",
        "home_decor": "Home",
        "electronics": "Electronics",
        "accessories": "Accessories",
        "beauty_health": "Beauty",
        "other": "Other",
    }
    default_url = "http://localhost:3001"

    def check_server(self) -> None:
        """Raises SkillRLError unless / and /list_envs answer as a WebShop server does."""
        _, text, value = look(self.connection, "webshop")
        if value == "ok" and isinstance(self.connection.look("/list_envs")[2], list):
            return
        raise not_the_server(self.connection, "webshop", text=text, value=value)

    def wire(self) -> WebshopWire:
        """Returns a new session on the server."""
        return WebshopWire(self.connection)

    def numbers(self, split: str) -> Sequence[int]:
        """Returns the server's numbers of the tasks of a split; the class says which."""
        return {
            "train": range(_DEV, _SESSIONS),
            "valid_seen": range(_TEST, _DEV),
            "valid_unseen": range(_TEST),
        }[split]

    def categorise(self, goal: str, category: str) -> str:
        """Finds the category by the words of the goal, since the server does not say it."""
        words = goal.lower()
        return next((key for key, marks in _MARKS.items() if marks.search(words)), "other")


class WebshopWire(KeyedWire):
    """Speaks to agentenv-webshop: pages as text, and clickables from a second request."""

    def __init__(self, connection: Connection):
        super().__init__(connection, "env_idx")

    def start(self, number: int) -> EpisodeStart:
        """Starts session `number`, which plays goal `number`."""
        if not self.is_open:
            self.open(self.connection.post("/create", {}))
        answer = self.play("/reset", {"session_id": number})
        if not isinstance(answer, list) or not answer or not isinstance(answer[0], str):
            raise self.malformed("/reset", answer)
        match = _INSTRUCTION.match(answer[0])
        if match is None:
            raise self.malformed("/reset", answer)
        return EpisodeStart(Observation(_after_goal(answer[0]), self._offers()), match[1].strip())

    def act(self, action: str) -> StepResult:
        """Plays one action; the reward comes at the end, and 1 is a full success."""
        answer = self.play("/step", {"action": action})
        fields = answer if isinstance(answer, dict) else {}
        page, reward, done = (fields.get(name) for name in ("state", "reward", "done"))
        if not isinstance(page, str) or not _is_score(reward) or not isinstance(done, bool):
            raise self.malformed("/step", answer)
        offers = () if done else self._offers()
        score = float(reward) if done else 0.0
        won = done and score >= 1
        return StepResult(
            observation=Observation(_after_goal(page), offers),
            done=done,
            won=won,
            reward=float(reward),
            score=score,
        )

    def _offers(self) -> tuple[str, ...]:
        path = f"/available_actions?env_idx={self.key()}"
        answer = self.connection.get(path)
        self.key()
        fields = answer if isinstance(answer, dict) else {}
        bar, clickables = fields.get("has_search_bar"), fields.get("clickables")
        if not isinstance(bar, bool) or not is_texts(clickables):
            raise self.malformed(path, answer)
        clicks = tuple(f"click[{c}]" for c in clickables if not (bar and c == "search"))
        return (_SEARCH, *clicks) if bar else clicks


def _is_score(value: Any) -> TypeGuard[float]:
    """Tells whether a value is a reward as WebShop gives it: a number from 0 to 1."""
    return is_real(value) and 0 <= value <= 1


def _after_goal(page: str) -> str:
    """Returns a page without its instruction, which the prompt states already."""
    match = _INSTRUCTION.match(page)
    return page[match.end() :] if match else page
