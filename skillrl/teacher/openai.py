"""Teacher and embedder behind any OpenAI-compatible server (hosted, vLLM, llama.cpp, ...)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from skillrl.errors import SkillRLError
from skillrl.http import HTTPFailure, bearer, post_json, public_url
from skillrl.teacher.base import Message, TeacherError
from skillrl.teacher.cache import AnswerCache

_OPENAI_HOST = "api.openai.com"


def find_key(api_base: str, api_key: str, variable: str) -> str:
    """`api_key`, else the environment's `variable`, else ``OPENAI_API_KEY``.

    The last only where the address is OpenAI's own: no other server may see that key.
    """
    key = api_key or os.environ.get(variable, "")
    if not key and urlsplit(api_base).hostname == _OPENAI_HOST:
        key = os.environ.get("OPENAI_API_KEY", "")
    return key


class _Client:
    """What teacher and embedder share: address, key (never shown), cache, retries."""

    simulated = False
    key_variable = "SKILLRL_TEACHER_API_KEY"

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
        if not api_base or not model_id:
            raise SkillRLError(
                f"{type(self).__name__} needs an address and a model name, got "
                f"api_base={public_url(api_base)!r}, model_id={model_id!r}; "
                "set both in the teacher section of the config."
            )
        self.api_base = api_base.rstrip("/")
        self.model_id = model_id
        self._key = find_key(api_base, api_key, self.key_variable)
        self._cache = AnswerCache(cache_dir)
        self._timeout, self._retries, self._sleep = timeout, retries, sleep
        self._http = httpx.Client()
        self._lock = threading.Lock()
        self.requests_sent = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({public_url(self.api_base)!r}, {self.model_id!r})"

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _post(self, path: str, payload: Mapping[str, Any]) -> Any:
        with self._lock:
            self.requests_sent += 1
        try:
            return post_json(
                self.api_base + path,
                dict(payload),
                headers=bearer(self._key),
                timeout=self._timeout,
                retries=self._retries,
                client=self._http,
                sleep=self._sleep,
            )
        except HTTPFailure as error:
            raise TeacherError(f"{self.model_id}: {error}") from error

    def _wrong(self, path: str, wanted: str) -> TeacherError:
        return TeacherError(
            f"{self.model_id}: the answer of {public_url(self.api_base)}{path} has no {wanted}; "
            "is it an OpenAI-compatible server? Check its address and version."
        )

    def _identity(self, path: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {"url": public_url(self.api_base) + path, **payload}


class OpenAITeacher(_Client):
    """A language model behind ``POST {api_base}/chat/completions``.

    Every answer is kept in `cache_dir` by the sha256 of its request, so a resumed run
    asks nothing twice. The key comes from `api_key`, else from the environment
    (``SKILLRL_TEACHER_API_KEY``, or ``OPENAI_API_KEY`` at OpenAI's own address).

    Args:
      options: further request fields as the server wants them, e.g.
        ``{"temperature": 0, "max_tokens": 4096}`` or ``{"max_completion_tokens": 4096}``.
      client: `cache_dir`, `timeout` (seconds), `retries` (after the first attempt), `sleep`.
    """

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        options: Mapping[str, Any] | None = None,
        **client: Any,
    ) -> None:
        super().__init__(api_base, model_id, api_key, **client)
        self._options = dict(options or {})

    def complete(self, messages: Sequence[Message], *, purpose: str) -> str:
        """The text of the answer; see `Teacher.complete`. Empty where the model said nothing."""
        path = "/chat/completions"
        payload = {
            "model": self.model_id,
            "messages": [dict(message) for message in messages],
            **self._options,
        }
        request = self._identity(path, payload)
        stored = self._cache.get(request)
        if stored is not None:
            return str(stored)
        answer = self._post(path, payload)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise self._wrong(path, "choices[0].message.content") from error
        if text is not None and not isinstance(text, str):
            raise self._wrong(path, "text in choices[0].message.content")
        if text:  # an empty answer is asked again next time
            self._cache.put(request, text)
        return text or ""


class OpenAIEmbedder(_Client):
    """An embedding model behind ``POST {api_base}/embeddings``; kept on disk per text."""

    key_variable = "SKILLRL_EMBEDDING_API_KEY"

    def __init__(
        self, api_base: str, model_id: str, api_key: str = "", *, batch: int = 64, **client: Any
    ) -> None:
        super().__init__(api_base, model_id, api_key, **client)
        self._batch = batch

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, d], rows of length 1; see `Embedder.embed`."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        path = "/embeddings"
        known: dict[str, list[float]] = {}
        for text in dict.fromkeys(texts):
            stored = self._cache.get(self._request(path, text))
            if stored is not None:
                known[text] = stored
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(missing), self._batch):
            part = missing[start : start + self._batch]
            for text, vector in zip(part, self._ask(path, part), strict=True):
                self._cache.put(self._request(path, text), vector)
                known[text] = vector
        if len({len(vector) for vector in known.values()}) > 1:
            raise self._wrong(path, "vectors of one length")
        rows = np.asarray([known[text] for text in texts], np.float64)
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(
            np.float32
        )

    def _request(self, path: str, text: str) -> dict[str, Any]:
        return self._identity(path, {"model": self.model_id, "input": text})

    def _ask(self, path: str, texts: list[str]) -> list[list[float]]:
        answer = self._post(path, {"model": self.model_id, "input": texts})
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = [[float(value) for value in row["embedding"]] for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise self._wrong(path, "data[].embedding with numbers") from error
        if (
            len(vectors) != len(texts)
            or not all(vectors)
            or not all(np.isfinite(vector).all() for vector in vectors)
        ):
            raise self._wrong(path, f"{len(texts)} finite embeddings")
        return vectors
