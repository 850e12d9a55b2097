"""Talks to a server that is controlled as well as asked: one attempt, and its status is told.

`skillrl.net.http` tries again by itself and raises whatever is no success. Here a status may be the
answer (404: not offered, or not visible yet; 409: not now), and whoever asks decides what a lost
connection means: behind it the server may have been started again, with other weights.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from typing import Any

import httpx

from skillrl.errors import SkillRLError
from skillrl.io.text import printable, repair
from skillrl.net.clients import open_client
from skillrl.net.exchange import Answer, Unreadable, exchange, public_url
from skillrl.net.http import bearer
from skillrl.net.redact import Redactor

_SHOWN = 300  # characters of an answer in a message


class Gone(SkillRLError):
    """Raised where a server gives no whole answer, or says that it is in trouble."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """Holds what a server answered.

    Attributes:
      status: HTTP status.
      value: the JSON of its body; None where that is not JSON.
      text: the beginning of the body, on one line, secrets blanked.
    """

    status: int
    value: Any
    text: str

    @property
    def good(self) -> bool:
        """Whether the server says that it has done what it was asked."""
        return 200 <= self.status < 300

    def __getitem__(self, name: str) -> Any:
        """Returns a field of the JSON object; None where there is none of this name."""
        return self.value.get(name) if isinstance(self.value, dict) else None


class Service:
    """Asks one server, safe to use from several threads.

    Attributes:
      base: its address, without a slash at its end.
      shown: the same, fit for messages.
    """

    def __init__(self, base: str, api_key: str = "", *, timeout: float, connections: int = 16):
        """Opens no connection yet.

        Args:
          base: its address; a ``/v1`` at its end is left out.
          api_key: the key to send, or "".
          timeout: seconds without a sign of an answer.
          connections: most at once.

        Raises:
          SkillRLError: the key cannot be sent.
        """
        self.base = base.rstrip("/").removesuffix("/v1").rstrip("/")
        self.shown = public_url(self.base)
        self._headers, self._blank = bearer(api_key), Redactor([api_key.strip()])
        self._timeout, self._connections = timeout, connections
        self._http: httpx.Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Service({self.shown!r})"

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        with self._lock:
            if self._http is not None:
                self._http.close()
            self._http = None

    def get(self, path: str, *, timeout: float | None = None) -> Told:
        """GETs a path; see `post`."""
        return self._ask("GET", path, None, timeout)

    def post(
        self, path: str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Told:
        """POSTs JSON, once.

        Args:
          path: with its query.
          payload: the body.
          timeout: seconds without a sign of an answer; by default that of all requests.

        Returns:
          What was answered, whatever its status.

        Raises:
          Gone: there was no whole answer.
          SkillRLError: the address is not usable.
        """
        content = json.dumps(repair(dict(payload or {})), separators=(",", ":"), allow_nan=False)
        return self._ask("POST", path, content.encode(), timeout)

    def quote(self, text: str) -> str:
        """Quotes a server's words in a message: on one line, short, without the key."""
        return printable(" ".join(self._blank(text[:4000]).split())[:_SHOWN])

    def _ask(self, method: str, path: str, content: bytes | None, timeout: float | None) -> Told:
        with self._lock:
            if self._http is None:
                self._http = open_client(self.base, connections=self._connections)
            client = self._http
        what = f"{method} {self.shown}{path.partition('?')[0]}"
        try:
            answer = exchange(
                client, method, self.base + path, content=content, headers=self._headers,
                timeout=timeout or self._timeout,
            )  # fmt: skip
        except httpx.TimeoutException:
            raise Gone(f"{what}: no answer within {timeout or self._timeout:g} s") from None
        except (httpx.TransportError, Unreadable) as error:
            problem = self.quote(str(error)) or "the connection ended"
            raise Gone(f"{what}: {type(error).__name__}: {problem}") from None
        except RuntimeError as error:  # the client was closed meanwhile
            raise Gone(f"{what}: {error}") from None
        return Told(answer.status, _json(answer), self.quote(answer.beginning()))


def _json(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
