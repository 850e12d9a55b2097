"""Reads the cards of archives that disagree, and which archive an episode shows to be right.

A card is a passage like "Ada Holt, ledger: born in Old Ford; job baker.": of a name, in an archive,
each claim after the word of the questions that it answers. Whether a claim is true, only the end of
an episode tells: the answer was right, or it was not.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence

from skillrl.teacher.simulated.domain import Entry, entry
from skillrl.teacher.simulated.questions.reading import (
    Turn,
    compares,
    holds,
    names_in,
    normal,
    read_turns,
    two_steps,
)
from skillrl.teacher.simulated.recordings import GENERAL, Recording, count_tasks

_CARD = re.compile(r"([^,:;]+), ([a-z]+): ([^:]+?)\.?")
_CLAIM = re.compile(r"([a-z]+)(?: (?:in|for|by))? (.+)")
_AGAINST = 3  # agreements that one disagreement outweighs

SEARCH_IN = "Search in {archive} when the question says {topic}."
"""The rule that says which archive is right about what; two archives are joined by or."""


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """What a passage says of a name: `claims` are topic -> (text, value)."""

    name: str
    archive: str
    claims: Mapping[str, tuple[str, str]]


def read_cards(turn: Turn) -> list[Card]:
    """Returns the cards that a search found, in order."""
    found = []
    for title, text in turn.documents:
        card = _CARD.fullmatch(text.strip())
        if not card or normal(card[1]) != normal(title):
            continue
        claims = {}
        for part in card[3].split("; "):
            if claim := _CLAIM.fullmatch(part):
                claims[claim[1]] = part, claim[2]
        found.append(Card(card[1], card[2], claims))
    return found


def asked_of(card: Card, question: str) -> str:
    """Returns the topic of a card that a question asks about, or ""."""
    return next((topic for topic in card.claims if holds(question, topic)), "")


def misled(recording: Recording) -> bool:
    """Tells whether a card said what was answered, about what was asked, and was wrong."""
    turns = read_turns(recording)
    answers = [turn.answer for turn in turns if turn.answer is not None]
    if recording.won or not answers:
        return False
    if compares(recording):
        return any(not right for *_, right in verdicts(recording))
    last = [turn for turn in turns if turn.query][-1:]
    return any(
        normal(card.claims[topic][1]) == normal(answers[-1])
        for turn in last
        for card in read_cards(turn)
        if (topic := asked_of(card, recording.goal)) and holds(turn.query, card.name)
    )


def verdicts(recording: Recording) -> list[tuple[str, str, bool]]:
    """Returns (topic, archive, was it right) of each claim that the episode puts to the test.

    What was answered is the truth after a success, and false after a failure, which says little:
    of a question of two steps, nothing, as either may be wrong, or the second was not taken. Of
    two names that are compared, a failure at one says that it was the other.
    """
    turns = read_turns(recording)
    answers = [normal(turn.answer) for turn in turns if turn.answer is not None]
    if not answers:
        return []
    cards = [card for turn in turns for card in read_cards(turn)]
    names = [normal(name) for name in names_in(recording.goal)]
    if compares(recording):
        return list(dict.fromkeys(_compared(recording, cards, names[-2:], answers[-1])))
    queries = [turn.query for turn in turns if turn.query]
    last = next((c for c in cards if queries and holds(queries[-1], c.name)), None)
    if last is None or (two_steps(recording) and not recording.won):
        return []
    truth = {normal(last.name): answers[-1]}
    if normal(last.name) not in names:  # it was found on the way
        if not recording.won:
            return []
        truth |= {name: normal(last.name) for name in names}
    found = []
    for card in cards:
        topic = asked_of(card, recording.goal)
        if topic and normal(card.name) in truth:
            same = normal(card.claims[topic][1]) == truth[normal(card.name)]
            if recording.won or same:
                found.append((topic, card.archive, same and recording.won))
    return list(dict.fromkeys(found))


def _compared(
    recording: Recording, cards: Sequence[Card], names: Sequence[str], answer: str
) -> list[tuple[str, str, bool]]:
    if answer not in names or len(names) < 2:
        return []
    winner = answer if recording.won else next(name for name in names if name != answer)
    found = []
    for card in cards:
        topic, name = asked_of(card, recording.goal), normal(card.name)
        if not topic or name not in names:
            continue
        wanted = holds(recording.goal, card.claims[topic][1])
        if wanted or name == winner:  # that the other is something else, any card may say
            found.append((topic, card.archive, wanted and name == winner))
    return found


def archives(recordings: Sequence[Recording]) -> list[Entry]:
    """Shows which archive is right about what, of which most recordings tell first.

    Few tests leave several archives that were never wrong: then two are named, and they may both be
    the wrong ones.
    """
    scores: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    sources: dict[str, dict[str, None]] = collections.defaultdict(dict)
    tested = set()  # a card says the same to all who play one task: it counts once
    for recording in recordings:
        for topic, archive, right in verdicts(recording):
            sources[topic][recording.id] = None
            if (topic, archive, right, recording.task) not in tested:
                tested.add((topic, archive, right, recording.task))
                scores[topic][archive] += 1 if right else -_AGAINST
    found = []
    for topic in sorted(scores, key=lambda name: (-len(sources[name]), name)):
        ranked = sorted(scores[topic].items(), key=lambda item: (-item[1], item[0]))
        best = ranked[0][1]
        often = [name for name, score in ranked[:2] if score > 0 and 2 * score > best]
        if often:
            found.append(_find(topic, often, list(sources[topic])))
    return found


def findings(
    shown: Sequence[Recording], causes: Sequence[str], known: Mapping[str, str]
) -> list[Entry]:
    """Shows which archives are right, what the failures asked first.

    Args:
      shown: failures, and successes at the same tasks.
      causes: what the failures are due to; unless a card misled, nothing is said.
      known: title -> principle of the skills that there are.

    Returns:
      Skills; under a known title only where the first archive that it names was not right.
    """
    if "misled" not in causes:
        return []
    lost = " ".join(recording.goal for recording in shown if not recording.won)
    entries = archives(shown)
    entries.sort(key=lambda item: not holds(lost, _topic(item)))
    found = []
    for item in entries:
        topic, words = _topic(item), known.get(item["title"])
        item |= {"category": GENERAL, "cause": f"It was not known which card of {topic} is right."}
        if words is None:
            found.append(item)
        elif (
            count_tasks(item["sources"]) > 1
            and told_archive([words], topic) not in item["principle"]
        ):
            found.append(item | {"cause": f"The card of {topic} is wrong where it says."})
    return found


def told_archive(rules: Sequence[str], topic: str) -> str:
    """Returns the archive that rules name for a topic, the first of two; "" where none does."""
    before, after = map(re.escape, SEARCH_IN.format(topic=topic, archive="\n").split("\n"))
    form = rf"{before}(\w+)(?: or \w+)?{after}"
    return next((match[1] for rule in rules if (match := re.fullmatch(form, rule))), "")


def card_texts() -> list[str]:
    """Returns every fixed word of the above."""
    return [SEARCH_IN.format(topic="", archive="or"), "Find it", "the question says it"]


def _find(topic: str, names: Sequence[str], sources: Sequence[str]) -> Entry:
    principle = SEARCH_IN.format(topic=topic, archive=" or ".join(names))
    return entry(f"Find {topic}", principle, f"the question says {topic}", sources=sources)


def _topic(item: Entry) -> str:
    return item["title"].removeprefix("Find ")
