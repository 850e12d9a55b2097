"""Finds under which word things are listed that are right, in what was bought and searched."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from skillrl.teacher.simulated.domain import Entry, entry
from skillrl.teacher.simulated.recordings import Recording
from skillrl.teacher.simulated.shopping.diagnosis import bought_in, causes
from skillrl.teacher.simulated.shopping.reading import (
    UNDER,
    PageMove,
    Visit,
    Wish,
    read_acts,
    read_wish,
    results_on,
    words_of,
)

FOUND = ("Find {thing}", UNDER, "you search {thing}")
"""Title, rule and situation of a skill."""


_LEAST = 2  # votes for a word; one success is one


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """Holds where a kind of product is listed.

    Attributes:
      words: under which, the likeliest first and at most two.
      sources: ids of the purchases that showed it.
      category: of these.
    """

    words: tuple[str, ...]
    sources: tuple[str, ...]
    category: str


def listings(recordings: Sequence[Recording]) -> dict[str, Listing]:
    """Returns kind of product -> the words of titles that tell the right ones.

    A purchase that won speaks for those words of its title that the goal has not, and once more
    for those that were searched. One that failed although nothing can be seen to be wrong with it
    but what no page told speaks against the words of its title, and for those of successes that
    it lacks. A shop counts once, however often it was bought in. A word needs two votes, so that
    a single purchase with nothing to compare it to says nothing; of several words that may be
    right, the two first are named.
    """
    votes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    sources: dict[str, dict[str, str]] = collections.defaultdict(dict)
    failed: dict[str, list[frozenset[str]]] = collections.defaultdict(list)
    counted = set()

    def vote(thing: str, word: str, why: str, task: str, weight: int) -> None:
        if (thing, word, why, task) not in counted:
            counted.add((thing, word, why, task))
            votes[thing][word] += weight

    for recording in recordings:
        wish, acts = read_wish(recording.goal), read_acts(recording)
        bought = bought_in(acts)
        if bought is None or not wish.thing or not wish.kind <= words_of(bought.title):
            continue
        said = [word for word in bought.title.lower().split() if not words_of(word) <= wish.words]
        searched = " ".join(act.text for act in acts if act.verb == "search" and act.valid).split()
        if recording.won:
            for word in said:
                vote(wish.thing, word, "won", recording.task, 1)
                if word in searched:
                    vote(wish.thing, word, "searched", recording.task, 1)
            sources[wish.thing][recording.id] = recording.category
        elif causes(recording) == ["attribute"] and not _outdone(bought, wish, acts):
            for word in said:
                vote(wish.thing, word, "lost", recording.task, -1)
            failed[wish.thing].append(frozenset(said))
    for thing, titles in failed.items():
        for word in [word for word, count in votes[thing].items() if count > 0]:
            if any(word not in said for said in titles):
                votes[thing][word] += 1
    found = {}
    for thing in sorted(sources, key=lambda name: (-len(sources[name]), name)):
        # Titles come from the same few words, so the first of equals is the first that was seen.
        ranked = [pair for pair in votes[thing].most_common() if pair[1] >= _LEAST]
        often = tuple(word for word, count in ranked[:2] if 2 * count > ranked[0][1])
        if often:
            shown = sources[thing]
            found[thing] = Listing(often, tuple(shown), next(iter(shown.values())))
    return found


def _outdone(bought: Visit, wish: Wish, acts: Sequence[PageMove]) -> bool:
    """Tells whether another product was listed whose title has more of what was wanted."""
    pages = {act.shown for act in acts if act.page == "results"}
    titles = [title for page in pages for _, title, _ in results_on(page)]
    most = max((len(wish.words & words_of(title)) for title in titles), default=0)
    return most > len(wish.words & words_of(bought.title))


def listed(thing: str, found: Listing) -> Entry:
    """Returns the skill that says so."""
    title, rule, when = FOUND
    return entry(
        title.format(thing=thing),
        rule.format(thing=thing, word=" or ".join(found.words)),
        when.format(thing=thing),
        sources=found.sources,
    )
