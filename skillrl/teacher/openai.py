"""Asks any OpenAI-compatible server (hosted, vLLM, llama.cpp, ...) as teacher and embedder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skillrl.net.http import HTTPFailure, public_url
from skillrl.net.openai_client import OpenAIClient
from skillrl.teacher.base import Message, TeacherError, Unusable
from skillrl.teacher.cache import AnswerCache
from skillrl.teacher.vectors import names_batch, read_vectors, stored_vector, unit_rows

_LOG = logging.getLogger(__name__)

_SHORTEST = 200  # characters of a text that is not cut any further for an embedder
_LIMITS = ("max_tokens", "max_completion_tokens")


class _CachedClient:
    """Holds what teacher and embedder share: a client, answers kept on disk, and their errors.

    Attributes:
      use: what the server is for, as `OpenAIClient` names it.
      client: the server that is asked, and its model.
      model_id: name of that model.
    """

    simulated = False
    use = ""

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        timeout: float = 300.0,
        retries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens no connection yet.

        Args:
          api_base: base address of the server, usually ending in ``/v1``.
          model_id: name of the model there.
          api_key: the key to send; where it is empty the environment is asked for one.
          cache_dir: folder of the answers that are kept; None keeps none.
          timeout: seconds without a sign of an answer.
          retries: attempts after the first.
          sleep: how to pause between attempts, in seconds.

        Raises:
          SkillRLError: the address or the name of the model is missing.
        """
        self.client = OpenAIClient(
            api_base,
            model_id,
            api_key,
            use=self.use,
            timeout=timeout,
            retries=retries,
            sleep=sleep,
        )
        self.model_id = model_id
        self._cache = AnswerCache(cache_dir)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.client!r})"

    @property
    def requests_sent(self) -> int:
        """Number of requests that no stored answer saved."""
        return self.client.requests_sent

    def close(self) -> None:
        """Closes the connections."""
        self.client.close()

    def _failed(self, error: HTTPFailure) -> TeacherError:
        """Makes the error to raise where a request got no usable answer."""
        return TeacherError(
            f"{self.model_id}: {error}",
            question=error.of_the_request,
            too_long=error.too_long,
        )

    def _wrong(self, path: str, error: ValueError) -> TeacherError:
        """Makes the error to raise where an answer came and cannot be read."""
        return TeacherError(self.client.wrong(path, str(error)), question=True)

    def _identity(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Makes what an answer is kept under: the address and the request, without token limits.

        A limit is left out because only whole answers are kept, and to those it made no difference.
        """
        asked = {key: value for key, value in payload.items() if key not in _LIMITS}
        return {"url": public_url(self.client.api_base) + path, **asked}


class OpenAITeacher(_CachedClient):
    """Asks a language model behind ``POST {api_base}/chat/completions``.

    Every whole answer is kept in `cache_dir` by the sha256 of its request, so a resumed run
    asks nothing twice; `forget` drops one that could not be used.
    """

    use = "teacher"

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        options: Mapping[str, Any] | None = None,
        **client: Any,
    ) -> None:
        """Opens no connection yet.

        Args:
          api_base: base address of the server, usually ending in ``/v1``.
          model_id: name of the model there.
          api_key: the key to send; where it is empty the environment is asked for one.
          options: further request fields as the server wants them, e.g.
            ``{"temperature": 0, "max_tokens": 4096}``.
          **client: ``cache_dir``, the folder of the answers that are kept, ``timeout`` in seconds,
            ``retries`` after the first attempt, and ``sleep``, how to pause between them.

        Raises:
          SkillRLError: the address or the name of the model is missing.
        """
        super().__init__(api_base, model_id, api_key, **client)
        self._options = dict(options or {})

    def complete(self, messages: Sequence[Message], *, purpose: str) -> str:
        """Answers a chat; see `Teacher.complete`."""
        path = "/chat/completions"
        payload = self._payload(messages)
        request = self._identity(path, payload)
        stored = self._cache.get(request)
        if isinstance(stored, str) and stored:
            return stored
        try:
            reply = self.client.chat(payload)
        except HTTPFailure as error:
            raise self._failed(error) from error
        except ValueError as error:
            raise self._wrong(path, error) from error
        if reply.problem:
            raise Unusable(self.client.quote(reply.problem))
        self._cache.put(request, reply.text)
        return reply.text

    def forget(self, messages: Sequence[Message]) -> None:
        """Drops the stored answer to `messages`, so that they are asked again next time."""
        self._cache.forget(self._identity("/chat/completions", self._payload(messages)))

    def _payload(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Makes the body of the request that asks `messages`."""
        chat = [dict(message) for message in messages]
        return {"model": self.model_id, "messages": chat, **self._options}


class OpenAIEmbedder(_CachedClient):
    """Asks an embedding model behind ``POST {api_base}/embeddings``; keeps vectors per text."""

    use = "embedding"

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        batch: int = 64,
        **client: Any,
    ) -> None:
        """Opens no connection yet.

        Args:
          api_base: base address of the server, usually ending in ``/v1``.
          model_id: name of the model there.
          api_key: the key to send; where it is empty the environment is asked for one.
          batch: most texts of one request. A server that takes fewer is asked for half as many
            until it answers; that is remembered.
          **client: ``cache_dir``, the folder of the answers that are kept, ``timeout`` in seconds,
            ``retries`` after the first attempt, and ``sleep``, how to pause between them.

        Raises:
          SkillRLError: the address or the name of the model is missing.
        """
        super().__init__(api_base, model_id, api_key, **client)
        self._batch = batch

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts as float32 [n, d], rows of length 1; see `Embedder.embed`."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        path = "/embeddings"
        known: dict[str, list[float]] = {}
        for text in dict.fromkeys(texts):
            stored = stored_vector(self._cache.get(self._request(path, text)))
            if stored is not None:
                known[text] = stored
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        while missing:
            part, vectors = self._ask(path, missing)
            sizes = {len(vector) for vector in (*known.values(), *vectors)}
            if len(sizes) > 1:
                raise TeacherError(
                    f"{self.model_id}: embeddings of {min(sizes)} and of {max(sizes)} numbers. "
                    "Was another model served under this name before? Name it otherwise "
                    "(model.embedding_model_id), or use another run directory."
                )
            for text, vector in zip(part, vectors, strict=True):
                self._cache.put(self._request(path, text), vector)
                known[text] = vector
            missing = missing[len(part) :]
        return unit_rows([known[text] for text in texts])

    def _request(self, path: str, text: str) -> dict[str, Any]:
        """Makes what the vector of `text` is kept under."""
        return self._identity(path, {"model": self.model_id, "input": text})

    def _ask(self, path: str, texts: list[str]) -> tuple[list[str], list[list[float]]]:
        """Embeds the first of `texts`, as many as the server takes at once.

        Returns:
          These texts, and a vector for each.

        Raises:
          TeacherError: the server answers with no vectors, even for one text.
        """
        part = sent = texts[: self._batch]
        while True:
            try:
                answer = self.client.ask(path, {"model": self.model_id, "input": sent})
                return part, read_vectors(answer, part)
            except ValueError as error:
                raise self._wrong(path, error) from error
            except HTTPFailure as error:
                if len(part) == 1 and error.too_long and len(sent[0]) > _SHORTEST:
                    sent = [sent[0][: len(sent[0]) // 2]]
                    _LOG.warning(
                        "%s: a text of %d characters is too long for it; its first %d are compared",
                        self.model_id, len(part[0]), len(sent[0]),
                    )  # fmt: skip
                    continue
                smaller = error.too_large or error.too_long
                if len(part) == 1 or not (smaller or names_batch(error.status, error.body)):
                    raise self._failed(error) from error
                before = len(part)
                self._batch = (len(part) + 1) // 2
                part = sent = texts[: self._batch]
                _LOG.warning(
                    "%s takes fewer than %d texts at once; asking for %d "
                    "(model.embedding_batch_size sets it)",
                    self.model_id, before, self._batch,
                )  # fmt: skip
