"""Short thoughts for the steps of a successful shop episode, from goal, page and action."""

from __future__ import annotations

import itertools
import re

from skillrl.teacher.simulated.domain import short
from skillrl.teacher.simulated.recordings import Recording
from skillrl.teacher.simulated.shopping.reading import (
    BACK,
    BUY,
    NEXT,
    PREVIOUS,
    TABS,
    Act,
    Visit,
    Wish,
    chosen_too,
    page_parts,
    read_acts,
    read_wish,
    words_of,
)

_LONGEST = 16  # words
_QUOTED = 6  # most values of an option that a thought repeats

THOUGHT_FORMS = (
    "I search for it.",
    "This one fits, below {price}.",
    "This one fits.",
    "It may fit, I read more.",
    "Nothing fits better.",
    "Nothing new fits here.",
    "Nothing new fits, look again.",
    "Nothing fits here.",
    "It costs too much.",
    "There is no {value} here.",
    "Its title lacks {words}.",
    "I need {value}.",
    "I need {value}. {name}: {values} yes.",
    "I need {value}. {name}: {values} no.",
    "The features fit.",
    "The features do not fit.",
    "These are not the features.",
    "All fits, buy it.",
    "It does not fit, go back.",
    "Next do this: ",
)
"""The forms in which the environment's expert thinks too: one style to learn, not two."""


def think(recording: Recording) -> list[str]:
    """One thought per move; its action follows from it."""
    wish, acts = read_wish(recording.goal), read_acts(recording)
    opened: set[str] = set()
    settles, thoughts = False, []  # a whole search found nothing: the most similar will do
    for act in acts:
        if act.page == "results" and act.visit:
            thought = _opening(act.visit, wish, again=act.text in opened, settles=settles)
            opened.add(act.text)
        else:
            thought = _thought(act, wish)
        settles = settles or (act.page == "results" and act.text == BACK)
        thoughts.append(short(thought, _LONGEST))
    return thoughts


def _thought(act: Act, wish: Wish) -> str:
    if act.verb == "search":
        return "I search for it."
    if act.text == NEXT:
        return "Nothing new fits here."
    if act.text in (PREVIOUS, BACK):
        return _leaving(act, wish)
    if act.text == BUY:
        return "All fits, buy it."
    if act.text in TABS and act.visit:
        lacking = wish.words - words_of(act.visit.title)
        words = " ".join(word for word in wish.phrase.split() if words_of(word) & lacking)
        return f"Its title lacks {words}." if words else "It may fit, I read more."
    if act.verb == "click" and act.page == "item":
        return _looked_up(act.text, act.visit, wish) or f"I need {act.text}."
    words = re.sub(r"\W+", " ", act.text).strip()
    return f"Next do this: {words or 'nothing'}."


def _opening(visit: Visit, wish: Wish, *, again: bool, settles: bool) -> str:
    if again:
        return "Nothing new fits, look again."
    if not wish.words <= words_of(visit.title):
        return "Nothing fits better." if settles else "It may fit, I read more."
    return "This one fits." if wish.below is None else f"This one fits, below {wish.below:.0f}."


def _leaving(act: Act, wish: Wish) -> str:
    """The reason to go back."""
    visit = act.visit
    if act.page == "sub":
        if act.text == BACK:
            return "The features do not fit."
        shown = words_of(" ".join([visit.title if visit else "", *page_parts(act.shown)]))
        return "The features fit." if wish.words <= shown else "These are not the features."
    if act.page != "item" or visit is None:
        return "Nothing fits here."
    if wish.below is not None and visit.price is not None and visit.price > wish.below:
        return "It costs too much."
    absent = [value for _, value in wish.options if not chosen_too(value, visit.offered)]
    if not absent:
        return "It does not fit, go back."
    return _looked_up(absent[0], visit, wish) or f"There is no {absent[0]} here."


def _looked_up(value: str, visit: Visit | None, wish: Wish) -> str:
    """The search for a value under its option: ``size: six seven yes.``; "" if that is long."""
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
