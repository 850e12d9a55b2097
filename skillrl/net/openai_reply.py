"""Reads a chat completion: the text in it, or why there is none."""

from __future__ import annotations

import dataclasses
from typing import Any

from skillrl.io.json_text import is_real
from skillrl.io.text import short_repr

_CUT = ("length", "max_tokens", "model_length", "max_output_tokens")
_FILTERED = ("content_filter", "safety", "prohibited_content", "blocklist", "recitation")
_TEXT, _THOUGHT = ("text", "output_text"), ("thinking", "reasoning", "redacted_thinking")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """Holds one answer of a chat model.

    Attributes:
      text: what the model said, text parts joined, without what it thought apart from that.
      finish_reason: ``stop``, ``length``, ... as the server says, or "".
      refusal: the sentence with which the model refused, or "".
      thought: number of characters that it thought apart from its text.
      token_logprobs: natural logarithm of each token's probability; None where the server gives
        none.
    """

    text: str
    finish_reason: str = ""
    refusal: str = ""
    thought: int = 0
    token_logprobs: tuple[float, ...] | None = None

    @property
    def finished(self) -> bool:
        """Whether the token limit left the answer whole."""
        return self.finish_reason.lower() not in _CUT

    @property
    def problem(self) -> str:
        """Says why the answer is not whole, with the server's reason; "" if it is."""
        why = f"finish_reason={self.finish_reason or 'not given'}"
        apart = f", after {self.thought} characters of reasoning" if self.thought else ""
        if self.refusal:
            return f"it was refused: {self.refusal!r} ({why})"
        if self.finish_reason.lower() in _FILTERED:
            return f"it was stopped by a filter ({why})"
        if not self.finished:
            said = f"after {len(self.text)} characters" if self.text else "before any text"
            return f"it was cut off by the token limit {said} ({why}{apart})"
        return "" if self.text.strip() else f"it was empty ({why}{apart})"


def read_reply(answer: Any) -> ChatReply:
    """Reads the body of an answer of ``/chat/completions``.

    Content is a text, or a list of parts as Mistral's and others' reasoning models give it.

    Raises:
      ValueError: it is not a chat completion; the message says what is wrong.
    """
    choices = _of(answer, "it", dict).get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"it has no choices[0].message.content, but choices={short_repr(choices)}")
    choice = _of(choices[0], "choices[0]", dict)
    message = _of(choice.get("message"), "choices[0].message", dict)
    text, refusal, thought = _content(message.get("content"))
    refused = message.get("refusal")
    if isinstance(refused, str) and refused:
        refusal = refused
    for name in ("reasoning_content", "reasoning"):
        thought += len(message[name]) if isinstance(message.get(name), str) else 0
    finish = choice.get("finish_reason")
    return ChatReply(
        text=text,
        finish_reason=finish if isinstance(finish, str) else "",
        refusal=" ".join(refusal.split())[:200],
        thought=thought,
        token_logprobs=_logprobs(choice.get("logprobs")),
    )


def _content(content: Any) -> tuple[str, str, int]:
    """Splits a message's content into text, refusal and the number of characters thought."""
    if content is None or isinstance(content, str):
        return content or "", "", 0
    texts: list[str] = []
    refusal, thought = "", 0
    for part in _of(content, "choices[0].message.content", list):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = _of(part, "a part of choices[0].message.content", dict).get("type")
        if kind in _TEXT:
            texts.append(_of(part.get("text"), "the text of a part of the content", str))
        elif kind in _THOUGHT:
            thought += _length(part.get("thinking", part.get("text", "")))
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            refusal = part["refusal"]
        else:
            raise ValueError(f"its content has a part of the type {short_repr(kind)}, not text")
    return "".join(texts), refusal, thought


def _length(thinking: Any) -> int:
    """Counts the characters of a text, or of a list of parts with texts."""
    if isinstance(thinking, list):
        return sum(_length(p.get("text") if isinstance(p, dict) else p) for p in thinking)
    return len(thinking) if isinstance(thinking, str) else 0


def _logprobs(value: Any) -> tuple[float, ...] | None:
    tokens = value.get("content") if isinstance(value, dict) else None
    if not isinstance(tokens, list):
        return None
    found = []
    for token in tokens:
        number = token.get("logprob") if isinstance(token, dict) else None
        if not is_real(number) or number > 1e-6:
            raise ValueError("logprobs.content has something else than finite log-probabilities")
        found.append(float(number))
    return tuple(found)


def _of(value: Any, what: str, kind: type[dict] | type[list] | type[str]) -> Any:
    if not isinstance(value, kind):
        name = "an object" if kind is dict else "a list" if kind is list else "a text"
        raise ValueError(f"{what} is not {name} but {short_repr(value)}")
    return value
