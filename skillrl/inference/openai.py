"""Samples on any OpenAI-compatible server: text in, text out.

For collecting and evaluating only: training needs the sampled token ids, which this interface
does not give.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.inference.base import Unanswered
from skillrl.io.threads import DaemonPool
from skillrl.net.http import HTTPFailure
from skillrl.net.openai_client import OpenAIClient
from skillrl.net.openai_reply import ChatReply

_LOG = logging.getLogger(__name__)

_OF_THE_SERVER = (300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 407, 429)


@dataclasses.dataclass(frozen=True, slots=True)
class ChatRequest:
    """Holds a prompt and how to sample its answer.

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


class OpenAIEngine:
    """Sends prompts to ``POST {api_base}/chat/completions`` from a pool of threads."""

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        concurrency: int = 16,
        logprobs: bool = False,
        timeout: float = 120.0,
        retries: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens no connection and starts no thread yet.

        Args:
          api_base: base address of the server, usually ending in ``/v1``.
          model_id: name of the model there.
          api_key: the key to send; where it is empty the environment is asked for one.
          concurrency: most requests in flight at once.
          logprobs: whether to ask for log-probabilities of the tokens.
          timeout: seconds without a sign of an answer.
          retries: attempts after the first.
          sleep: how to pause between attempts, in seconds.

        Raises:
          SkillRLError: `concurrency` is below 1, or address or name of the model are missing.
        """
        if concurrency < 1:
            raise SkillRLError(f"OpenAIEngine: concurrency={concurrency}; use at least one thread.")
        self._client = OpenAIClient(
            api_base,
            model_id,
            api_key,
            use="policy",
            timeout=timeout,
            retries=retries,
            connections=concurrency,
            sleep=sleep,
        )
        self._logprobs = logprobs
        self._lock = threading.Lock()
        self._problems = 0
        self._pool = DaemonPool(concurrency, name="openai-engine")

    def __repr__(self) -> str:
        return f"OpenAIEngine({self._client!r})"

    def __enter__(self) -> OpenAIEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads and connections; may be called twice."""
        self._pool.close()
        self._client.close()

    def generate(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Answers requests, in their order.

        Raises:
          SkillRLError: a request finally failed; those not yet started are dropped.
        """
        found: list[ChatReply] = []
        for answer in self.answers(requests):
            if isinstance(answer, Unanswered):
                raise SkillRLError(str(answer)) from answer
            found.append(answer)
        return found

    def answers(self, requests: Sequence[ChatRequest]) -> list[ChatReply | Unanswered]:
        """Answers requests as `generate` does, but a request that alone failed keeps its place.

        Raises:
          SkillRLError: the server is gone, or will have none of our requests.
        """
        futures = [self._pool.submit(self._one, request) for request in requests]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _one(self, request: ChatRequest) -> ChatReply | Unanswered:
        payload: dict[str, Any] = {
            "model": self._client.model_id,
            "messages": [dict(message) for message in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.seed is not None:
            payload["seed"] = request.seed
        if self._logprobs:
            payload["logprobs"] = True
        try:
            reply = self._client.chat(payload)
        except HTTPFailure as error:
            if error.refused or error.status in _OF_THE_SERVER:
                raise
            return Unanswered(str(error), rejected=error.of_the_request)
        except ValueError as error:
            problem = self._client.wrong("/chat/completions", f"not a chat completion: {error}")
            return Unanswered(problem)
        if reply.refusal or not reply.text.strip():
            self._note(reply.problem)
        return reply

    def _note(self, problem: str) -> None:
        """Warns of answers without text: of the first, tenth, hundredth and so on."""
        with self._lock:
            self._problems += 1
            count = self._problems
        if str(count).strip("0") == "1":
            _LOG.warning(
                "%s: %d answer(s) without an action so far, the newest since %s",
                self._client.model_id, count, self._client.quote(problem),
            )  # fmt: skip
