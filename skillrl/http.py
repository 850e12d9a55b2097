"""A JSON-over-HTTP client that retries what is worth retrying and never tells secrets.

Everything that talks to a server (teacher, embedder, remote rollout engine, remote
environment) goes through `post_json` or `get_json`. Headers are never logged and never quoted in
an error; where a server echoes a secret in its answer, the echo is blanked.
"""

from __future__ import annotations

import email.utils
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from skillrl.errors import SkillRLError

_LOG = logging.getLogger(__name__)

_REMEDIES = {
    400: "The server rejects the request: check the model name and the request options.",
    401: "Set the API key of this server (argument, config field or environment variable).",
    403: "The API key is not allowed to do this: check its rights and the model name.",
    404: "Check the base URL (most servers want it to end in /v1) and the model name.",
    413: "The request is too long for the server: send fewer or shorter trajectories.",
    422: "The server rejects a field of the request: check the request options.",
    429: "The rate limit holds: lower the concurrency, or run the same command again later.",
}


class HTTPFailure(SkillRLError):
    """A request that finally failed.

    Attributes:
      url: the address, without credentials or query.
      status: HTTP status of the last attempt; None where no whole answer came.
      attempts: how often it was tried.
      refused: nobody listens there (any more).
    """

    def __init__(
        self, message: str, *, url: str, status: int | None, attempts: int, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.refused = refused
        self.url = url
        self.status = status
        self.attempts = attempts


def public_url(url: str) -> str:
    """`url` without user, password, query and fragment: fit for messages and files."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def bearer(api_key: str) -> dict[str, str]:
    """The authorisation header of an OpenAI-compatible server; none without a key.

    Raises:
      SkillRLError: the key cannot stand in a header; it is not quoted.
    """
    key = api_key.strip()
    if not all("!" <= char <= "~" for char in key):
        raise SkillRLError(
            "the API key has blanks or characters that a key cannot have; copy it again."
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def post_json(
    url: str,
    payload: Any,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    retries: int = 4,
    backoff: float = 0.5,
    max_wait: float = 60.0,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> Any:
    """POSTs `payload` as JSON and returns the decoded JSON answer.

    Connection errors, timeouts, cut-off or non-JSON answers, 408, 429 and 5xx are
    tried again; any other status fails at once.

    Args:
      url: address to post to.
      payload: anything `json.dumps` takes.
      headers: sent along; never logged nor quoted.
      timeout: seconds to wait for a connection, and between two pieces of the answer.
      retries: attempts after the first.
      backoff: seconds before the first retry; doubles each time, times 0.5 to 1.5.
      max_wait: longest pause in seconds, also against a longer ``Retry-After``.
      client: an open client to share connections; without one each call opens its own.
      sleep: how to pause, in seconds.
      jitter: draws from [0, 1).

    Raises:
      HTTPFailure: no usable answer; names the address, the status and the remedy.
      SkillRLError: the address is not an http(s) URL.
    """
    return _ask(
        "POST", url, payload, headers=headers or {}, timeout=timeout, retries=retries,
        backoff=backoff, max_wait=max_wait, client=client, sleep=sleep, jitter=jitter,
    )  # fmt: skip


def get_json(
    url: str,
    *,
    timeout: float = 60.0,
    retries: int = 4,
    backoff: float = 0.5,
    max_wait: float = 60.0,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> Any:
    """GETs `url` and returns the decoded JSON answer; retries and raises as `post_json` does."""
    return _ask(
        "GET", url, None, headers={}, timeout=timeout, retries=retries, backoff=backoff,
        max_wait=max_wait, client=client, sleep=sleep, jitter=jitter,
    )  # fmt: skip


def _ask(
    method: str,
    url: str,
    payload: Any,
    *,
    headers: Mapping[str, str],
    timeout: float,
    retries: int,
    backoff: float,
    max_wait: float,
    client: httpx.Client | None,
    sleep: Callable[[float], None],
    jitter: Callable[[], float],
) -> Any:
    """The decoded answer to one request, tried again where that is worth it."""
    shown = public_url(url)
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise SkillRLError(
            f"{shown!r} is not an http(s) address; give one such as http://localhost:8000/v1."
        )
    if client is None:
        with httpx.Client() as opened:
            return _ask(
                method, url, payload, headers=headers, timeout=timeout, retries=retries,
                backoff=backoff, max_wait=max_wait, client=opened, sleep=sleep, jitter=jitter,
            )  # fmt: skip
    secrets = [secret for value in headers.values() for secret in value.split()[-1:]]
    attempts = 0
    while True:
        attempts += 1
        status: int | None = None
        asked_wait = None
        refused = False
        try:
            body = {} if method == "GET" else {"json": payload}
            answer = client.request(method, url, headers=dict(headers), timeout=timeout, **body)
            status = answer.status_code
            if 200 <= status < 300:
                return answer.json()
            problem = f"status {status}: {_snippet(answer.text, secrets)}"
            asked_wait = _retry_after(answer.headers.get("Retry-After"))
        except httpx.InvalidURL as error:
            raise SkillRLError(
                f"{shown!r} is not a usable address ({error}); correct it."
            ) from None
        except httpx.TimeoutException:
            problem = f"no answer within {timeout:g} s"
        except httpx.TransportError as error:
            refused = isinstance(error, httpx.ConnectError)
            problem = f"{type(error).__name__}: {_snippet(str(error), secrets)}"
        except httpx.DecodingError:
            problem = "the answer is compressed in a way that cannot be undone"
        except (ValueError, RecursionError):  # not JSON, nested too deeply, or too long a number
            if status is None:
                raise  # of the request
            problem = f"status {status}, but the answer is not JSON"
        if attempts > retries or not _worth_retrying(status):
            raise HTTPFailure(
                f"{method} {shown} failed after {attempts} attempt(s): {problem}. "
                f"{_remedy(status)}",
                url=shown,
                status=status,
                attempts=attempts,
                refused=refused,
            )
        wait = backoff * 2 ** (attempts - 1) * (0.5 + jitter())
        wait = min(max_wait, max(wait, asked_wait or 0.0))
        _LOG.warning("%s %s: %s; trying again in %.1f s", method, shown, problem, wait)
        sleep(wait)


def _worth_retrying(status: int | None) -> bool:
    return status is None or status < 300 or status in (408, 429) or status >= 500


def _remedy(status: int | None) -> str:
    if status is None:
        return "Is the server running and reachable from this machine? Check its address."
    if status < 300:
        return "Is this the JSON endpoint of the server? Check its address."
    if status < 400:
        return "The server redirects: give the address it redirects to."
    if status >= 500:
        return "The server is in trouble: look at its log, then run the same command again."
    return _REMEDIES.get(status, "Check the address and the request options.")


def _retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        _LOG.warning("ignoring an unreadable Retry-After header: %r", value[:40])
        return None


def _snippet(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:300] or "(empty)"
