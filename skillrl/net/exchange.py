"""Exchanges one request and its answer: bounded in time and size, whatever the server sends."""

from __future__ import annotations

import dataclasses
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from skillrl.errors import SkillRLError
from skillrl.io.json_text import decode_json
from skillrl.io.text import repair

MAX_ANSWER = 32 * 2**20
"""Bytes of an answer, decompressed. The longest that are asked for, embeddings of a full batch,
have some 5 MiB; a server that sends more is broken, and would fill the memory."""
DEADLINE = 4.0
"""An attempt may last so many times its timeout, which alone limits the wait for the next piece:
a server that sends a byte now and then would else hold a run for days."""
_ERROR_PAGE = 16_000  # bytes of an answer that is an error anyway


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Holds the answer of a server: status, headers and the body, decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def beginning(self, size: int = 16_000) -> str:
        """Decodes the first bytes of the body, whatever they are."""
        return repair(self.body[:size].decode("utf-8", "replace"))

    def json(self) -> Any:
        """Decodes a JSON body.

        Raises:
          ValueError: it is not JSON (see `decode_json`).
        """
        charset = re.search(r"charset=\"?([\w-]+)", self.headers.get("content-type", ""))
        try:
            return decode_json(self.body.decode(charset[1]) if charset else self.body)
        except LookupError:  # a charset that does not exist
            return decode_json(self.body)


def public_url(url: str) -> str:
    """Strips user, password, query and fragment from `url`: fit for messages and files."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half a bracket
        return url.rpartition("@")[2].partition("?")[0].partition("#")[0]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def exchange(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float,
    deadline: float | None = None,
    limit: int = MAX_ANSWER,
) -> Answer:
    """Makes one attempt at a request, and returns the answer whatever its status.

    Args:
      client: sends the request.
      method: ``GET`` or ``POST``.
      url: http(s) address.
      content: the JSON body to send; None sends none.
      headers: sent along with those that ask for JSON.
      timeout: seconds to wait for a connection, and between two pieces of the answer.
      deadline: seconds for the whole answer; `DEADLINE` times the timeout by default.
      limit: most bytes of an answer, decompressed.

    Raises:
      SkillRLError: the address is not usable.
      httpx.TransportError: there was no answer.
      Unreadable: the answer is too large, too slow, or not decompressible.
    """
    sent = {"Accept": "application/json", "Accept-Encoding": "gzip", **(headers or {})}
    if content is not None:
        sent["Content-Type"] = "application/json"
    until = time.monotonic() + (deadline or DEADLINE * timeout)
    try:
        with client.stream(method, url, content=content, headers=sent, timeout=timeout) as answer:
            body, whole = bytearray(), answer.status_code < 300
            for piece in _pieces(answer, limit):
                body += piece
                if len(body) > (limit if whole else min(limit, _ERROR_PAGE)):
                    if not whole:
                        break  # enough of an error page
                    raise Unreadable(
                        f"the answer has more than {limit:,} bytes", answer.status_code, large=True
                    )
                if time.monotonic() > until:
                    spent = deadline or DEADLINE * timeout
                    raise Unreadable(f"the answer was not whole after {spent:g} s", None)
            return Answer(answer.status_code, answer.headers, bytes(body))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        shown = public_url(url)
        raise SkillRLError(f"{shown!r} is not a usable address ({error}); correct it.") from None


class Unreadable(Exception):
    """Raised where an answer began and cannot be read to its end.

    Attributes:
      status: its HTTP status; None where it may be worth another attempt to get one.
      large: it is longer than allowed.
      again: another attempt may help.
    """

    def __init__(
        self, problem: str, status: int | None, *, large: bool = False, again: bool = False
    ):
        super().__init__(problem)
        self.status, self.large, self.again = status, large, again


def _pieces(answer: httpx.Response, limit: int) -> Iterator[bytes]:
    """Yields the body in pieces, decompressed: never much more at once than is allowed."""
    coding = answer.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        yield from answer.iter_raw()
        return
    problem = f"the answer is compressed ({coding[:20]}) in a way that cannot be undone"
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(problem, answer.status_code, again=True)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out which of the two
    for piece in answer.iter_raw():
        try:
            yield inflate.decompress(piece, limit + 1)
        except zlib.error:
            raise Unreadable(problem, answer.status_code, again=True) from None
        if inflate.unconsumed_tail:
            yield b"\0" * (limit + 1)  # there is more: too much
    if not inflate.eof:
        raise Unreadable("the compressed answer is cut off", answer.status_code, again=True)
