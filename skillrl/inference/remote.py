"""The OpenAI-compatible server as a rollout engine, for `collect` and `evaluate`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Generated, Sampling
from skillrl.inference.openai import ChatRequest, OpenAIEngine


class RemoteEngine:
    """Answers `Generate` requests with a server's texts; gives no token ids.

    Attributes:
      version: always 0; the server's weights are not ours.
      slots: requests in flight at once.
    """

    version = 0

    def __init__(self, server: OpenAIEngine, *, slots: int, seed: int = 0):
        self._server, self.slots, self._seed = server, slots, seed

    def choose(self, waiting: Sequence[Generate]) -> list[int]:
        """The oldest requests."""
        return list(range(min(len(waiting), self.slots)))

    def generate(self, requests: Sequence[Generate], sampling: Sampling) -> list[Generated]:
        """Asks the server; a seed made from ours and the address goes along with each request.

        Raises:
          SkillRLError: `sampling` restricts tokens, or the server finally failed.
        """
        if sampling.top_k or sampling.top_p < 1.0:
            raise SkillRLError(
                f"top_k={sampling.top_k}, top_p={sampling.top_p}: the OpenAI-compatible engine "
                "passes on temperature alone; leave them at 0 and 1, or set them at the server"
            )
        asked = [
            ChatRequest(
                messages=[
                    {"role": "system", "content": request.text[0]},
                    {"role": "user", "content": request.text[1] + request.text[2]},
                ],
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                seed=zlib.crc32(repr((self._seed, request.address)).encode()) & 0x7FFFFFFF,
            )
            for request in requests
        ]
        return [
            Generated((), answer.token_logprobs or (), answer.finished, answer.text)
            for answer in self._server.generate(asked)
        ]
