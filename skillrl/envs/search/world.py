"""Invents a small world of people, towns, books and companies, as a corpus of passages.

It has two parts that never refer to each other: most things are in the part that training asks
about, the others are kept for ``valid_unseen``. Names of both are made of the same words. A
passage is of one thing and tells two or three facts, in any order; what a passage of gossip
says of a thing is false.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping

from skillrl.envs.search.documents import Document
from skillrl.envs.search.relations import (
    BOOK,
    COMPANY,
    GOSSIP,
    KINDS,
    NAMES,
    NUMBER,
    PASSAGES,
    PERSON,
    RELATIONS,
    RUMOUR,
    TOWN,
    VALUES,
    Relation,
)

SIZES = (
    {PERSON: 46, TOWN: 24, BOOK: 38, COMPANY: 24},
    {PERSON: 16, TOWN: 9, BOOK: 14, COMPANY: 9},
)
"""Things of each kind in the part that is trained on, and in the part that is not."""
RUMOURS = (102, 38)
"""Passages of gossip about each part: of all but numbers, which nobody gossips about."""


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


def make_world(seed: int = 0) -> World:
    """Returns the world of a seed; the same in every process."""
    rng = random.Random(f"search world {seed}")
    names = {kind: _names(kind, rng) for kind in KINDS}
    parts, texts = [], []
    for sizes, rumours in zip(SIZES, RUMOURS, strict=True):
        members = {kind: [next(names[kind]) for _ in range(sizes[kind])] for kind in KINDS}
        part = {
            name: Thing(name, kind, _facts(name, kind, members=members, rng=rng))
            for kind in KINDS
            for name in members[kind]
        }
        parts.append(part)
        texts += [text for thing in part.values() for text in _passages(thing, rng)]
        texts += _gossip(part, members, count=rumours, rng=rng)
    rng.shuffle(texts)
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
    for key in itertools.chain(*PASSAGES[kind]):
        value = RELATIONS[key].value
        taken = {name, *facts.values()}  # two towns of a person are two
        facts[key] = rng.choice([v for v in _range(value, members) if v not in taken])
    return facts


def _range(value: str, members: Mapping[str, list[str]]) -> list[str]:
    return members[value] if value in members else VALUES[value].split()


def _passages(thing: Thing, rng: random.Random) -> list[str]:
    texts = []
    for keys in PASSAGES[thing.kind]:
        said = [RELATIONS[key].sentence(thing.name, thing.facts[key]) for key in keys]
        rng.shuffle(said)
        texts.append(f'"{thing.name}"\n{" ".join(said)}')
    return texts


def _gossip(
    part: Mapping[str, Thing], members: Mapping[str, list[str]], *, count: int, rng: random.Random
) -> list[str]:
    known = [
        (thing, key)
        for thing in part.values()
        for key in thing.facts
        if RELATIONS[key].value != NUMBER
    ]
    texts = []
    for thing, key in rng.sample(known, count):
        relation = RELATIONS[key]
        wrong = [v for v in _range(relation.value, members) if v != thing.facts[key]]
        claim = relation.sentence(thing.name, rng.choice(wrong))
        texts.append(f'"{GOSSIP}"\n{RUMOUR} {claim}')
    return texts
