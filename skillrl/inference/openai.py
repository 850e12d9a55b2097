"""A rollout engine behind any OpenAI-compatible server: text in, text out.

For collecting and evaluating only. Training needs the sampled token ids (DESIGN: tokens,
not text, cross room borders), which this interface does not give.
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
from skillrl.net.http import HTTPFailure, public_url
from skillrl.net.openai_server import OpenAIServer

_LOG = logging.getLogger(__name__)

_OF_THE_SERVER = (300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 407, 429)


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
      finished: not cut off by the token limit.
    """

    text: str
    finish_reason: str
    token_logprobs: tuple[float, ...] | None = None
    finished: bool = True


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
        self._server = OpenAIServer(
            api_base, model_id, api_key, key_variable="SKILLRL_POLICY_API_KEY", timeout=timeout,
            retries=retries, connections=concurrency, sleep=sleep,
        )  # fmt: skip
        self._logprobs = logprobs
        self._lock = threading.Lock()
        self._problems = 0
        self._pool = DaemonPool(concurrency, name="openai-engine")

    def __repr__(self) -> str:
        return f"OpenAIEngine({public_url(self._server.api_base)!r}, {self.model_id!r})"

    def __enter__(self) -> OpenAIEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads and connections; may be called twice."""
        self._pool.close()
        self._server.close()

    def generate(self, requests: Sequence[ChatRequest]) -> list[Completion]:
        """Answers, in the order of the requests.

        Raises:
          SkillRLError: a request finally failed; those not yet started are dropped.
        """
        found: list[Completion] = []
        for answer in self.answers(requests):
            if isinstance(answer, Unanswered):
                raise SkillRLError(str(answer)) from answer
            found.append(answer)
        return found

    def answers(self, requests: Sequence[ChatRequest]) -> list[Completion | Unanswered]:
        """Likewise, but where one request alone failed, the failure stands in its place.

        Raises:
          SkillRLError: the server is gone, or will have none of our requests.
        """
        futures = [self._pool.submit(self._one, request) for request in requests]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _one(self, request: ChatRequest) -> Completion | Unanswered:
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
        try:
            reply = self._server.chat(payload)
        except HTTPFailure as error:
            if error.refused or error.status in _OF_THE_SERVER:
                raise
            return Unanswered(str(error), rejected=error.of_the_request)
        except ValueError as error:
            problem = self._server.wrong("/chat/completions", f"not a chat completion: {error}")
            return Unanswered(problem)
        if reply.refusal or not reply.text.strip():
            self._note(reply.problem)
        return Completion(reply.text, reply.finish_reason, reply.token_logprobs, not reply.cut)

    def _note(self, problem: str) -> None:
        """Warns of answers without text, of the first, tenth, hundredth, ..."""
        with self._lock:
            self._problems += 1
            count = self._problems
        if str(count).strip("0") == "1":
            _LOG.warning(
                "%s: %d answer(s) without an action so far, the newest since %s",
                self.model_id, count, self._server.quote(problem),
            )  # fmt: skip
