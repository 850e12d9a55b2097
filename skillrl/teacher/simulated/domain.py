"""Defines what the simulated teacher must know of one kind of tasks to write skills for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skillrl.teacher.simulated.recordings import Recording

_MAX_SOURCES = 8

Entry = dict[str, Any]
"""A skill in the form that `skills.prompts` asks for."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Advises against one cause of failure. Texts may hold ``{slots}`` that `Domain.fill` fills.

    Attributes:
      title: of the skill, at most 4 words.
      principle: at most 14 words.
      stronger: other words for the same, where the first did not help.
      when: at most 8 words.
      mistake: title of the mistake.
      wrong: what was wrong, for lessons.
    """

    title: str
    principle: str
    stronger: str
    when: str
    mistake: str
    wrong: str


def _nothing(*shown: Any) -> list[Entry]:
    return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Domain:
    """Describes a kind of tasks, as far as its texts show it.

    Attributes:
      name: for people.
      environments: registered names of the environments whose texts it reads.
      advice: cause of failure -> what to say against it; of equally frequent causes, the
        earlier one goes first.
      general: causes that have nothing to do with one category.
      habits: skills without sources that are good in every category.
      evidence: how many parts of a recording (moves, goal) are of this kind; 0: it is foreign.
      causes: keys of `advice` that fit a failed recording, the decisive one first.
      fill: puts words of the recordings' tasks (none: of no task in particular) into a text, and
        makes its first letter a capital.
      patterns: what successes of one category show, the procedure first.
      think: one short thought per move of a success, in the manner of the expert.
      vocabulary: texts that hold every fixed word of the domain.
      shared: what recordings of all categories show that holds in each of them.
      findings: (all recordings, causes of the failures among them, title -> principle of the
        skills that there are) -> what the recordings show against these causes, each with its
        ``category`` and the ``cause``: new skills, and better words under a known title.
    """

    name: str
    environments: tuple[str, ...]
    advice: Mapping[str, Advice]
    general: tuple[str, ...]
    habits: tuple[Entry, ...]
    evidence: Callable[[Recording], int]
    causes: Callable[[Recording], list[str]]
    fill: Callable[[str, Sequence[Recording]], str]
    patterns: Callable[[Sequence[Recording]], list[Entry]]
    think: Callable[[Recording], list[str]]
    vocabulary: Callable[[], list[str]]
    shared: Callable[[Sequence[Recording]], list[Entry]] = _nothing
    findings: Callable[[Sequence[Recording], Sequence[str], Mapping[str, str]], list[Entry]] = (
        _nothing
    )


def entry(title: str, principle: str, when: str, *, sources: Sequence[str] = ()) -> Entry:
    """Returns a skill in the form that the teacher answers in.

    Args:
      title: name of the skill.
      principle: what to do.
      when: the situation it is for.
      sources: ids of the recordings that show it.
    """
    return {
        "title": title,
        "principle": principle,
        "when_to_apply": when,
        "sources": cited(sources),
    }


def cited(sources: Sequence[str]) -> list[str]:
    """Returns the first few of `sources`, each once."""
    return list(dict.fromkeys(sources))[:_MAX_SOURCES]


def advised(
    advice: Advice, fill: Callable[[str], str], sources: Sequence[str], *, stronger: bool = False
) -> Entry:
    """Returns the skill that `advice` gives.

    Args:
      advice: words with slots.
      fill: fills the slots of a text.
      sources: ids of the recordings that show the need.
      stronger: take the other words, since the first did not help.
    """
    when = fill(advice.when)
    principle = advice.stronger if stronger else advice.principle
    return entry(fill(advice.title), fill(principle), when[:1].lower() + when[1:], sources=sources)


def advice_texts(advice: Mapping[str, Advice], habits: Sequence[Entry] = ()) -> list[str]:
    """Returns all texts that skills take from `advice` and `habits`."""
    texts = [
        text
        for a in advice.values()
        for text in (a.title, a.principle, a.stronger, a.when, a.mistake)
    ]
    texts += [habit[key] for habit in habits for key in ("title", "principle", "when_to_apply")]
    return list(dict.fromkeys(texts))


def capital(text: str) -> str:
    """Puts the first letter of `text` in upper case."""
    return text[:1].upper() + text[1:]


def short(text: str, most: int) -> str:
    """Keeps at most `most` words of `text`; a text that is cut ends with a period."""
    words = text.split()
    if len(words) > most:
        words = [*words[: most - 1], words[most - 1].rstrip(",.") + "."]
    return " ".join(words)
