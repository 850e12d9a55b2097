"""Writes short thoughts for the steps of a successful household episode."""

from __future__ import annotations

import dataclasses
import re

from skillrl.teacher.simulated.domain import short
from skillrl.teacher.simulated.household.reading import (
    Aim,
    kind_of,
    read_aim,
    read_facts,
    told_home,
    wasted,
)
from skillrl.teacher.simulated.recordings import Recording

_LONGEST = 9  # words

THOUGHT_FORMS = (
    "I seek a {thing}.",
    "I seek another {thing}.",
    "I seek a {thing}, kept in {place}.",
    "I seek a {thing} right here.",
    "Now clean the {thing} with {place}.",
    "Put the {thing} in {place}.",
    "Look at the {thing} under {place}.",
    "Look around to see what is here.",
    "Next do this: ",
)
"""The forms in which the environment's expert thinks too: one style to learn, not two."""

_TAKE = re.compile(r"take (.+) from (.+)")
_PUT = re.compile(r"(?:move|put) (.+) (?:to|in/on|in|on) (.+)")
_TREAT = re.compile(r"(clean|heat|cool) (.+) with (.+)")
_USE = re.compile(r"(?:use|toggle|turn on) (.+)")
_TRAVEL = re.compile(r"(?:go to|open|close|examine) (.+)")


def think(recording: Recording) -> list[str]:
    """Returns one thought of 4 to 9 words per move; its action follows from it.

    Where the agent is told where the object is kept, it recalls that as long as it searches.
    """
    aim = read_aim(recording)
    taken = [thing for thing, _ in read_facts(recording, aim.thing).taken]
    if taken and aim.thing not in taken:  # the goal's sentence has another word for it
        aim = dataclasses.replace(aim, thing=taken[-1])
    home = told_home(recording.told, aim.thing)
    kept = f", kept in {home}" if home else ""
    held, delivered = "", 0
    thoughts = []
    for at, move in enumerate(recording.moves):
        ahead = [m.action for m in recording.moves[at:] if not wasted(m)]
        thoughts.append(
            short(
                _thought(move.action, ahead, aim=aim, kept=kept, held=held, delivered=delivered),
                _LONGEST,
            )
        )
        if wasted(move):
            continue
        if match := re.fullmatch(r"take (.+) from .+", move.action):
            held = match[1]
        elif re.match(r"(move|put) ", move.action):
            held, delivered = "", delivered + 1
    return thoughts


def _thought(
    action: str, ahead: list[str], *, aim: Aim, kept: str, held: str, delivered: int
) -> str:
    """Returns the reason for `action`; on the way with something in hand, it is what comes next."""
    thing = aim.thing or "thing"
    article = "another" if delivered else "an" if thing[0] in "aeiou" else "a"
    if _TRAVEL.fullmatch(action):
        purpose = next((a for a in ahead if not _TRAVEL.fullmatch(a) and a != "look"), "")
        if held and not _TAKE.fullmatch(purpose):
            action = purpose or action
        else:
            return f"I seek {article} {thing}{kept}."
    if _TAKE.fullmatch(action):
        return f"I seek {article} {thing} right here."
    if match := _PUT.fullmatch(action):
        return f"Put the {kind_of(match[1])} in {match[2]}."
    if match := _TREAT.fullmatch(action):
        return f"Now {match[1]} the {kind_of(match[2])} with {match[3]}."
    if match := _USE.fullmatch(action):
        return f"Look at the {thing} under {match[1]}."
    if action in ("look", "inventory"):
        return "Look around to see what is here."
    words = re.sub(r"\W+", " ", action).split()
    return " ".join(["Next", "do", "this:", *words]) + "." if words else "Next do this: nothing."
