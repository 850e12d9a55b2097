"""Holds what AgentGym's two servers have in common: sessions with a key, and how to tell them.

Wire shapes: WooooDyy/AgentGym, agentenv-alfworld and agentenv-webshop. Both give tasks by
number; ours do, too (`skillrl.envs.serve.agentgym`), and add a manifest.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from skillrl.envs.remote.connection import Connection, shorten
from skillrl.envs.remote.environment import SessionLost
from skillrl.errors import SkillRLError


class KeyedWire:
    """Looks after the session's key, for both wires.

    Attributes:
      connection: the server.
    """

    def __init__(self, connection: Connection, field: str):
        self.connection, self._field = connection, field
        self._key: int | None = None
        self._generation = 0

    def drop(self) -> None:
        """Forgets the session and closes it where the server can."""
        key, self._key = self._key, None
        if key is None:
            return
        self.connection.release(key, self)
        if self._generation == self.connection.generation:
            self.connection.close_session({self._field: key})

    @property
    def is_open(self) -> bool:
        """There is a session that has not been seen to end."""
        return self._key is not None and self._generation == self.connection.generation

    def open(self, key: Any) -> None:
        """Takes the key that /create has answered; raises SessionLost where it is none."""
        if not isinstance(key, int) or isinstance(key, bool):
            raise SessionLost(
                f"{self.connection.url}/create answers with {shorten(repr(key))}", answered=True
            )
        self._key = key
        self._generation = self.connection.claim(key, self)

    def key(self) -> int:
        """Returns the key of the session.

        Raises:
          SessionLost: it is closed, or the server was restarted since.
        """
        if self._key is None:
            raise SessionLost("the session is closed")
        if self._generation != self.connection.generation:
            raise SessionLost(f"{self.connection.url} was restarted, and its sessions are gone")
        return self._key

    def play(self, path: str, payload: dict[str, Any]) -> Any:
        """Returns the answer about this session.

        Raises:
          SessionLost: none, or possibly that of another session by the same key.
        """
        answer = self.connection.post(path, {self._field: self.key(), **payload})
        self.key()
        return answer

    def malformed(self, path: str, answer: Any) -> SessionLost:
        """Returns what to raise where an answer does not have the promised shape."""
        return SessionLost(
            f"{self.connection.url}{path} answers with something else than AgentGym's servers: "
            f"{shorten(repr(answer))}",
            answered=True,
        )


def is_texts(value: Any) -> TypeGuard[list[str]]:
    """Tells whether a value is a JSON list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def look(connection: Connection, what: str) -> tuple[int, str, Any]:
    """Returns what the server answers to GET /; raises SkillRLError where nobody does."""
    try:
        return connection.look("/")
    except SkillRLError as error:
        raise SkillRLError(f"{error}. {_remedy(connection, what)}") from None


def not_the_server(connection: Connection, what: str, *, text: str, value: Any) -> SkillRLError:
    """Returns the error to raise where something else than AgentGym's `what` server answers.

    Args:
      connection: the server that was asked.
      what: name of the environment that was expected there.
      text: its answer to GET /.
      value: that answer as JSON, or None.
    """
    found = f"GET {connection.url}/ answers {shorten(text or '(nothing)')!r}"
    if value == "ok":
        found += ", as AgentGym's WebShop server does (--env=agentgym_webshop)"
    elif isinstance(value, str) and value.startswith("This is environment"):
        found += ", as another of AgentGym's servers does"
    return SkillRLError(
        f"{found}: this is not AgentGym's {what} server. {_remedy(connection, what)}"
    )


def _remedy(connection: Connection, what: str) -> str:
    port = connection.url.rpartition(":")[2]
    return (
        f"Name the server with --set env.server.url=http://HOST:PORT, or start one: python "
        f"launchers/serve_env.py --env={what} --dialect=agentgym --port={port} "
        "(other programs use that port, too)."
    )
