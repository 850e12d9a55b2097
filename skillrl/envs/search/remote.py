"""Asks a ``/retrieve`` server."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence

import httpx

from skillrl.envs.search.documents import Hit, RetrievalError
from skillrl.envs.search.retrieve import read_reply, request
from skillrl.errors import SkillRLError
from skillrl.net.clients import open_client
from skillrl.net.http import HTTPFailure, post_json

_BACKOFF, _LONGEST_PAUSE = 0.5, 10.0  # seconds


class RemoteRetriever:
    """Asks one server in one dialect.

    Once it has answered well, what it answers wrongly or not at all fails that search alone. A
    server that never has is taken for a mistake of set-up.

    Args:
      url: of the server; ``/retrieve`` is added where the path lacks it.
      dialect: ``single`` or ``batched``, see `skillrl.envs.search.retrieve`.
      timeout: seconds.
      retries: after the first try.
      client: shared between retrievers.
      sleep: how to pause between tries, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: str,
        timeout: float = 60.0,
        retries: int = 9,
        client: httpx.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.url = url.rstrip("/")
        self.url += "" if self.url.endswith("/retrieve") else "/retrieve"
        self._dialect = dialect
        self._timeout = timeout
        self._retries = retries
        self._client = client or open_client(self.url, connections=256)
        self._sleep = sleep
        self._answered = False

    def search(self, query: str, top_k: int) -> list[Hit]:
        """Returns the server's hits, at most `top_k`; none for an empty query, which is not sent.

        Raises:
          RetrievalError: the server failed, or answered something else.
          SkillRLError: it has never answered.
        """
        if not query.strip():
            return []
        try:
            hits = read_reply(
                post_json(
                    self.url,
                    request(query, top_k, dialect=self._dialect),
                    timeout=self._timeout,
                    retries=self._retries,
                    backoff=_BACKOFF,
                    max_wait=_LONGEST_PAUSE,
                    client=self._client,
                    sleep=self._sleep,
                )
            )
        except (HTTPFailure, RetrievalError) as error:
            long = isinstance(error, HTTPFailure) and error.too_long  # of this query alone
            if not (self._answered or long):
                raise SkillRLError(
                    f"{error} It is one of env.search.urls and is asked in the dialect "
                    f"{self._dialect!r}: check both (env.search.dialect=single or batched)."
                ) from error
            raise RetrievalError(str(error)) from error
        self._answered = True
        return hits[:top_k]


class RoundRobin:
    """Deals retrievers out in turn, one to each environment (as SkyRL does)."""

    def __init__(self, retrievers: Sequence[RemoteRetriever]):
        self._turn = itertools.cycle(retrievers)
        self._lock = threading.Lock()

    def take(self) -> RemoteRetriever:
        """Returns the next one."""
        with self._lock:
            return next(self._turn)
