"""A teacher's request within a budget of tokens: whole trajectories, the long observations shorter.

Of the longest observations the middle goes first, down to one length for all; actions, the agent's
words and the last steps, where a failure shows, are never touched. Only where that is not enough
are fewer trajectories shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from skillrl.teacher.base import Message

_LOG = logging.getLogger(__name__)

Item = TypeVar("Item")

CHARACTERS = 4
"""Characters that count as one token of a model whose tokenizer is not known."""
LEAST = 120
"""Characters that an observation keeps in any case."""

Build = Callable[[Sequence[Item], int | None], list[Message]]
"""Makes the request about some items, with observations of at most so many characters."""


def affordable(
    items: Sequence[Item], build: Build[Item], *, max_tokens: int, what: str
) -> Sequence[Item]:
    """Returns the first items, as many as fit with short observations; one in any case.

    Args:
      items: what would be shown, the most important first.
      build: makes the request.
      max_tokens: the budget, by four characters to a token; 0 sets none.
      what: name of the request, for the log.
    """
    shown = items
    while max_tokens and len(shown) > 1 and _length(build(shown, LEAST)) > CHARACTERS * max_tokens:
        shown = shown[:-1]
    if len(shown) < len(items):
        _LOG.warning(
            "%s: %d of %d recordings are shown, more do not fit into "
            "distill.max_request_tokens=%d", what, len(shown), len(items), max_tokens,
        )  # fmt: skip
    return shown


def fit(
    items: Sequence[Item], build: Build[Item], *, max_tokens: int, what: str
) -> tuple[list[Message], int]:
    """Makes a request about all items, with observations as long as the budget allows.

    Args:
      items: what is shown, see `affordable`.
      build: makes the request.
      max_tokens: the budget, by four characters to a token; 0 sets none. A request that is longer
        even with the shortest observations is made all the same, and the log says so.
      what: name of the request, for the log.

    Returns:
      The messages, and by how many characters observations were made shorter.
    """
    whole, most = build(items, None), CHARACTERS * max_tokens
    if not max_tokens or _length(whole) <= most:
        return whole, 0
    low, high = LEAST, max(_length(whole), LEAST)  # the largest length that fits, or the least
    while low < high:
        middle = (low + high + 1) // 2
        if _length(build(items, middle)) <= most:
            low = middle
        else:
            high = middle - 1
    chat = build(items, low)
    cut = _length(whole) - _length(chat)
    if cut:
        _LOG.info(
            "%s: %d characters left out of long observations to keep within "
            "distill.max_request_tokens=%d", what, cut, max_tokens,
        )  # fmt: skip
    if _length(chat) > most:
        _LOG.warning(
            "%s: the request has about %d tokens, more than distill.max_request_tokens=%d, and "
            "nothing more that may be left out", what, _length(chat) // CHARACTERS, max_tokens,
        )  # fmt: skip
    return chat, cut


def shorten(text: str, longest: int) -> str:
    """Leaves out the middle of a text of more than `longest` characters, and says how much.

    What comes back has exactly `longest` characters, `LEAST` at the least.
    """
    longest = max(longest, LEAST)
    if len(text) <= longest:
        return text
    cut, mark = 0, ""
    while len(text) - cut + len(mark) > longest:  # a larger number may have a digit more
        cut = len(text) - longest + len(mark)
        mark = f" [... {cut} characters left out ...] "
    kept = len(text) - cut
    tail = kept // 2
    return f"{text[: kept - tail]}{mark}{text[len(text) - tail :]}"


def _length(chat: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in chat)
