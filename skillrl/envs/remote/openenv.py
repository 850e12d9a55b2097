"""Offers an OpenEnv server as a suite, over its WebSocket.

Protocol: openenv-core 0.3.0, core/env_server/types.py and http_server.py. One connection
is one session. A task is the seed of a reset; on our own server (`skillrl serve
--dialect=openenv`) the seed is the number of the task in its manifest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from skillrl.envs.base import register
from skillrl.envs.remote.connection import Connection, shorten
from skillrl.envs.remote.environment import EpisodeStart, Rejected, SessionLost
from skillrl.envs.remote.suite import RemoteSuite
from skillrl.errors import SkillRLError
from skillrl.io.json_text import decode_json, is_real
from skillrl.net.clients import certificates, proxy_for
from skillrl.types import Observation, StepResult

_MAX_MESSAGE = 16 * 2**20  # bytes
_HELD_OUT = 200  # seeds of each held-out split, from 0; training seeds follow
_TRAIN_SEEDS = 1000
_TEXT = ("text", "observation", "message", "content", "output", "prompt", "board", "stdout")
_OFFERS = ("admissible_commands", "admissible_actions", "available_actions", "legal_actions")
_GOAL = ("goal", "instruction", "task", "question")
_WON = ("won", "success", "solved")

_REJECTIONS = ("EXECUTION_ERROR", "VALIDATION_ERROR")


@register("openenv")
class OpenEnvSuite(RemoteSuite):
    """Offers an environment on an OpenEnv server, by default http://localhost:8000.

    On a server that is not ours, seeds 0 to 199 are valid_unseen, 200 to 399 valid_seen,
    and those from 400 train (``env.server.num_tasks`` of them, 1000 by default).
    """

    name = "openenv"
    role = "You are an agent in an environment, seeing and acting only through text."
    categories: Mapping[str, str] = {"task": "Task"}
    default_url = "http://localhost:8000"

    def check_server(self) -> None:
        """Raises SkillRLError unless /health and /schema answer as an OpenEnv server does."""
        url = self.connection.url
        try:
            _, text, health = self.connection.look("/health")
        except SkillRLError as error:
            raise SkillRLError(f"{error}. {_remedy(url)}") from None
        schema = self.connection.look("/schema")[2] if isinstance(health, dict) else None
        action = schema.get("action") if isinstance(schema, dict) else None
        if not isinstance(health, dict) or "status" not in health or not isinstance(action, dict):
            raise SkillRLError(
                f"GET {url}/health answers {shorten(text or '(nothing)')!r}: this is not an "
                f"OpenEnv server. {_remedy(url)}"
            )
        if health["status"] != "healthy":
            said = shorten(str(health["status"]))
            raise SkillRLError(f"{url} says that it is {said}: look at its log.")
        self._action_field = self.settings.action_field or _action_field(action, url)

    def wire(self) -> OpenEnvWire:
        """Returns a new session on the server."""
        return OpenEnvWire(self.connection, self._action_field)

    def numbers(self, split: str) -> Sequence[int]:
        """Returns the server's numbers of the tasks of a split; the class says which."""
        first = {"valid_unseen": 0, "valid_seen": _HELD_OUT, "train": 2 * _HELD_OUT}[split]
        many = (self.settings.num_tasks or _TRAIN_SEEDS) if split == "train" else _HELD_OUT
        return range(first, first + many)

    def categorise(self, goal: str, category: str) -> str:
        """Returns the one category: the server's own are not known beforehand."""
        return "task"


class OpenEnvWire:
    """Speaks over one WebSocket; reads an observation by the usual names of its fields."""

    def __init__(self, connection: Connection, action_field: str):
        self._server, self._action_field = connection, action_field
        self._text_field = connection.settings.text_field
        self._socket: Any = None
        self._opened = contextlib.ExitStack()

    def start(self, number: int) -> EpisodeStart:
        """Resets with the seed `number`."""
        if self._socket is None:
            self._socket = self._connect()
        data = self._ask({"type": "reset", "data": {"seed": number}})
        fields = data["observation"]
        goal, category = _first(fields, _GOAL, str), _first(fields, ("category", "task_type"), str)
        return EpisodeStart(self._observation(fields), goal or "", category or "")

    def act(self, action: str) -> StepResult:
        """Plays one action."""
        if self._socket is None:
            raise SessionLost("the session is closed")
        data = self._ask({"type": "step", "data": {self._action_field: action}})
        fields, done = data["observation"], data.get("done", False)
        reward = data.get("reward") or 0.0
        if not isinstance(done, bool) or not is_real(reward):
            raise self._malformed(data)
        won, score = _first(fields, _WON, bool), _first(fields, ("score",), (int, float))
        if won is None:
            won = done and reward >= 1
        if not is_real(score) or not 0 <= score <= 1:  # a game's own points are no share
            score = float(won) or min(1.0, max(0.0, float(reward))) * done
        return StepResult(
            observation=self._observation(fields),
            done=done,
            won=won,
            reward=float(reward),
            score=float(score),
        )

    def drop(self) -> None:
        """Closes the connection, and the session with it."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        from websockets.exceptions import WebSocketException

        try:
            socket.send(json.dumps({"type": "close"}))
        except (WebSocketException, OSError):
            pass  # it was gone already
        finally:
            self._opened.close()

    def _connect(self) -> Any:
        try:
            from websockets.exceptions import WebSocketException
            from websockets.sync.client import connect
        except ImportError:
            raise SkillRLError(
                "--env=openenv needs websockets: pip install 'skillrl[serve]'."
            ) from None
        url = "ws" + self._server.url.removeprefix("http") + "/ws"
        try:
            return self._opened.enter_context(
                connect(
                    url,
                    open_timeout=self._server.settings.timeout,
                    close_timeout=1.0,
                    max_size=_MAX_MESSAGE,
                    proxy=proxy_for(self._server.url),
                    ssl=certificates() if url.startswith("wss:") else None,
                )
            )
        except ImportError:
            raise SkillRLError(
                f"{url} is reached through a SOCKS proxy, for which websockets needs python-socks: "
                "pip install python-socks, or add the server to NO_PROXY."
            ) from None
        except (WebSocketException, OSError, TimeoutError) as error:
            raise SessionLost(f"{url}: {type(error).__name__}: {error}") from error

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Returns the data of the observation that answers a message."""
        from websockets.exceptions import WebSocketException

        where = f"{self._server.url}/ws"
        try:
            self._socket.send(json.dumps(message))
            text = self._socket.recv(timeout=self._server.settings.timeout)
        except TimeoutError:
            waited = self._server.settings.timeout
            raise SessionLost(f"{where}: no answer within {waited:g} s") from None
        except (WebSocketException, OSError) as error:
            raise SessionLost(f"{where}: {type(error).__name__}: {error}") from error
        try:
            answer = decode_json(text)
        except ValueError:
            raise SessionLost(f"{where}: not JSON: {shorten(str(text))}", answered=True) from None
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict):
            raise self._malformed(answer)
        if answer.get("type") == "error":
            kind = Rejected if data.get("code") in _REJECTIONS else SessionLost
            said = f"{data.get('code')}: {data.get('message')}"
            raise kind(f"{where}: {shorten(said, 300)}")
        if answer.get("type") != "observation" or not isinstance(data.get("observation"), dict):
            raise self._malformed(answer)
        return data

    def _observation(self, fields: Mapping[str, Any]) -> Observation:
        text = _first(fields, (self._text_field,) if self._text_field else _TEXT, str)
        if text is None and self._text_field:
            raise SessionLost(
                f"{self._server.url}: observations have no text field {self._text_field!r}, only "
                f"{', '.join(fields)} (env.server.text_field)",
                answered=True,
            )
        if text is None:
            text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        offers = _first(fields, _OFFERS, list) or []
        return Observation(text, tuple(offer for offer in offers if isinstance(offer, str)))

    def _malformed(self, answer: Any) -> SessionLost:
        return SessionLost(
            f"{self._server.url}/ws answers with something else than an OpenEnv observation: "
            f"{shorten(repr(answer))}",
            answered=True,
        )


def _first(fields: Mapping[str, Any], names: Sequence[str], kind: Any) -> Any:
    """Returns the first of these fields that is there and of this kind, else None."""
    return next((fields[name] for name in names if isinstance(fields.get(name), kind)), None)


def _action_field(schema: Mapping[str, Any], url: str) -> str:
    """Returns the one text field of an action.

    Raises:
      SkillRLError: there is none, or more than one.
    """
    found, required = schema.get("properties"), schema.get("required")
    fields = found if isinstance(found, dict) else {}
    texts = [
        n for n, kind in fields.items() if isinstance(kind, dict) and kind.get("type") == "string"
    ]
    needed = [name for name in texts if isinstance(required, list) and name in required]
    chosen = needed if len(needed) == 1 else texts
    if len(chosen) != 1:
        raise SkillRLError(
            f"{url}: an action there has the fields {', '.join(fields) or '(none)'}, and none or "
            "several take a text. Say which one the agent writes: --set env.server.action_field=..."
        )
    return chosen[0]


def _remedy(url: str) -> str:
    port = url.rpartition(":")[2]
    return (
        "Name the server with --set env.server.url=http://HOST:PORT, or start one: python "
        f"launchers/serve_env.py --env=alfworld --dialect=openenv --port={port}."
    )
