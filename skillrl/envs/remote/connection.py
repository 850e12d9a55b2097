"""One HTTP server that all episodes of a run share."""

from __future__ import annotations

import ipaddress
import json
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx

from skillrl.config import ServerConfig
from skillrl.envs.remote.environment import MAX_WAIT, Rejected, SessionLost
from skillrl.errors import SkillRLError
from skillrl.http import HTTPFailure, get_json, post_json, public_url

_CONNECT_RETRIES = 2  # of the first look, at which a person is waiting


class Connection:
    """Requests to one server, safe to use from many threads.

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
        self._client = httpx.Client(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=256),
            trust_env=not is_loopback(self.url),  # a proxy cannot reach our loopback
            verify=self.url.startswith("https://"),  # reading certificates takes time
        )

    def post(self, path: str, payload: Any) -> Any:
        """The answer to one attempt.

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
        """Likewise, for what does not change the session."""
        try:
            answer = get_json(
                self.url + path, timeout=self.settings.timeout, retries=0, client=self._client
            )
        except HTTPFailure as error:
            raise self._lost(error) from error
        return self._usable("GET", path, answer)

    def read(self, path: str) -> Any:
        """The answer to a GET that a run cannot do without: tried again for some time.

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
        """(status, text, JSON value or None) of a GET, whatever it is.

        Raises:
          HTTPFailure: no answer at all.
        """
        for attempt in range(_CONNECT_RETRIES + 1):
            try:
                answer = self._client.get(self.url + path, timeout=self.settings.timeout)
                break
            except httpx.InvalidURL as error:
                raise SkillRLError(f"{self.url!r} is not a usable address ({error}).") from None
            except httpx.TransportError as error:
                if attempt == _CONNECT_RETRIES or isinstance(error, httpx.TimeoutException):
                    shown = public_url(self.url + path)
                    raise HTTPFailure(
                        f"GET {shown} failed after {attempt + 1} attempt(s): "
                        f"{type(error).__name__}: {str(error).rstrip('.')}",
                        url=shown,
                        status=None,
                        attempts=attempt + 1,
                    ) from None
        try:
            value = answer.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            value = None
        return answer.status_code, answer.text, value

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
        """The owner does not hold `key` any more."""
        with self._lock:
            if self._owners.get(key) is owner:
                del self._owners[key]

    def close_session(self, payload: dict[str, int]) -> None:
        """Closes a session where the server can; AgentGym's ALFWorld server cannot."""
        if not self.closes:
            return
        try:
            answer = self._client.post(self.url + "/close", json=payload, timeout=2.0)
            self.closes = answer.status_code not in (404, 405)
        except httpx.TransportError:
            pass  # a server that is gone has no session left to close

    def _lost(self, error: HTTPFailure) -> SessionLost:
        if error.refused:
            with self._lock:  # nobody listens: it was stopped, and its sessions with it
                self.generation += 1
                self._owners.clear()
        return SessionLost(str(error))

    def _usable(self, method: str, path: str, answer: Any) -> Any:
        if isinstance(answer, dict) and "error" in answer:
            raise Rejected(f"{method} {self.url}{path} answers with an error: {answer['error']}")
        return answer


def is_loopback(url: str) -> bool:
    """Whether `url` is an address of this machine alone."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shorten(text: str, length: int = 120) -> str:
    """`text` on one line, for messages."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
