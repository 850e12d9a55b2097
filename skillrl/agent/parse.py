"""From a response to an action: ``<think>...</think><action>...</action>``.

Departs from the released projection (skillrl.md 2.4) in two ways: text is taken
from the *last* complete action block outside the thought rather than the first
tag pair anywhere, and an action that the environment does not offer is invalid,
with the reason said, instead of being passed as valid.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_SHAPE = re.compile(r"\A\s*<think>(.*?)</think>\s*<action>(.*?)</action>\s*\Z", re.DOTALL)
_BARE = re.compile(r"\A\s*<action>(.*?)</action>\s*\Z", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_LOOSE = re.compile(r"<action>((?:(?!<action>).)*?)</action>", re.DOTALL)
_TAG = re.compile(r"</?(?:think|action)>")

UNFINISHED = "unfinished"
MALFORMED = "malformed"
INADMISSIBLE = "not admissible"


class Parsed(NamedTuple):
    """An action for the environment; `invalid` says why it is not a valid one, or is ""."""

    thought: str
    action: str
    invalid: str


def parse(
    response: str, admissible: Sequence[str] = (), *, finished: bool = True, think: bool = True
) -> Parsed:
    """Reads a response.

    Args:
      response: decoded text without the end-of-turn token.
      admissible: actions on offer; empty means that anything goes. Entries such as
        ``search[<your query>]`` admit any text in place of the angle brackets.
      finished: the response ended by itself rather than by the token limit.
      think: whether a thought is required.

    Returns:
      The thought, the action ("" if there is none) and the reason for which the
      response is invalid. An invalid response still yields its action where one can
      be read: the environment answers it as it would answer any text.
    """
    thought, action = "", ""
    if match := _SHAPE.match(response):
        thought, action = match.group(1).strip(), match.group(2).strip()
    elif not think and (match := _BARE.match(response)):
        action = match.group(1).strip()
    nested = _TAG.search(thought) or _TAG.search(action)
    if nested or not match:
        loose = _LOOSE.findall(_THOUGHT.sub("", response))
        action = loose[-1].strip() if loose else ""
    if not finished:
        return Parsed(thought, action, UNFINISHED)
    if nested or not match or not action:
        return Parsed(thought, action, MALFORMED)
    if admissible and not is_admissible(action, admissible):
        return Parsed(thought, action, INADMISSIBLE)
    return Parsed(thought, action, "")


def is_admissible(action: str, admissible: Sequence[str]) -> bool:
    """Whether `action` is on offer, ``verb[<placeholder>]`` standing for any argument."""
    if action in admissible:
        return True
    for offer in admissible:
        head, bracket, rest = offer.partition("[<")
        if bracket and rest.endswith(">]") and action.startswith(head + "[") and action[-1] == "]":
            return len(action) > len(head) + 2
    return False
