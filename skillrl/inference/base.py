"""Defines the protocol of a rollout engine: prompts in, tokens and log-probabilities out."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.types import VersionSpan


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """Says how tokens are chosen.

    Attributes:
      temperature: 0 is greedy.
      top_k: keep the k most likely tokens; 0 keeps all.
      top_p: keep the smallest set of tokens with this much probability.
      max_tokens: longest response, end-of-turn token included.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        if not (
            self.temperature >= 0
            and self.top_k >= 0
            and 0 < self.top_p <= 1
            and self.max_tokens > 0
        ):
            raise SkillRLError(
                f"{self}: temperature and top_k must be 0 or more, top_p above 0 and at most 1, "
                "max_tokens at least 1"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Generate:
    """Asks for a continuation of ``prefix_ids + suffix_ids``.

    Attributes:
      prefix_ids: the part of the prompt that a group shares; computed once per policy version.
      suffix_ids: the step's own part.
      rng_address: where this draw is in the run (`skillrl.parallel.random_keys`); together with
        the seed it fixes the sampled tokens, whatever else is in the batch.
      text: (system, user start, user rest) for engines that take text.
    """

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    rng_address: tuple[int, ...]
    text: tuple[str, str, str] = ("", "", "")


@dataclasses.dataclass(frozen=True, slots=True)
class Generated:
    """Answers a `Generate`.

    Attributes:
      ids: sampled tokens, the stop token included.
      logprobs: each token's log-probability in the full softmax at temperature 1; empty if the
        engine does not know them.
      finished: whether a stop token was sampled before the limit.
      text: the response where the engine gives text instead of ids, else None.
      versions: which weights sampled which of the tokens, where a server says so.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    text: str | None = None
    versions: tuple[VersionSpan, ...] = ()


def request_seed(seed: int, rng_address: tuple[int, ...]) -> int:
    """Makes the seed of a request to a server from the run's seed and the draw's address."""
    return zlib.crc32(repr((seed, rng_address)).encode()) & 0x7FFFFFFF


class Unanswered(EnvironmentLost):
    """Says that the engine finally failed on one request, and may answer others.

    Its episode is recorded as errored; ``rejected`` says that the server refuses this request
    every time, so that it is no sign of danger for the other episodes.
    """


class Engine(Protocol):
    """Answers requests in any order, as many side by side as it has slots.

    Attributes:
      version: number of optimiser updates behind the policy that answers.
      slots: how many requests it works on side by side.
      tokens: how many were sampled so far, where it knows; progress lines show them.
    """

    version: int
    slots: int
    tokens: int

    def submit(self, waiting: Mapping[Any, Generate], sampling: Sampling) -> list[Any]:
        """Accepts those of `waiting` that there is a slot for, at least one if all are free.

        Args:
          waiting: requests by any key.
          sampling: how their tokens are chosen.

        Returns:
          The keys of the accepted requests.
        """

    def step(self) -> Mapping[Any, Generated | Unanswered]:
        """Works on the accepted requests; returns the answers that are ready, maybe none."""

    def reset(self) -> None:
        """Drops all accepted requests."""


def generate(engine: Engine, requests: Sequence[Generate], sampling: Sampling) -> list[Generated]:
    """Returns the answers to all of `requests`, in their order.

    Args:
      engine: one that has accepted nothing else.
      requests: what to answer.
      sampling: how tokens are chosen.

    Raises:
      SkillRLError: the engine failed on one of them.
    """
    waiting = dict(enumerate(requests))
    found: dict[int, Generated] = {}
    while len(found) < len(requests):
        for key in engine.submit(waiting, sampling):
            del waiting[key]
        for key, answer in engine.step().items():
            if isinstance(answer, Unanswered):
                raise SkillRLError(str(answer)) from answer
            found[key] = answer
    return [found[i] for i in range(len(requests))]
