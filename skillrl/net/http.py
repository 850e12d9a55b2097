"""Speaks JSON over HTTP: retries what is worth retrying and never tells secrets.

Everything that talks to a server (teacher, embedder, remote rollout engine, remote
environment) goes through `post_json` or `get_json`. Headers are never logged and
never quoted in an error; where a server echoes a secret in its answer, the echo is blanked.
"""

from __future__ import annotations

import dataclasses
import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from skillrl.errors import SkillRLError
from skillrl.io.text import printable, repair
from skillrl.net.clients import open_client
from skillrl.net.exchange import MAX_ANSWER, Answer, Unreadable, exchange, public_url
from skillrl.net.redact import Redactor

_LOG = logging.getLogger(__name__)

_SHOWN = 300  # characters of an answer in a message
_KEPT = 4000  # characters of it for who looks for the reason in it

_REMEDIES = {
    400: "The server rejects the request: check the model name and the request options.",
    401: "Set the API key of this server (argument, config field or environment variable).",
    402: "The account of this API key has no credit: see to it at the provider.",
    403: "The API key is not allowed to do this: check its rights and the model name.",
    404: "Check the base URL (most servers want it to end in /v1) and the model name.",
    413: "The request is too long for the server: send fewer or shorter trajectories.",
    422: "The server rejects a field of the request: check the request options.",
    429: "The rate limit holds: lower the concurrency, or run the same command again later.",
}
_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window)|maximum (context|sequence|input|prompt)|max_model_len"
    r"|(prompt|inputs?|request|messages?)\W+((?!took|taking)\w+\W+){0,4}too (long|large)"
    r"|too many (input )?tokens|reduce the length|inputs?\W+must have less than"
    r"|prompt_too_long|string_above_max_length",
    re.IGNORECASE,
)


class HTTPFailure(SkillRLError):
    """Raised where a request finally failed.

    Attributes:
      url: the address, without credentials or query.
      status: HTTP status of the last attempt, or the one that its body names as its error; None
        where no whole answer came.
      attempts: how often it was tried.
      refused: nobody listens there (any more).
      body: the beginning of the last answer, secrets blanked.
      too_large: the answer was longer than allowed.
      stated: it is an error that the server stated in an answer with a good status.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str,
        status: int | None,
        attempts: int,
        refused: bool = False,
        body: str = "",
        too_large: bool = False,
        stated: bool = False,
    ) -> None:
        super().__init__(message)
        self.url, self.status, self.attempts = url, status, attempts
        self.refused, self.body = refused, body
        self.too_large, self.stated = too_large, stated

    @property
    def too_long(self) -> bool:
        """Whether the server says that the request has more text than it can take."""
        return is_too_long(self.status, self.body)

    @property
    def of_the_request(self) -> bool:
        """Whether the server refuses this request alone; others may be answered."""
        return self.status in (400, 413, 422) or (self.stated and self.status == 200)


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Describes an error that a server states in the body of an answer with a good status.

    Attributes:
      message: in the server's words.
      status: the HTTP status that it names; None where it names none.
    """

    message: str
    status: int | None = None


def bearer(api_key: str) -> dict[str, str]:
    """Makes the authorisation header of an OpenAI-compatible server; none without a key.

    Raises:
      SkillRLError: the key cannot stand in a header; it is not quoted.
    """
    key = api_key.strip()
    if not all("!" <= char <= "~" for char in key):
        raise SkillRLError(
            "the API key has blanks or characters that a key cannot have; copy it again."
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def is_too_long(status: int | None, text: str) -> bool:
    """Tells whether a refusal with this status and text is about the length of the request."""
    return status == 413 or (status in (200, 400, 422) and bool(_TOO_LONG.search(text)))


def post_json(
    url: str,
    payload: Any,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    retries: int = 4,
    backoff: float = 0.5,
    max_wait: float = 60.0,
    deadline: float | None = None,
    limit: int = MAX_ANSWER,
    fault: Callable[[Any], Fault | None] | None = None,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> Any:
    """POSTs `payload` as JSON and returns the decoded JSON answer, its text repaired.

    Connection errors, timeouts, cut-off or non-JSON answers, 408, 429 and 5xx are
    tried again; any other status fails at once, as do answers that are too large or take
    longer than the deadline.

    Args:
      url: address to post to.
      payload: anything `json.dumps` takes.
      headers: sent along; never logged nor quoted.
      timeout: seconds to wait for a connection, and between two pieces of the answer.
      retries: attempts after the first.
      backoff: seconds before the first retry; doubles each time, times 0.5 to 1.5.
      max_wait: longest pause in seconds, also against a longer ``Retry-After``.
      deadline: seconds for one attempt in all; `DEADLINE` times the timeout by default.
      limit: most bytes of an answer.
      fault: finds the error that a well-formed answer states; it then counts as an answer with
        the status that it names, and one without is final.
      client: an open client to share connections; without one each call opens its own.
      sleep: how to pause, in seconds.
      jitter: draws from [0, 1).

    Raises:
      HTTPFailure: no usable answer; names the address, the status and the remedy.
      SkillRLError: the address is not an http(s) URL.
    """
    try:
        content = json.dumps(
            repair(payload), ensure_ascii=False, separators=(",", ":"), allow_nan=False
        ).encode()
    except RecursionError:
        raise ValueError("the request is nested too deeply") from None
    return _ask(
        "POST", url, content, headers=headers or {}, timeout=timeout, retries=retries,
        backoff=backoff, max_wait=max_wait, deadline=deadline, limit=limit, fault=fault,
        client=client, sleep=sleep, jitter=jitter,
    )  # fmt: skip


def get_json(
    url: str,
    *,
    timeout: float = 60.0,
    retries: int = 4,
    backoff: float = 0.5,
    max_wait: float = 60.0,
    limit: int = MAX_ANSWER,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> Any:
    """GETs `url` and returns the decoded JSON answer; tries again as `post_json` does.

    Args:
      url: http(s) address.
      timeout: seconds to wait for a connection, and between two pieces of the answer.
      retries: attempts after the first.
      backoff: seconds before the first retry; doubles each time, times 0.5 to 1.5.
      max_wait: longest pause in seconds, also against a longer ``Retry-After``.
      limit: most bytes of an answer.
      client: an open client to share connections; without one the call opens its own.
      sleep: how to pause, in seconds.
      jitter: draws from [0, 1).

    Raises:
      HTTPFailure: no usable answer; names the address, the status and the remedy.
      SkillRLError: the address is not an http(s) URL.
    """
    return _ask(
        "GET", url, None, headers={}, timeout=timeout, retries=retries, backoff=backoff,
        max_wait=max_wait, deadline=None, limit=limit, fault=None, client=client,
        sleep=sleep, jitter=jitter,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class _Trouble:
    """Says why an attempt failed, and whether another may help."""

    problem: str
    status: int | None = None
    _: dataclasses.KW_ONLY
    again: bool = True
    wait: float | None = None
    refused: bool = False
    body: str = ""
    large: bool = False
    stated: bool = False


def _ask(
    method: str,
    url: str,
    content: bytes | None,
    *,
    headers: Mapping[str, str],
    timeout: float,
    retries: int,
    backoff: float,
    max_wait: float,
    deadline: float | None,
    limit: int,
    fault: Callable[[Any], Fault | None] | None,
    client: httpx.Client | None,
    sleep: Callable[[float], None],
    jitter: Callable[[], float],
) -> Any:
    """Makes one request, again where that is worth it, and decodes the answer.

    Args:
      method: ``GET`` or ``POST``.
      url: http(s) address.
      content: the body to send; None sends none.
      headers: as in `post_json`, like all arguments below.
      timeout: seconds.
      retries: attempts after the first.
      backoff: seconds.
      max_wait: seconds.
      deadline: seconds.
      limit: bytes.
      fault: finds the error that a well-formed answer states.
      client: an open client; None opens one for this call.
      sleep: how to pause, in seconds.
      jitter: draws from [0, 1).

    Raises:
      HTTPFailure: no usable answer.
      SkillRLError: the address is not an http(s) URL.
    """
    shown = public_url(url)
    if not re.match(r"https?://[^/?#]", url, re.IGNORECASE):
        raise SkillRLError(
            f"{shown!r} is not an http(s) address; give one such as http://localhost:8000/v1."
        )
    if client is None:
        with open_client(url) as opened:
            return _ask(
                method, url, content, headers=headers, timeout=timeout, retries=retries,
                backoff=backoff, max_wait=max_wait, deadline=deadline, limit=limit, fault=fault,
                client=opened, sleep=sleep, jitter=jitter,
            )  # fmt: skip
    blank = Redactor(value.split()[-1] for value in headers.values() if value.split())
    attempts = 0
    while True:
        attempts += 1
        try:
            answer = exchange(
                client, method, url, content=content, headers=headers, timeout=timeout,
                deadline=deadline, limit=limit,
            )  # fmt: skip
            found = _read(answer, fault, blank)
            if not isinstance(found, _Trouble):
                return found.value
        except Unreadable as error:
            found = _Trouble(str(error), error.status, again=error.again, large=error.large)
            if error.status is not None and error.status >= 300:
                found = dataclasses.replace(
                    found, problem=f"status {error.status}", again=_passing(error.status)
                )
        except httpx.TimeoutException:
            found = _Trouble(f"no answer within {timeout:g} s")
        except httpx.TransportError as error:
            refused = isinstance(error, httpx.ConnectError)
            problem = f"{type(error).__name__}: {_snippet(str(error), blank)}"
            found = _Trouble(problem, refused=refused)
        if attempts > retries or not found.again:
            raise HTTPFailure(
                f"{method} {shown} failed after {attempts} attempt(s): {found.problem}. "
                f"{_remedy(found)}",
                url=shown,
                status=found.status,
                attempts=attempts,
                refused=found.refused,
                body=found.body,
                too_large=found.large,
                stated=found.stated,
            )
        wait = backoff * 2.0 ** min(attempts - 1, 60) * (0.5 + jitter())
        wait = min(max_wait, max(wait, found.wait or 0.0))
        _LOG.warning("%s %s: %s; trying again in %.1f s", method, shown, found.problem, wait)
        sleep(wait)


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """Holds the value of a good answer."""

    value: Any


def _read(
    answer: Answer, fault: Callable[[Any], Fault | None] | None, blank: Redactor
) -> _Found | _Trouble:
    """Reads the value of an answer, or finds what is wrong with it."""
    status, text = answer.status, answer.beginning()
    wait = _retry_after(answer.headers.get("Retry-After"))
    if not 200 <= status < 300:
        problem = f"status {status}: {_snippet(text, blank)}"
        if 300 <= status < 400 and (target := answer.headers.get("Location")):
            problem = f"status {status}, to {_snippet(public_url(target), blank)}"
        return _Trouble(problem, status, again=_passing(status), wait=wait, body=_kept(text, blank))
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return _Trouble(
            f"status {status}, but the answer is a stream of events, which was not asked for",
            status,
            again=False,
            body=_kept(text, blank),
        )
    try:
        value = answer.json()
    except ValueError as error:
        why = "" if isinstance(error, json.JSONDecodeError) else f" ({_snippet(str(error), blank)})"
        return _Trouble(
            f"status {status}, but the answer is not JSON{why}: {_snippet(text, blank)}",
            status,
            body=_kept(text, blank),
        )
    stated = fault(value) if fault else None
    if stated is None:
        return _Found(value)
    code = stated.status if stated.status is not None else status
    named = f" of status {code}" if stated.status is not None else ""
    return _Trouble(
        f"status {status}, with an error{named}: {_snippet(stated.message, blank)}",
        code,
        again=stated.status is not None and _passing(code),
        wait=wait,
        body=_kept(stated.message, blank),
        stated=True,
    )


def _passing(status: int) -> bool:
    """Tells whether the same request may be answered well a little later."""
    return status in (408, 429) or status >= 500


def _remedy(found: _Trouble) -> str:
    status = found.status
    if found.large:
        return "Is this the right endpoint of the server? Check its address and its log."
    if status is None:
        return "Is the server running and reachable from this machine? Check its address."
    if is_too_long(status, found.body):
        return (
            "The text is too long for the server: serve the model with a longer context, or send "
            "less (rl.max_prompt_length for a policy, distill.max_trajectories_per_category for a "
            "teacher)."
        )
    if found.stated and status not in _REMEDIES:
        return "The server names no more of it: look at its log."
    if status < 300:
        return "Is this the JSON endpoint of the server? Check its address."
    if status < 400:
        return "The server redirects: give the address it redirects to."
    if status >= 500:
        return "The server is in trouble: look at its log, then run the same command again."
    return _REMEDIES.get(status, "Check the address and the request options.")


def _retry_after(value: str | None) -> float | None:
    """Reads the seconds of a ``Retry-After`` header, a number or an HTTP date (RFC 9110)."""
    if value is None:
        return None
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        _LOG.warning("ignoring an unreadable Retry-After header: %r", value[:40])
        return None


def _snippet(text: str, blank: Redactor) -> str:
    """Quotes the beginning of a server's words on one line, fit for a terminal."""
    return printable(" ".join(_kept(text, blank).split())[:_SHOWN]) or "(empty)"


def _kept(text: str, blank: Redactor) -> str:
    """Blanks secrets before it cuts, so that no half of one is left unrecognised."""
    return blank(text[: 4 * _KEPT])[:_KEPT]
