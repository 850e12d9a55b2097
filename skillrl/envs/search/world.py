"""Invents a small world of people, towns, books and companies, as a corpus of passages.

It has two parts that never refer to each other: most things are in the part that training asks
about, the others are kept for ``valid_unseen``. Names of both are made of the same words. A
passage is the card of one thing in one archive, and tells all its facts, in any order. What is
true of them, the custom decides (`skillrl.envs.search.customs`).
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping

from skillrl.envs.search.customs import WRONG, right_about
from skillrl.envs.search.documents import Document
from skillrl.envs.search.relations import (
    ARCHIVES,
    BOOK,
    COMPANY,
    KINDS,
    NAMES,
    PERSON,
    RELATIONS,
    TOWN,
    VALUES,
    Relation,
)

SIZES = (
    {PERSON: 46, TOWN: 24, BOOK: 38, COMPANY: 24},
    {PERSON: 16, TOWN: 9, BOOK: 14, COMPANY: 9},
)
"""Things of each kind in the part that is trained on, and in the part that is not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    """Describes somebody or something with a page of its own.

    Attributes:
      name: two capitalised words, unique in the world.
      kind: one of `KINDS`.
      facts: relation -> value: a word, or the name of another thing of the same part.
    """

    name: str
    kind: str
    facts: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Holds things by name, for the part that is trained on and the other, and all passages."""

    parts: tuple[Mapping[str, Thing], Mapping[str, Thing]]
    documents: tuple[Document, ...]


def make_world(seed: int = 0, *, custom: int = 0) -> World:
    """Returns the world of a seed; the same in every process.

    Args:
      seed: of things and facts.
      custom: number of the custom by which archives are right; 0 for none. Things, facts and so
        the questions are the same whatever it is.
    """
    rng = random.Random(f"search world {seed}")
    names = {kind: _names(kind, rng) for kind in KINDS}
    parts, texts = [], []
    claims = random.Random(f"search claims {seed} {custom}")
    for sizes in SIZES:
        members = {kind: [next(names[kind]) for _ in range(sizes[kind])] for kind in KINDS}
        part = {
            name: Thing(name, kind, _facts(name, kind, members=members, rng=rng))
            for kind in KINDS
            for name in members[kind]
        }
        parts.append(part)
        for thing in part.values():
            texts += _cards(thing, members, right=right_about(custom), rng=claims)
    claims.shuffle(texts)
    documents = tuple(Document(str(i), text) for i, text in enumerate(texts))
    return World((parts[0], parts[1]), documents)


def things_of(relation: Relation, part: Mapping[str, Thing]) -> list[Thing]:
    """Returns the things of which `relation` says something, in order."""
    return [thing for thing in part.values() if thing.kind == relation.subject]


def _names(kind: str, rng: random.Random) -> itertools.chain[str]:
    first, last = (words.split() for words in NAMES[kind])
    names = [f"{a} {b}" for a in first for b in last]
    rng.shuffle(names)
    return itertools.chain(names)


def _facts(
    name: str, kind: str, *, members: Mapping[str, list[str]], rng: random.Random
) -> dict[str, str]:
    facts: dict[str, str] = {}
    for relation in RELATIONS.values():
        if relation.subject == kind:
            taken = {name, *facts.values()}  # mayor and doctor of a town are two
            values = _range(relation.value, members)
            facts[relation.key] = rng.choice([v for v in values if v not in taken])
    return facts


def _range(value: str, members: Mapping[str, list[str]]) -> list[str]:
    return members[value] if value in members else VALUES[value].split()


def _cards(
    thing: Thing,
    members: Mapping[str, list[str]],
    *,
    right: Mapping[str, str],
    rng: random.Random,
) -> list[str]:
    """Returns the cards of a thing, all of equal length, so that its name finds any of them."""
    texts = []
    for archive in ARCHIVES:
        claims = []
        for key, value in thing.facts.items():
            others = [v for v in _range(RELATIONS[key].value, members) if v != value]
            wrong = rng.choice(others) if rng.random() < WRONG else value
            claims.append(
                RELATIONS[key].claim(value if right.get(key, archive) == archive else wrong)
            )
        rng.shuffle(claims)
        texts.append(f'"{thing.name}"\n{thing.name}, {archive}: {"; ".join(claims)}.')
    return texts
