"""Uses an OpenAI-compatible server as a rollout engine, for `collect` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Generated, Sampling, Unanswered, request_seed
from skillrl.inference.openai import ChatRequest, OpenAIEngine


class RemoteEngine:
    """Answers requests with a server's texts; gives no token ids.

    Attributes:
      version: always 0, since the server's weights are not ours.
      slots: how many requests are in flight at once.
      tokens: always 0, since a server's answers are texts.
    """

    version = 0

    def __init__(self, server: OpenAIEngine, *, slots: int, seed: int = 0):
        self._server, self.slots, self._seed = server, slots, seed
        self.tokens = 0
        self._accepted: dict[Any, tuple[Generate, Sampling]] = {}

    def submit(self, waiting: Mapping[Any, Generate], sampling: Sampling) -> list[Any]:
        """Accepts the oldest requests, as many as there are free slots.

        Args:
          waiting: requests by any key.
          sampling: how their tokens are chosen.

        Returns:
          The keys of the accepted requests.

        Raises:
          SkillRLError: `sampling` restricts tokens.
        """
        if sampling.top_k or sampling.top_p < 1.0:
            raise SkillRLError(
                f"top_k={sampling.top_k}, top_p={sampling.top_p}: the OpenAI-compatible engine "
                "passes on temperature alone; leave them at 0 and 1, or set them at the server"
            )
        taken = list(waiting)[: self.slots - len(self._accepted)]
        self._accepted |= {key: (waiting[key], sampling) for key in taken}
        return taken

    def step(self) -> dict[Any, Generated | Unanswered]:
        """Asks the server for all answers; a request's seed is made of ours and its address.

        Raises:
          SkillRLError: the server is gone, or will have none of our requests.
        """
        asked = [
            ChatRequest(
                messages=[
                    {"role": "system", "content": request.text[0]},
                    {"role": "user", "content": request.text[1] + request.text[2]},
                ],
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                seed=request_seed(self._seed, request.rng_address),
            )
            for request, sampling in self._accepted.values()
        ]
        answers = self._server.answers(asked)
        keys = list(self._accepted)
        self._accepted.clear()
        return {
            key: answer
            if isinstance(answer, Unanswered)
            else Generated((), answer.token_logprobs or (), answer.finished, answer.text)
            for key, answer in zip(keys, answers, strict=True)
        }

    def reset(self) -> None:
        """Drops all accepted requests."""
        self._accepted.clear()
