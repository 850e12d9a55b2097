"""Asks one HTTP server that all episodes of a run share."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx

from skillrl.config.settings import ServerConfig
from skillrl.envs.remote.environment import MAX_WAIT, Rejected, SessionLost
from skillrl.errors import SkillRLError
from skillrl.io.text import printable, truncate
from skillrl.net.clients import open_client
from skillrl.net.exchange import MAX_ANSWER, Unreadable, exchange
from skillrl.net.http import HTTPFailure, get_json, post_json, public_url

_CONNECT_RETRIES = 2  # of the first look, at which a person is waiting
_MAX_MANIFEST = 8 * MAX_ANSWER  # some 200 bytes a task, and data sets of a million questions


class Connection:
    """Sends requests to one server, safe to use from many threads.

    Attributes:
      url: base address, without a slash at its end.
      settings: timeouts and retries.
      generation: rises when the server is found to have been restarted. Its sessions are
        then gone, and their keys may soon be those of other sessions.
    """

    def __init__(self, settings: ServerConfig, default_url: str):
        self.settings = settings
        self.url = (settings.url or default_url).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise SkillRLError(
                f"env.server.url is {self.url!r}, which is not an http(s) address; write "
                f"{default_url}, for example."
            )
        self.generation = 0
        self.closes = True
        self._owners: dict[int, object] = {}
        self._lock = threading.Lock()
        self._client = open_client(self.url, connections=None)

    def post(self, path: str, payload: Any) -> Any:
        """Returns the answer to one attempt.

        Raises:
          SessionLost: none came, it is not JSON, or it says {"error": ...}.
        """
        try:
            answer = post_json(
                self.url + path,
                payload,
                timeout=self.settings.timeout,
                retries=0,
                client=self._client,
            )
        except HTTPFailure as error:
            raise self._lost(error) from error
        return self._usable("POST", path, answer)

    def get(self, path: str) -> Any:
        """Asks for something that does not change the session."""
        try:
            answer = get_json(
                self.url + path, timeout=self.settings.timeout, retries=0, client=self._client
            )
        except HTTPFailure as error:
            raise self._lost(error) from error
        return self._usable("GET", path, answer)

    def read(self, path: str) -> Any:
        """Returns the answer to a GET that a run cannot do without: tried again for some time.

        Raises:
          HTTPFailure: none; the message says how to go on.
        """
        settings = self.settings
        try:
            return get_json(
                self.url + path,
                timeout=settings.timeout,
                retries=settings.retries,
                backoff=settings.backoff,
                max_wait=MAX_WAIT,
                limit=_MAX_MANIFEST,
                client=self._client,
            )
        except HTTPFailure as error:
            raise HTTPFailure(
                f"{error} Then run the same command again: it continues where it stopped.",
                url=error.url,
                status=error.status,
                attempts=error.attempts,
            ) from error

    def look(self, path: str) -> tuple[int, str, Any]:
        """Returns (status, text, JSON value or None) of a GET, whatever it is.

        Raises:
          HTTPFailure: no answer at all.
        """
        for attempt in range(_CONNECT_RETRIES + 1):
            try:
                answer = exchange(
                    self._client, "GET", self.url + path, timeout=self.settings.timeout
                )
                break
            except (httpx.TransportError, Unreadable) as error:
                if attempt == _CONNECT_RETRIES or isinstance(error, httpx.TimeoutException):
                    shown = public_url(self.url + path)
                    raise HTTPFailure(
                        f"GET {shown} failed after {attempt + 1} attempt(s): "
                        f"{type(error).__name__}: {shorten(str(error)).rstrip('.')}",
                        url=shown,
                        status=None,
                        attempts=attempt + 1,
                    ) from None
        try:
            value = answer.json()
        except ValueError:
            value = None
        return answer.status, answer.beginning(), value

    def claim(self, key: int, owner: object) -> int:
        """Notes that `key` is a new session of `owner`; returns the generation it is of.

        A server that hands out a key which somebody here still holds has been restarted
        (AgentGym's ALFWorld server counts from 0): all other sessions are then stale.
        """
        with self._lock:
            if self._owners.get(key, owner) is not owner:
                self.generation += 1
                self._owners.clear()
            self._owners[key] = owner
            return self.generation

    def release(self, key: int, owner: object) -> None:
        """Marks `key` as held by its owner no longer."""
        with self._lock:
            if self._owners.get(key) is owner:
                del self._owners[key]

    def close_session(self, payload: dict[str, int]) -> None:
        """Closes a session where the server can; AgentGym's ALFWorld server cannot."""
        if not self.closes:
            return
        try:
            content = json.dumps(payload).encode()
            answer = exchange(
                self._client, "POST", self.url + "/close", content=content, timeout=2.0
            )
            self.closes = answer.status not in (404, 405)
        except (httpx.TransportError, Unreadable):
            pass  # a server that is gone has no session left to close

    def _lost(self, error: HTTPFailure) -> SessionLost:
        if error.refused:
            with self._lock:  # nobody listens: it was stopped, and its sessions with it
                self.generation += 1
                self._owners.clear()
        return SessionLost(str(error), answered=error.status is not None)

    def _usable(self, method: str, path: str, answer: Any) -> Any:
        if isinstance(answer, dict) and "error" in answer:
            said = shorten(str(answer["error"]), 300)
            raise Rejected(f"{method} {self.url}{path} answers with an error: {said}")
        return answer


def shorten(text: str, length: int = 120) -> str:
    """Puts `text` on one line, for messages; control characters are escaped."""
    line = printable(" ".join(text[: 20 * length].split()))
    return truncate(line, length)
