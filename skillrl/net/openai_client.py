"""Asks OpenAI-compatible servers: address, key, options, retries, and how to read.

Teacher, embedder and policy differ in what they ask; what a server may answer is the same.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from skillrl.errors import SkillRLError
from skillrl.io.text import printable
from skillrl.net.clients import host_of, open_client
from skillrl.net.http import Fault, HTTPFailure, bearer, post_json, public_url
from skillrl.net.openai_reply import ChatReply, read_reply
from skillrl.net.redact import Redactor

_LOG = logging.getLogger(__name__)

_OPENAI_HOST = "api.openai.com"
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|does(n't| not) support|not (permitted|allowed|accepted|available)"
    r"|unknown|unrecogni[sz]ed|unexpected|extra[ _](inputs|fields|forbidden)|forbidden|deprecated"
    r"|only the default|max_completion_tokens",
    re.IGNORECASE,
)
_WITHOUT = {
    "temperature": "it samples at a temperature of its own, so its answers are not those of "
    "temperature {value:g}",
    "seed": "the same command may be answered otherwise another time",
    "logprobs": "there are no log-probabilities of its tokens",
}
"""Options that a request may do without, and what that changes."""


def key_variable(use: str) -> str:
    """Names the environment variable that holds the API key of a use of a server."""
    return f"SKILLRL_{use.upper()}_API_KEY"


def find_key(api_base: str, api_key: str, use: str) -> str:
    """Finds the API key for a server: `api_key`, else one of the environment, else "".

    ``OPENAI_API_KEY`` is taken only where the address is OpenAI's own: no other server may see it.

    Args:
      api_base: base address of the server.
      api_key: the key of the settings, or "".
      use: ``policy``, ``teacher`` or ``embedding``; see `key_variable`.
    """
    key = api_key or os.environ.get(key_variable(use), "")
    if not key and host_of(api_base) == _OPENAI_HOST:
        key = os.environ.get("OPENAI_API_KEY", "")
    return key


class OpenAIClient:
    """Asks one model behind one address, safe to use from several threads.

    Some models refuse options that others need: OpenAI's o-series wants
    ``max_completion_tokens`` and its own temperature, Mistral's server no ``seed``. A request
    that is refused for that is sent again with the option renamed or left out, as are all later
    ones; the log says so once.

    Attributes:
      api_base: base address, without a slash at its end.
      model_id: name of the model at the server.
      requests_sent: how many requests were made; attempts of one count once.
    """

    def __init__(
        self,
        api_base: str,
        model_id: str,
        api_key: str = "",
        *,
        use: str,
        timeout: float = 120.0,
        retries: int = 4,
        connections: int = 100,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Opens no connection yet.

        Args:
          api_base: base address, usually ending in ``/v1``.
          model_id: name of the model at the server.
          api_key: the key to send; where it is empty, `find_key` looks for one.
          use: what the server is for: ``policy``, ``teacher`` or ``embedding``.
          timeout: seconds without a sign of the answer.
          retries: attempts after the first.
          connections: most connections at once.
          sleep: how to pause between attempts, in seconds.

        Raises:
          SkillRLError: the address or the name of the model is missing.
        """
        if not api_base or not model_id:
            raise SkillRLError(
                f"the {use} server needs an address and a model name, got "
                f"api_base={public_url(api_base)!r}, model_id={model_id!r}; set "
                f"model.{use}_api_base and model.{use}_model_id."
            )
        self.api_base, self.model_id = api_base.rstrip("/"), model_id
        self._key = find_key(api_base, api_key, use)
        self._blank = Redactor([self._key.strip()])
        self._timeout, self._retries, self._sleep = timeout, retries, sleep
        self._connections = connections
        self._http: httpx.Client | None = None  # opened when it is needed
        self._changes: dict[str, str] = {}  # option -> its name there, or "" for none
        self._lock = threading.Lock()
        self.requests_sent = 0

    def __repr__(self) -> str:
        return f"OpenAIClient({public_url(self.api_base)!r}, {self.model_id!r})"

    def close(self) -> None:
        """Closes the connections; may be called twice."""
        if self._http is not None:
            self._http.close()

    def ask(self, path: str, payload: Mapping[str, Any]) -> Any:
        """Posts `payload` and returns the JSON answer; an error that it states is raised.

        Raises:
          HTTPFailure: there was none; see `post_json`.
          SkillRLError: the key, the proxy or the certificates of this address are not usable.
        """
        with self._lock:
            self.requests_sent += 1
            if self._http is None:
                self._http = open_client(self.api_base, connections=self._connections)
        return post_json(
            self.api_base + path,
            dict(payload),
            headers=bearer(self._key),
            timeout=self._timeout,
            retries=self._retries,
            fault=stated_error,
            client=self._http,
            sleep=self._sleep,
        )

    def chat(self, payload: Mapping[str, Any]) -> ChatReply:
        """Asks for a chat completion, however the server takes its options.

        Raises:
          HTTPFailure: there was no answer.
          ValueError: it is not a chat completion; the message says what is wrong with it.
        """
        while True:
            sent = {}
            for name, value in payload.items():
                if there := self._changes.get(name, name):
                    sent[there] = value
            try:
                return read_reply(self.ask("/chat/completions", sent))
            except HTTPFailure as error:
                if not self._adapt(error, payload, sent):
                    raise

    def quote(self, text: str) -> str:
        """Quotes a server's words in a message: on one line, short, without the key."""
        return printable(" ".join(self._blank(text[:4000]).split())[:300])

    def wrong(self, path: str, problem: str) -> str:
        """Says that an answer is not what this path of an API gives."""
        return (
            f"{self.model_id}: the answer of {public_url(self.api_base)}{path} cannot be used: "
            f"{self.quote(problem)}. Is it an OpenAI-compatible server? Check its address and "
            "version."
        )

    def _adapt(
        self, error: HTTPFailure, payload: Mapping[str, Any], sent: Mapping[str, Any]
    ) -> bool:
        """Notes an option that the refusal names and that can be sent otherwise.

        An option that another thread has noted meanwhile counts, too: this request had it still.

        Returns:
          Whether there is one, so that the request is worth sending again.
        """
        if error.status not in (400, 422) or error.too_long or not _UNSUPPORTED.search(error.body):
            return False
        parameter = re.search(r'"param"\s*:\s*"([\w.]+)"', error.body)
        named = parameter[1] if parameter else error.body
        for name in ("max_tokens", *_WITHOUT):
            if name not in payload or not re.search(rf"(?<!\w){name}(?!\w)", named):
                continue
            if name not in sent:  # sent by another name or not at all, and refused all the same
                continue
            with self._lock:
                known = name in self._changes
                self._changes[name] = "max_completion_tokens" if name == "max_tokens" else ""
            if known:
                return True
            if name == "max_tokens":
                _LOG.info("%s: max_tokens is sent as max_completion_tokens", self.model_id)
            else:
                _LOG.warning(
                    "%s refuses %s=%s, which is left out: %s",
                    self.model_id, name, payload[name],
                    _WITHOUT[name].format(value=payload[name]),
                )  # fmt: skip
            return True
        return False


def stated_error(answer: Any) -> Fault | None:
    """Finds the error that OpenRouter and others state in an answer with status 200."""
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if answer.get("object") == "error":
        error = answer
    choices = answer.get("choices")
    if not error and isinstance(choices, list) and choices and isinstance(choices[0], dict):
        error = choices[0].get("error")
    if not error or (not isinstance(error, dict | str)):
        return None
    if isinstance(error, str):
        return Fault(error)
    message, code = error.get("message"), error.get("code")
    said = message if isinstance(message, str) and message else str(error)
    try:
        status = int(code) if isinstance(code, int | str) and not isinstance(code, bool) else 0
    except ValueError:  # a word, such as "context_length_exceeded"
        said, status = f"{said} ({code})", 0
    return Fault(said, status if 400 <= status < 600 else None)
