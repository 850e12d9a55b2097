"""Says what a rollout server is asked for, and checks what it answers.

A dialect knows the routes and fields of one kind of server; `skillrl.inference.served` knows what
to do with them. Every sampling field is sent, always: a server fills gaps from the model's own
``generation_config.json``, and would sample otherwise than the log-probabilities say.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from skillrl.errors import SkillRLError
from skillrl.inference.base import Sampling
from skillrl.io.json_text import is_real
from skillrl.io.numbers import is_whole_number
from skillrl.io.text import short_repr
from skillrl.net.service import Gone, Service, Told
from skillrl.types import VersionSpan

_LOG = logging.getLogger(__name__)

LOADING = 1800.0
"""Seconds without an answer while a server reads weights: hundreds of gigabytes from a network."""

VISIBLE = 120.0
"""Seconds until a directory that was written here is there for a server on another machine."""


class Astray(SkillRLError):
    """Raised where a server answers, but not with the policy that it was given."""


class Refused(SkillRLError):
    """Raised where a server refuses one request every time, and may answer others."""


class Malformed(SkillRLError):
    """Raised where an answer is not what was asked for."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Asks for one response.

    Attributes:
      ids: the prompt.
      sampling: how tokens are chosen.
      seed: of the draws.
      model: what the server calls the policy or adapter.
      salt: names the policy version, so that nothing cached for another one is used.
    """

    ids: tuple[int, ...]
    sampling: Sampling
    seed: int
    model: str
    salt: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Holds one response.

    Attributes:
      ids: sampled tokens, the stop token included.
      logprobs: one of each, raw or processed as the server has them.
      finished: whether the last one is a stop token.
      versions: which weights sampled which of them; empty where the server does not say.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    versions: tuple[VersionSpan, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """Says what a server offers.

    Attributes:
      weights: "" if it can be given whole policies, else why not and what would help.
      adapters: "" if it can be given LoRA adapters, else why not and what would help.
      notes: what is worth knowing and stops nothing.
    """

    weights: str = ""
    adapters: str = ""
    notes: tuple[str, ...] = ()


class Dialect(Protocol):
    """Speaks with one kind of server. All methods raise `Gone` where it does not answer.

    Attributes:
      name: of the kind, for messages.
      service: the server.
    """

    name: str
    service: Service

    def look(self) -> Offers:
        """Asks what the server offers, and makes sure that it is not paused.

        Raises:
          SkillRLError: it is another kind of server, or does not have our model.
        """

    def generate(self, ask: Ask) -> Reply:
        """Samples one response.

        Raises:
          Astray: it does not have this policy.
          Refused: it will never answer this.
          Malformed: the answer cannot be used.
          SkillRLError: it answers nothing to us.
        """

    def load_weights(self, path: str, version: str) -> None:
        """Puts the policy of a Hugging Face directory in the place of the server's.

        Args:
          path: the directory, whole.
          version: what the server shall call these weights.

        Raises:
          SkillRLError: it could not.
        """

    def load_adapter(self, path: str, name: str) -> None:
        """Adds a LoRA adapter under a new name.

        Raises:
          SkillRLError: it could not.
        """

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter; one that is not there is no error."""

    def version(self) -> str | None:
        """Returns what the server calls its weights; None where it does not say."""

    def has_model(self, name: str) -> bool | None:
        """Tells whether the server has a model or an adapter; None where it does not say."""

    def tokenise(self, text: str) -> list[int] | None:
        """Returns the server's token ids of a text; None where it does not say."""


def sampling_fields(sampling: Sampling, stops: Sequence[int]) -> dict[str, Any]:
    """Lists the fields that vLLM and SGLang call alike, all that a model's own config may set.

    The end of a response is decided by our stop tokens alone (``ignore_eos``).
    """
    return {
        "n": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": [],
        "stop_token_ids": list(stops),
        "ignore_eos": True,
    }


def check_well(told: Told, what: str) -> Told:
    """Returns an answer, good or not, of a server that is neither in trouble nor busy.

    Args:
      told: what was answered.
      what: what was asked, for messages.

    Raises:
      Gone: it is; the same may be asked again.
    """
    if told.status in (408, 425, 429) or told.status >= 500:
        raise Gone(f"{what}: status {told.status}: {told.text}")
    return told


def check_busy(told: Told, what: str) -> Told:
    """Returns an answer of a server that is not busy; its own errors (500) are answers here.

    Raises:
      Gone: it is busy; the same may be asked again.
    """
    return told if told.status == 500 else check_well(told, what)


def load_patiently(
    post: Callable[[], Told],
    *,
    what: str,
    service: Service,
    sleep: Callable[[float], None],
    loaded: Callable[[Told], bool] = lambda told: told.good,
    again: Callable[[Told], bool] = lambda told: True,
    advice: str = "its log says more",
) -> None:
    """Lets a server read what was written here, and waits where its machine does not see it yet.

    Args:
      post: asks it once.
      what: is read, a path.
      service: the server.
      sleep: how to pause, in seconds.
      loaded: tells by an answer whether it has been read.
      again: tells by an answer whether to ask again.
      advice: what else to look at if it is not read, a clause.

    Raises:
      Gone: the server is busy.
      SkillRLError: it is not read, after `VISIBLE` seconds if `again` says so.
    """
    until, pause = time.monotonic() + VISIBLE, 0.25
    while not loaded(told := check_busy(post(), f"{service.shown}: loading {what}")):
        said = service.quote(str(told["message"])) if told["message"] else told.text
        if not again(told) or time.monotonic() > until:
            raise SkillRLError(
                f"{service.shown} does not load {what}: status {told.status}: {said}. Its machine "
                f"must see that path (rollout.weights_dir); {advice}."
            )
        _LOG.warning("%s does not load %s yet: %s", service.shown, what, said)
        sleep(pause)
        pause = min(10.0, 2 * pause)


def check_status(told: Told, what: str) -> Told:
    """Returns a good answer to a request for tokens.

    Args:
      told: what was answered.
      what: what was asked, for messages.

    Raises:
      Gone: the server is in trouble, or busy.
      Astray: it knows no such model.
      Refused: it will never answer this request.
      SkillRLError: it answers nothing to us.
    """
    if told.good:
        return told
    check_well(told, what)
    said = f"{what}: status {told.status}: {told.text}"
    if told.status == 404:
        raise Astray(said)
    if told.status in (400, 413, 422):
        raise Refused(said)
    remedy = "Check rollout.api_base and the API key (SKILLRL_POLICY_API_KEY)."
    raise SkillRLError(f"{said}. {remedy}")


def make_reply(
    ids: Any,
    logprobs: Any,
    *,
    reason: Any,
    ask: Ask,
    stops: Sequence[int],
    versions: Any = None,
) -> Reply:
    """Checks what a server sampled.

    Args:
      ids: should be token ids.
      logprobs: should be as many numbers.
      reason: why the response ended, in the server's word.
      ask: what was asked.
      stops: the tokens that end a response.
      versions: should be spans of weight versions, or None.

    Raises:
      Gone: the server has aborted the response.
      Malformed: it cannot be trained on.
    """
    if reason == "abort":
        raise Gone("the server aborted the response")
    if not isinstance(ids, list) or not all(map(is_whole_number, ids)) or not ids:
        raise Malformed(f"the answer has no token ids, but {short_repr(ids)}")
    if not isinstance(logprobs, list) or len(logprobs) != len(ids):
        raise Malformed(
            f"the answer has not one log-probability for each of {len(ids)} tokens, but "
            f"{short_repr(logprobs)}"
        )
    if not all(is_real(number) and number <= 1e-4 for number in logprobs):
        raise Malformed(f"the answer has log-probabilities that are none: {short_repr(logprobs)}")
    finished = ids[-1] in stops
    if reason == "stop" and not finished:
        raise Malformed(
            f"the response ended at token {ids[-1]}, which is none of our stop tokens "
            f"{list(stops)}: the server leaves out the last token, or ends at others"
        )
    if len(ids) > ask.sampling.max_tokens:
        raise Malformed(f"the response has {len(ids)} tokens, more than were asked for")
    return Reply(
        ids=tuple(ids),
        logprobs=tuple(min(0.0, float(number)) for number in logprobs),
        finished=finished,
        versions=_spans(versions, len(ids)),
    )


def _spans(versions: Any, count: int) -> tuple[VersionSpan, ...]:
    """Checks that spans follow each other and cover all tokens."""
    if versions is None:
        return ()
    try:
        found = tuple(
            VersionSpan(str(one["version"]), int(one["start"]), int(one["end"])) for one in versions
        )
    except (TypeError, KeyError, ValueError):
        raise Malformed(f"weight_versions is {short_repr(versions)}") from None
    ends = [0, *(span.end for span in found)]
    if [span.start for span in found] != ends[:-1] or ends[-1] != count:
        raise Malformed(f"weight_versions covers not all of {count} tokens: {short_repr(versions)}")
    return found
