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
    read_acts,
    read_wish,
    words_of,
)

FOUND = ("Find {thing}", UNDER, "you search {thing}")
"""Title, rule and situation of a skill."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """Holds the words, the likeliest first and at most two, and what showed them."""

    words: tuple[str, ...]
    sources: tuple[str, ...]


def listings(recordings: Sequence[Recording]) -> dict[str, Listing]:
    """Returns kind of product -> the words of titles that tell the right ones.

    A purchase that won speaks for those words of its title that the goal has not, and once more
    for those that were searched; one that failed although nothing can be seen to be wrong with it
    but what no page told speaks against them. Of a single success several words may be right:
    then the two first are named. Where what was bought says nothing, nothing is found.
    """
    votes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    sources: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for recording in recordings:
        wish, acts = read_wish(recording.goal), read_acts(recording)
        bought = bought_in(acts)
        if bought is None or not wish.thing or not wish.kind <= words_of(bought.title):
            continue
        said = [word for word in bought.title.lower().split() if not words_of(word) <= wish.words]
        searched = " ".join(act.text for act in acts if act.verb == "search" and act.valid).split()
        if recording.won:
            votes[wish.thing].update(said)
            votes[wish.thing].update(word for word in said if word in searched)
            sources[wish.thing][recording.id] = None
        elif causes(recording) == ["attribute"]:
            votes[wish.thing].subtract(said)
    found = {}
    for thing in sorted(sources, key=lambda name: (-len(sources[name]), name)):
        # Titles come from the same few words, so the first of equals is the first that was seen.
        ranked = [(word, count) for word, count in votes[thing].most_common() if count > 0]
        often = tuple(word for word, count in ranked[:2] if 2 * count > ranked[0][1])
        if often:
            found[thing] = Listing(often, tuple(sources[thing]))
    return found


def listed(thing: str, found: Listing) -> Entry:
    """Returns the skill that says so."""
    title, rule, when = FOUND
    return entry(
        title.format(thing=thing),
        rule.format(thing=thing, word=" or ".join(found.words)),
        when.format(thing=thing),
        sources=found.sources,
    )
