"""Finds what successes in a shop show: the order of steps, and what matters in the category."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping, Sequence

from skillrl.teacher.simulated.domain import Entry, advised, capital, entry
from skillrl.teacher.simulated.recordings import Recording, count_tasks
from skillrl.teacher.simulated.shopping.advice import ADVICE
from skillrl.teacher.simulated.shopping.diagnosis import bought_in, missing_options
from skillrl.teacher.simulated.shopping.listing import FOUND, listed, listings
from skillrl.teacher.simulated.shopping.reading import read_acts, read_wish, words_of

_NAMES = 3  # words of options' names in a text
_CHECKS = 2  # words of the goal that only features tell: so many skills about them

_STEPS, _WHEN = "Steps to buy", "you buy {category}"
_FORMS = {
    "options": "Search the words, open what fits, choose {option}, then buy.",
    "plain": "Search the words, open what fits, then buy.",
    "features": "Search the words, open what fits, choose, read the features, then buy.",
}
_CHECK = ("Check {words}", "If it has {words}, only the features tell.", "the title lacks words")


def fill(text: str, shown: Sequence[Recording]) -> str:
    """Puts in which options matter: most often forgotten, else most often wanted."""
    return capital(text.replace("{option}", _options(shown)))


def patterns(wins: Sequence[Recording]) -> list[Entry]:
    """Shows the procedure of most, where things are listed, what matters, is read or avoided."""
    kinds = collections.Counter(map(_kind, wins))
    kind = min(kinds, key=lambda name: (-kinds[name], list(_FORMS).index(name)))
    same = [recording for recording in wins if _kind(recording) == kind]
    when = _WHEN.format(category=same[0].category.replace("_", " "))
    found = [entry(_STEPS, fill(_FORMS[kind], wins), when, sources=[r.id for r in same])]
    wishes = [read_wish(recording.goal) for recording in wins]
    groups = {
        "options": [bool(w.options) for w in wishes],
        "attribute": [bool(_checked(recording)) for recording in wins],
        "price": [w.below is not None for w in wishes],
    }
    for cause, flags in groups.items():
        shown = [recording for recording, flag in zip(wins, flags, strict=True) if flag]
        if shown:
            found.append(_advice(cause, shown))
    found += [listed(thing, where) for thing, where in listings(wins).items()]
    return found + _checks(wins)


def findings(
    shown: Sequence[Recording], causes: Sequence[str], known: Mapping[str, str]
) -> list[Entry]:
    """Shows under which word things are listed, and what only the features tell.

    Both only if failures are due to what the page of a product did not show.

    Args:
      shown: failures and successes.
      causes: what the failures are due to.
      known: title -> principle of the skills that there are; what they say is not said again,
        unless several successes are under another word.
    """
    wins = [recording for recording in shown if recording.won]
    if "attribute" not in causes or not wins:
        return []
    why = ADVICE["attribute"].wrong
    found = []
    for thing, where in listings(shown).items():
        item = listed(thing, where)
        rule = known.get(item["title"])
        if rule is None:
            reason = f"It was not known which {thing} is right."
        elif count_tasks(where.sources) > 1 and not set(where.words) & set(
            re.findall("[a-z]+", rule)
        ):
            reason = f"There is no right {thing} where it says."
        else:
            continue
        found.append(item | {"category": where.category, "cause": reason})
    for category in dict.fromkeys(recording.category for recording in wins):
        mine = [recording for recording in wins if recording.category == category]
        found += [
            item | {"category": category, "cause": why}
            for item in _checks(mine)
            if item["title"] not in known
        ]
    return found


def pattern_texts() -> list[str]:
    """Returns every fixed word of the above."""
    checks = [part.replace("{words}", "") for part in _CHECK]
    checks += [part.replace("{thing}", "").replace("{word}", "") for part in FOUND]
    return [
        _STEPS,
        *(fill(form, ()) for form in _FORMS.values()),
        _WHEN.format(category=""),
        *checks,
    ]


def _advice(cause: str, shown: Sequence[Recording]) -> Entry:
    return advised(ADVICE[cause], lambda text: fill(text, shown), [r.id for r in shown])


def _options(shown: Sequence[Recording]) -> str:
    forgotten: collections.Counter[str] = collections.Counter()
    wanted: collections.Counter[str] = collections.Counter()
    for recording in shown:
        wish, bought = read_wish(recording.goal), bought_in(read_acts(recording))
        wanted.update(name for name, _ in wish.options)
        if bought and not recording.won:
            forgotten.update(name for name, _ in missing_options(wish, bought))
    counts = forgotten or wanted
    chosen: list[str] = []
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        longer = sorted([*chosen, name])  # the same title, whichever was forgotten more often
        if len(" and ".join(longer).split()) <= _NAMES:
            chosen = longer
    return " and ".join(chosen) or "options"


def _checked(recording: Recording) -> str:
    """Returns words of the goal that only the features of what was bought had; or ""."""
    wish, bought = read_wish(recording.goal), bought_in(read_acts(recording))
    if bought is None or not bought.read:
        return ""
    found = (wish.words - words_of(bought.title)) & words_of(bought.read)
    return " ".join(word for word in wish.phrase.split() if words_of(word) & found)


def _checks(wins: Sequence[Recording]) -> list[Entry]:
    sources: dict[str, list[str]] = {}
    for recording in wins:
        words = _checked(recording)
        if words and len(words.split()) <= _NAMES:
            sources.setdefault(words, []).append(recording.id)
    order = sorted(sources, key=lambda words: (-len(sources[words]), words))
    title, principle, when = _CHECK
    return [
        entry(
            title.format(words=words), principle.format(words=words), when, sources=sources[words]
        )
        for words in order[:_CHECKS]
    ]


def _kind(recording: Recording) -> str:
    """Returns the key of `_FORMS` that the recording shows."""
    if _checked(recording):
        return "features"
    bought = bought_in(read_acts(recording))
    return "options" if bought and bought.chosen else "plain"
