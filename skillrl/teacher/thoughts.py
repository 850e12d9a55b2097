"""Short thoughts for the steps of a successful household episode, from goal and action."""

from __future__ import annotations

import dataclasses
import re

from skillrl.teacher.reading import Aim, Recording, kind_of, read_aim, read_facts

_SHORTEST, _LONGEST = 4, 9

THOUGHT_FORMS = (
    "I need a {thing}, look in {place}.",
    "I need another {thing}, look in {place}.",
    "Found the {thing}, take it.",
    "Open {place} and look inside it.",
    "Look around to see what is here.",
    "I have the {thing}, go to {place}.",
    "Now clean the {thing} with {place}.",
    "Put the {thing} in {place}.",
    "Turn on {place} to see the {thing}.",
    "Next do this: ",
    "Close {place} and go on.",
)


def think(recording: Recording) -> list[str]:
    """One thought of 4 to 9 words per move; its action follows from it."""
    aim = read_aim(recording)
    taken = [thing for thing, _ in read_facts(recording, aim.thing).taken]
    if taken and aim.thing not in taken:  # the goal's sentence has another word for it
        aim = dataclasses.replace(aim, thing=taken[-1])
    held, delivered = "", 0
    thoughts = []
    for move in recording.moves:
        words = _thought(move.action, aim, held, delivered).split()
        if len(words) > _LONGEST:
            words = [*words[: _LONGEST - 1], words[_LONGEST - 1].rstrip(",.") + "."]
        thoughts.append(" ".join(words))
        if move.wasted:
            continue
        if match := re.fullmatch(r"take (.+) from .+", move.action):
            held = match[1]
        elif re.match(r"(move|put) ", move.action):
            held, delivered = "", delivered + 1
    return thoughts


def _thought(action: str, aim: Aim, held: str, delivered: int) -> str:
    thing = aim.thing or "thing"
    if match := re.fullmatch(r"go to (.+)", action):
        if held:
            return f"I have the {kind_of(held)}, go to {match[1]}."
        article = "another" if delivered else "an" if thing[0] in "aeiou" else "a"
        return f"I need {article} {thing}, look in {match[1]}."
    if match := re.fullmatch(r"open (.+)", action):
        return f"Open {match[1]} and look inside it."
    if match := re.fullmatch(r"close (.+)", action):
        return f"Close {match[1]} and go on."
    if match := re.fullmatch(r"take (.+) from (.+)", action):
        return f"Found the {kind_of(match[1])}, take it."
    if match := re.fullmatch(r"(?:move|put) (.+) (?:to|in/on|in|on) (.+)", action):
        return f"Put the {kind_of(match[1])} in {match[2]}."
    if match := re.fullmatch(r"(clean|heat|cool) (.+) with (.+)", action):
        return f"Now {match[1]} the {kind_of(match[2])} with {match[3]}."
    if match := re.fullmatch(r"(?:use|toggle|turn on) (.+)", action):
        return f"Turn on {match[1]} to see the {thing}."
    if action in ("look", "inventory"):
        return "Look around to see what is here."
    words = re.sub(r"\W+", " ", action).split()
    return " ".join(["Next", "do", "this:", *words]) + "." if words else "Next do this: nothing."
