"""What a rollout engine is: prompts in, sampled tokens and their log-probabilities out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from skillrl.errors import EnvironmentLost, SkillRLError


@dataclasses.dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

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
    """A request: continue ``prefix_ids + suffix_ids``.

    Attributes:
      prefix_ids: shared part of the prompt; computed once per policy version.
      suffix_ids: the step's own part.
      address: where this draw is in the run (`skillrl.parallel.addresses`); together
        with the seed it fixes the sampled tokens, whoever else is in the batch.
      text: (system, user start, user rest) for engines that take text.
    """

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    address: tuple[int, ...]
    text: tuple[str, str, str] = ("", "", "")


@dataclasses.dataclass(frozen=True, slots=True)
class Generated:
    """An answer.

    Attributes:
      ids: sampled tokens, the stop token included.
      logprobs: of each token, full softmax at temperature 1; empty if unknown.
      finished: a stop token was sampled before the limit.
      text: the response where the engine gives text instead of ids, else None.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    text: str | None = None


class Unanswered(EnvironmentLost):
    """The engine finally failed on one request, and may answer others.

    Its episode is recorded as errored; ``rejected`` says that the server refuses this request
    every time, so that it is no sign of danger for the other episodes.
    """


class Engine(Protocol):
    """A rollout engine: requests are taken as there is room, and answered as they end.

    Attributes:
      version: of the policy that answers (optimiser updates behind it).
      slots: how many requests it works on side by side.
      tokens: sampled so far, where it knows; for people to see that something goes on.
    """

    version: int
    slots: int
    tokens: int

    def take(self, waiting: Mapping[Any, Generate], sampling: Sampling) -> list[Any]:
        """Starts on those of `waiting` that it has room for; their keys.

        At least one, if nothing is in hand.
        """

    def turn(self) -> Mapping[Any, Generated | Unanswered]:
        """Works on requests in hand; the answers by key, which may be none for now."""

    def abandon(self) -> None:
        """Forgets what is in hand."""


def generate(engine: Engine, requests: Sequence[Generate], sampling: Sampling) -> list[Generated]:
    """Answers all of `requests`, in order, with an engine that has nothing else in hand.

    Raises:
      SkillRLError: the engine failed on one of them.
    """
    waiting = dict(enumerate(requests))
    found: dict[int, Generated] = {}
    while len(found) < len(requests):
        for key in engine.take(waiting, sampling):
            del waiting[key]
        for key, answer in engine.turn().items():
            if isinstance(answer, Unanswered):
                raise SkillRLError(str(answer)) from answer
            found[key] = answer
    return [found[i] for i in range(len(requests))]


def ladder(longest: int, *, smallest: int = 32, growth: float = 1.25) -> tuple[int, ...]:
    """Bucket sizes from `smallest` up to `longest`, each at most `growth` times the last.

    Where `growth` leaves room for it they are multiples of 8, and from 256 on of 64, but for the
    last: GPUs multiply by tiles, and what does not fill one is copied into something that does.
    """
    rungs = [min(smallest, longest)]
    while rungs[-1] < longest:
        step = max(int(rungs[-1] * growth), rungs[-1] + 1)
        unit = next((unit for unit in (64, 8) if step >= 4 * unit), 1)
        if step // unit * unit > rungs[-1]:
            step = step // unit * unit
        rungs.append(min(step, longest))
    return tuple(rungs)


def apart(rungs: Sequence[int], factor: float = 2.0) -> tuple[int, ...]:
    """The largest rung, and of the others those that are each at least `factor` times apart."""
    kept = [rungs[-1]]
    for rung in reversed(rungs):
        if rung * factor <= kept[-1]:
            kept.append(rung)
    return tuple(kept[::-1])


def bucket_of(length: int, rungs: Sequence[int], what: str) -> int:
    """The smallest rung that holds `length`; depends on nothing else.

    Args:
      length: in tokens.
      rungs: bucket sizes, rising.
      what: ``prefix``, ``suffix`` or ``response``, for the message.

    Raises:
      SkillRLError: longer than the largest rung.
    """
    for rung in rungs:
        if length <= rung:
            return rung
    limit, rungs_at = "rl.max_prompt_length", f"rollout.{what}_buckets"
    if what == "response":
        limit, rungs_at = "rl.max_response_length", "train_batch.response_buckets"
    elif what == "suffix":
        rungs_at += " and rollout.cache_buckets"
    raise SkillRLError(
        f"a {what} of {length} tokens does not fit the largest bucket of {rungs[-1]}: raise "
        f"{limit}, or {rungs_at} if you set them"
    )
