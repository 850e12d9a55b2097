"""Tells why a shop episode failed, read from its text."""

from __future__ import annotations

import collections

from skillrl.teacher.simulated.recordings import Recording
from skillrl.teacher.simulated.shopping.reading import (
    BUY,
    PageMove,
    Visit,
    Wish,
    chosen_too,
    read_acts,
    read_wish,
    words_of,
)

_WASTE = 0.3  # share of invalid moves from which they are the cause
_REPEATS = 3  # times that the same is done on the same page
_NOISE = "price lower less than dollar"


def causes(recording: Recording) -> list[str]:
    """Keys of `ADVICE` that fit a failed recording, the decisive one first."""
    wish, acts = read_wish(recording.goal), read_acts(recording)
    found: list[str] = []
    if acts and sum(not act.valid for act in acts) / len(acts) >= _WASTE:
        found.append("invalid")
    bought = bought_in(acts)
    found += _wrong(wish, bought) if bought else _unbought(acts)
    if not bought or "kind" in found:
        found += _queries(wish, acts)
    return list(dict.fromkeys(found))


def bought_in(acts: list[PageMove]) -> Visit | None:
    """Returns the product that was bought."""
    bought = [act.visit for act in acts if act.valid and act.page == "item" and act.text == BUY]
    return bought[-1] if bought else None


def missing_options(wish: Wish, visit: Visit) -> list[tuple[str, str]]:
    """Returns (name, value) of the wanted options that were not chosen."""
    return [(name, value) for name, value in wish.options if not chosen_too(value, visit.chosen)]


def _wrong(wish: Wish, bought: Visit) -> list[str]:
    """Returns what is wrong with what was bought."""
    found = []
    title = words_of(bought.title)
    if wish.kind and bought.title and not wish.kind & title:
        found.append("kind")
    missing = missing_options(wish, bought)
    absent = [pair for pair in missing if not chosen_too(pair[1], bought.offered)]
    if len(absent) < len(missing):
        others = [v for v in bought.chosen if not any(chosen_too(w, [v]) for _, w in wish.options)]
        found.append("wrong_option" if others else "options")
    if absent:
        found.append("not_offered")
    if wish.below is not None and bought.price is not None and bought.price > wish.below:
        found.append("price")
    if "kind" not in found and not wish.words <= title | words_of(bought.read):
        found.append("attribute")
    return found or ["unfinished"]


def _unbought(acts: list[PageMove]) -> list[str]:
    """Returns what kept the agent from buying."""
    found = []
    same = collections.Counter((act.verb, act.text, act.shown) for act in acts)
    if max(same.values(), default=0) >= _REPEATS:
        found.append("circles")
    if not any(act.verb == "search" and act.valid for act in acts):
        found.append("no_search")
    elif not any(act.visit for act in acts):
        found.append("unopened")
    return [*found, "unbought"]


def _queries(wish: Wish, acts: list[PageMove]) -> list[str]:
    """Returns what is wrong with all the searches, if anything is."""
    queries = [words_of(act.text) for act in acts if act.verb == "search" and act.valid]
    if not queries:
        return []
    found = []
    if all(_few(query, wish) for query in queries):
        found.append("few_words")
    values = frozenset[str]().union(*(words_of(value) for _, value in wish.options))
    extra = (words_of(_NOISE) | values) - wish.words
    if all(query & extra for query in queries):
        found.append("extra_words")
    return found


def _few(query: frozenset[str], wish: Wish) -> bool:
    """Tells whether a search has at most one word of the goal, or neither its kind nor half."""
    common = len(query & wish.words)
    if common < min(2, len(wish.words)):
        return True
    return not query & wish.kind and 2 * common < len(wish.words)
