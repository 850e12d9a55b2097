"""Reads the action in a response: ``<think>...</think><action>...</action>``.

Environments may ask for other tags than ``action``, as search does.

Departs from the projection of the released code in two ways: text is taken
from the *last* complete action block outside the thought rather than the first
tag pair anywhere, and an action that the environment does not offer is invalid,
with the reason said, instead of being passed as valid.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from skillrl.envs.base import is_admissible

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)

UNFINISHED = "unfinished"
MALFORMED = "malformed"
INADMISSIBLE = "not admissible"


class ParsedResponse(NamedTuple):
    """Holds an action for the environment; `invalid` says why it is not a valid one, or is ""."""

    thought: str
    action: str
    invalid: str


class _Grammar(NamedTuple):
    """Describes what a response looks like, for one choice of tags."""

    shape: re.Pattern[str]
    bare: re.Pattern[str]
    loose: re.Pattern[str]
    tag: re.Pattern[str]


@functools.lru_cache(maxsize=8)
def _grammar(tags: tuple[str, ...]) -> _Grammar:
    names = "|".join(map(re.escape, tags))
    block = rf"<(?P<tag>{names})>(?P<action>.*?)</(?P=tag)>"
    loose = rf"<(?P<tag>{names})>(?P<action>(?:(?!<(?:{names})>).)*?)</(?P=tag)>"
    return _Grammar(
        re.compile(rf"\A\s*<think>(?P<thought>.*?)</think>\s*{block}\s*\Z", re.DOTALL),
        re.compile(rf"\A\s*{block}\s*\Z", re.DOTALL),
        re.compile(loose, re.DOTALL),
        re.compile(rf"</?(?:think|{names})>"),
    )


def parse(
    response: str,
    admissible: Sequence[str] = (),
    *,
    finished: bool = True,
    think: bool = True,
    tags: tuple[str, ...] = ("action",),
) -> ParsedResponse:
    """Reads a response.

    Args:
      response: decoded text without the end-of-turn token.
      admissible: actions on offer; empty means that anything goes. Entries such as
        ``search[<your query>]`` admit any text in place of the angle brackets.
      finished: the response ended by itself rather than by the token limit.
      think: whether a thought is required.
      tags: what may enclose the action; with several, they stay around it (see
        `skillrl.envs.base.AnswerForm`).

    Returns:
      The thought, the action ("" if there is none) and the reason for which the
      response is invalid. An invalid response still yields its action where one can
      be read: the environment answers it as it would answer any text.
    """
    grammar = _grammar(tags)
    thought, action, content = "", "", ""
    match = grammar.shape.match(response)
    if match:
        thought = match["thought"].strip()
    elif not think:
        match = grammar.bare.match(response)
    if match:
        action, content = _action(match, tags)
    nested = grammar.tag.search(thought) or grammar.tag.search(content)
    if nested or not match:
        loose = list(grammar.loose.finditer(_THOUGHT.sub("", response)))
        action, content = _action(loose[-1], tags) if loose else ("", "")
    if not finished:
        return ParsedResponse(thought, action, UNFINISHED)
    if nested or not match or not content:
        return ParsedResponse(thought, action, MALFORMED)
    if admissible and not is_admissible(action, admissible):
        return ParsedResponse(thought, action, INADMISSIBLE)
    return ParsedResponse(thought, action, "")


def _action(match: re.Match[str], tags: tuple[str, ...]) -> tuple[str, str]:
    """Returns the action, and the text between its tags."""
    content = match["action"].strip()
    if len(tags) == 1:
        return content, content
    return f"<{match['tag']}>{content}</{match['tag']}>", content
