"""Writes short thoughts for the steps of a successful shop episode."""

from __future__ import annotations

import itertools
import re
from collections.abc import Set

from skillrl.teacher.simulated.domain import short
from skillrl.teacher.simulated.recordings import Recording
from skillrl.teacher.simulated.shopping.reading import (
    BACK,
    BUY,
    NEXT,
    PREVIOUS,
    TABS,
    PageMove,
    Visit,
    Wish,
    chosen_too,
    page_parts,
    read_acts,
    read_wish,
    results_on,
    told_word,
    words_of,
)

_LONGEST = 20  # words
_QUOTED = 6  # most values or words that a thought goes through
_PASSED = 3  # most products that it names before the one it opens

_DEAR = "It costs too much."

THOUGHT_FORMS = (
    "I search for it.",
    "I search {thing}.",
    "I search {thing} {word}.",
    "Below {price}: {product} dear {product} seen {product} fits.",
    "Below {price}: {product} other {product} may fit.",
    "Below {price}: {product} fits best.",
    "{product} fits.",
    "Below {price}: This one fits.",
    "This one fits.",
    "Nothing new fits here.",
    "Nothing new fits, look again.",
    "Nothing fits here.",
    _DEAR,
    "There is no {value} here.",
    "Chosen {values}. I need {value}.",
    "I need {value}. {name}: {values} yes.",
    "I need {value}. {name}: {values} no.",
    "{words} yes.",
    "{words} no.",
    "It lacks {word}.",
    "These are not the features.",
    "{words} yes. Buy it.",
    "Its features fit, buy it.",
    "All fits. Buy it.",
    "It may fit, buy it.",
    "It does not fit, go back.",
    "Next do this: ",
)
"""The forms in which the environment's expert thinks too: one style to learn, not two."""


def think(recording: Recording) -> list[str]:
    """Returns one thought per move; its action follows from it.

    Where the agent is told under which word the thing is listed, and searches that, it says so.
    """
    wish, acts = read_wish(recording.goal), read_acts(recording)
    opened: set[str] = set()
    read: set[int] = set()  # visits whose features were found to fit
    clicked: dict[int, set[str]] = {}  # values that were chosen so far in a visit
    settles, thoughts = False, []  # a whole search found nothing: the most similar will do
    for act in acts:
        if act.page == "results" and act.visit:
            thought = _opening(act, act.visit, wish=wish, opened=opened, settles=settles)
            opened.add(act.text)
        elif act.text == BUY and id(act.visit) in read:
            thought = "Its features fit, buy it."
        elif (
            act.verb == "search"
            and (word := told_word(recording.told, wish.thing))
            and words_of(word) <= words_of(act.text)
        ):
            thought = f"I search {wish.thing} {word}."
        else:
            thought = _thought(act, wish)
        if act.page == "sub" and act.text == PREVIOUS and wish.words <= _said_on(act.shown):
            read.add(id(act.visit))
        if act.page == "item" and thought != _DEAR:
            chosen = clicked.setdefault(id(act.visit), set())
            thought = _already(chosen, wish) + thought
            chosen |= {act.text} if act.valid else set()
        settles = settles or (act.page == "results" and act.text == BACK)
        thoughts.append(short(thought, _LONGEST))
    return thoughts


def _already(chosen: Set[str], wish: Wish) -> str:
    """Says which of the wanted values are chosen; "" where none is."""
    done = [value for _, value in wish.options if value in chosen]
    return f"Chosen {' '.join(done)}. " if done else ""


def _thought(act: PageMove, wish: Wish) -> str:
    if act.verb == "search":
        plain = wish.thing and act.text.startswith(wish.thing)
        return f"I search {wish.thing}." if plain else "I search for it."
    if act.text == NEXT:
        return "Nothing new fits here."
    if act.text in (PREVIOUS, BACK):
        return _leaving(act, wish)
    title = words_of(act.visit.title if act.visit else "")
    if act.text == BUY:
        lacks = act.visit is None or not wish.words <= title
        return "It may fit, buy it." if lacks else f"{_compared(title, wish)} Buy it."
    if act.text in TABS and act.visit:
        return _compared(title, wish)
    if act.verb == "click" and act.page == "item":
        return _looked_up(act.text, act.visit, wish) or f"I need {act.text}."
    words = re.sub(r"\W+", " ", act.text).strip()
    return f"Next do this: {words or 'nothing'}."


def _opening(act: PageMove, visit: Visit, *, wish: Wish, opened: Set[str], settles: bool) -> str:
    """Goes product by product down to the opened one, with what is wrong with those before."""
    if act.text in opened:
        return "Nothing new fits, look again."
    verdict = "fits"
    if not wish.words <= words_of(visit.title):
        verdict = "fits best" if settles else "may fit"
    below = "" if wish.below is None else f"Below {wish.below:.0f}: "
    before = list(itertools.takewhile(lambda row: row[0] != act.text, results_on(act.shown)))
    if len(before) > _PASSED:
        return f"{below}This one {verdict}."
    faults = []
    for name, _, price in before:
        dear = wish.below is not None and price is not None and price > wish.below
        faults.append(f"{name} {'dear' if dear else 'seen' if name in opened else 'other'}")
    return f"{below}{' '.join((*faults, act.text))} {verdict}."


def _said_on(page: str) -> Set[str]:
    return words_of(" ".join(page_parts(page)))


def _compared(said: Set[str], wish: Wish) -> str:
    """Goes word by word of the goal down to one that is not said: ``soft edges silk no.``"""
    words = wish.phrase.split()
    there = list(itertools.takewhile(lambda word: words_of(word) <= said, words))
    missing = words[len(there) : len(there) + 1]
    if len(there) > _QUOTED:
        return f"It lacks {missing[0]}." if missing else "All fits."
    return f"{' '.join((*there, *missing))} {'no' if missing else 'yes'}."


def _leaving(act: PageMove, wish: Wish) -> str:
    """Returns the reason to go back."""
    visit = act.visit
    if act.page == "sub":
        if act.text == BACK or wish.words <= _said_on(act.shown):
            return _compared(_said_on(act.shown), wish)
        return "These are not the features."
    if act.page != "item" or visit is None:
        return "Nothing fits here."
    if wish.below is not None and visit.price is not None and visit.price > wish.below:
        return _DEAR
    absent = [value for _, value in wish.options if not chosen_too(value, visit.offered)]
    if not absent:
        return "It does not fit, go back."
    return _looked_up(absent[0], visit, wish) or f"There is no {absent[0]} here."


def _looked_up(value: str, visit: Visit | None, wish: Wish) -> str:
    """Words the search for a value under its option, ``size: six seven yes.``; "" if long."""
    names = [name for name, wanted in wish.options if wanted == value]
    parts = [part.lower() for part in visit.offered] if visit else []
    if not names or names[0] not in parts:
        return ""
    after = parts[parts.index(names[0]) + 1 :]
    others = {name for name, _ in wish.options}
    values = list(itertools.takewhile(lambda part: part not in others, after))
    found = value in values
    values = values[: values.index(value) + 1] if found else values
    if not 0 < len(values) <= _QUOTED:
        return ""
    return f"I need {value}. {names[0]}: {' '.join(values)} {'yes' if found else 'no'}."
