"""A rollout engine behind any OpenAI-compatible server: text in, text out.

For collecting and evaluating only. Training needs the sampled token ids (DESIGN: tokens,
not text, cross room borders), which this interface does not give.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from skillrl.errors import SkillRLError
from skillrl.http import bearer, post_json, public_url
from skillrl.teacher.openai import find_key


@dataclasses.dataclass(frozen=True, slots=True)
class ChatRequest:
    """One prompt.

    Attributes:
      messages: chat turns with ``role`` and ``content``.
      max_tokens: longest answer in tokens.
      temperature: 0 is greedy.
      seed: whole number from the draw's address; None leaves it to the server.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    temperature: float = 1.0
    seed: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
      text: what the model said.
      finish_reason: ``stop``, ``length``, ...: as the server says, or "".
      token_logprobs: of each token, natural logarithm; None where the server gives none.
    """

    text: str
    finish_reason: str
    token_logprobs: tuple[float, ...] | None = None

    @property
    def finished(self) -> bool:
        """Not cut off by the token limit."""
        return self.finish_reason != "length"


class OpenAIEngine:
    """Sends prompts to ``POST {api_base}/chat/completions`` from a pool of threads.

    Args:
      api_base: base address, usually ending in ``/v1``.
      model_id: name of the model at the server.
      api_key: else ``SKILLRL_POLICY_API_KEY``, or ``OPENAI_API_KEY`` at OpenAI's own address.
      concurrency: requests in flight at once.
      timeout: seconds to wait for an answer.
      retries: attempts after the first.
      logprobs: ask for log-probabilities of the tokens.
      sleep: how to pause between attempts, in seconds.
    """

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        concurrency: int = 16,
        timeout: float = 120.0,
        retries: int = 4,
        logprobs: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not model_id or concurrency < 1:
            raise SkillRLError(
                f"OpenAIEngine: model_id={model_id!r}, concurrency={concurrency}; name the model "
                "and use at least one thread."
            )
        self.model_id = model_id
        self._url = api_base.rstrip("/") + "/chat/completions"
        self._key = find_key(api_base, api_key, "SKILLRL_POLICY_API_KEY")
        self._options = {"timeout": timeout, "retries": retries, "sleep": sleep}
        self._logprobs = logprobs
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._http = httpx.Client(limits=limits)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="openai-engine")

    def __repr__(self) -> str:
        return f"OpenAIEngine({public_url(self._url)!r}, {self.model_id!r})"

    def __enter__(self) -> OpenAIEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads and connections; may be called twice."""
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def generate(self, requests: Sequence[ChatRequest]) -> list[Completion]:
        """Answers, in the order of the requests.

        Raises:
          SkillRLError: a request finally failed; those not yet started are dropped.
        """
        futures = [self._pool.submit(self._one, request) for request in requests]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _one(self, request: ChatRequest) -> Completion:
        payload: dict[str, Any] = {
            "model": self.model_id,
            "messages": [dict(message) for message in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.seed is not None:
            payload["seed"] = request.seed
        if self._logprobs:
            payload["logprobs"] = True
        answer = post_json(
            self._url,
            payload,
            headers=bearer(self._key),
            client=self._http,
            **self._options,  # type: ignore[arg-type]
        )
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
            tokens = (choice.get("logprobs") or {}).get("content")
            logprobs = None if tokens is None else tuple(float(t["logprob"]) for t in tokens)
            return Completion(str(text), str(choice.get("finish_reason") or ""), logprobs)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise SkillRLError(
                f"{public_url(self._url)}: the answer is not a chat completion "
                f"({type(error).__name__}: {error}). Is it an OpenAI-compatible server? Check its "
                "address and version."
            ) from error
