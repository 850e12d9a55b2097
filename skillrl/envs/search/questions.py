"""Asks about the generated world: what is asked, how it is read back, and the manifest.

``train`` and ``valid_seen`` ask about the same part of the world and share no question;
``valid_unseen`` asks about the other. Every list is interleaved by category, so that every
prefix of it is balanced.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from skillrl.envs.base import SPLITS
from skillrl.envs.search.categories import ATTRIBUTE, CATEGORIES, COMPARISON, DIRECT, MULTI_HOP
from skillrl.envs.search.documents import Document
from skillrl.envs.search.relations import KINDS, RELATIONS, Relation
from skillrl.envs.search.world import Thing, World, things_of
from skillrl.errors import SkillRLError
from skillrl.types import Task

SIZES = {"train": 800, "valid_seen": 120, "valid_unseen": 120}

_NAME = r"([A-Z][a-z]+ [A-Z][a-z]+)"
_PAIRS = 6  # comparisons per thing and relation


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """Asks for ``last`` of the thing that is ``first`` of `name`; "" as `first` is one hop."""

    name: str
    last: str
    first: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Asks which of `a` and `b` has the value `wanted` of a relation."""

    a: str
    b: str
    relation: str
    wanted: str


def parse_question(question: str) -> Lookup | Comparison:
    """Reads a question of the generated world.

    Raises:
      SkillRLError: it fits none of the templates.
    """
    for pattern, meaning in _forms():
        if match := pattern.fullmatch(question.strip()):
            if isinstance(meaning, Lookup):
                return dataclasses.replace(meaning, name=match[1])
            return Comparison(match["a"], match["b"], meaning.relation, match["wanted"])
    raise SkillRLError(
        f"question {question!r}: not one of the generated world, so the expert cannot read it. "
        "Play this task with a policy."
    )


@functools.lru_cache(maxsize=1)
def _forms() -> list[tuple[re.Pattern[str], Lookup | Comparison]]:
    forms: list[tuple[re.Pattern[str], Lookup | Comparison]] = []
    for last in RELATIONS.values():
        forms.append((_pattern(last.asks, x=_NAME), Lookup("", last.key)))
        forms += [
            (_pattern(last.asks, x=_form(first.phrase, x=_NAME)), Lookup("", last.key, first.key))
            for first in _leading_to(last.subject)
        ]
        if last.compares:
            a, b = (rf"(?P<{name}>{_NAME[1:-1]})" for name in "ab")
            form = _pattern(last.compares, a=a, b=b, y="(?P<wanted>[a-z]+)")
            forms.append((form, Comparison("", "", last.key, "")))
    return forms


def _leading_to(kind: str) -> list[Relation]:
    return [r for r in RELATIONS.values() if r.value == kind and r.phrase]


def _form(template: str, **holes: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(holes[p] if i % 2 else re.escape(p) for i, p in enumerate(parts))


def _pattern(template: str, **holes: str) -> re.Pattern[str]:
    return re.compile(_form(template, **holes))


# All questions of a part of the world, as (category, question, answer).

Question = tuple[str, str, str]


def _one_hop(part: Mapping[str, Thing]) -> list[Question]:
    return [
        (
            DIRECT if relation.value in KINDS else ATTRIBUTE,
            relation.asks.format(x=thing.name),
            thing.facts[relation.key],
        )
        for relation in RELATIONS.values()
        for thing in things_of(relation, part)
    ]


def _two_hops(part: Mapping[str, Thing]) -> list[Question]:
    found = []
    for last in RELATIONS.values():
        for first in _leading_to(last.subject):
            for thing in things_of(first, part):
                answer = part[thing.facts[first.key]].facts[last.key]
                if answer != thing.name:
                    phrase = first.phrase.format(x=thing.name)
                    found.append((MULTI_HOP, last.asks.format(x=phrase), answer))
    return found


def _comparisons(part: Mapping[str, Thing], rng: random.Random) -> list[Question]:
    found = []
    asked = set()  # the same two the other way round are no new question
    for relation in (r for r in RELATIONS.values() if r.compares):
        things = things_of(relation, part)
        for thing, _ in itertools.product(things, range(_PAIRS)):
            other = rng.choice(things)
            mine, its = thing.facts[relation.key], other.facts[relation.key]
            pair = (relation.key, *sorted((thing.name, other.name)))
            if mine == its or pair in asked:
                continue
            asked.add(pair)
            a, b = rng.sample([thing, other], 2)
            text = relation.compares.format(a=a.name, b=b.name, y=mine)
            found.append((COMPARISON, text, thing.name))
    return found


def build_manifest(world: World, seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Returns all entries: id, category, question, answer."""
    rng = random.Random(f"search questions {seed}")
    pools = [_pool(part, rng) for part in world.parts]
    lists: dict[str, list[dict[str, Any]]] = {}
    used = dict.fromkeys(CATEGORIES, 0)
    for split in SPLITS:
        pool = pools[split == "valid_unseen"]
        each = SIZES[split] // len(CATEGORIES)
        first = dict.fromkeys(CATEGORIES, 0) if split == "valid_unseen" else dict(used)
        chosen = {c: pool[c][first[c] : first[c] + each] for c in CATEGORIES}
        used = {c: first[c] + each for c in CATEGORIES}
        lists[split] = [
            {
                "id": f"{split}/{number:04d}",
                "category": category,
                "question": question,
                "answer": answer,
            }
            for number, (category, question, answer) in enumerate(
                itertools.chain(*zip(*chosen.values(), strict=True))
            )
        ]
    return lists


def _pool(part: Mapping[str, Thing], rng: random.Random) -> dict[str, list[Question]]:
    """Draws each category's questions in random order, relations equally often at first."""
    asked = dict.fromkeys([*_one_hop(part), *_two_hops(part), *_comparisons(part, rng)])
    pool = {}
    for category in CATEGORIES:
        by_form: dict[object, list[Question]] = {}
        for question in (q for q in asked if q[0] == category):
            by_form.setdefault(_shape(question[1]), []).append(question)
        for questions in by_form.values():
            rng.shuffle(questions)
        turns = itertools.zip_longest(*by_form.values())
        pool[category] = [q for turn in turns for q in turn if q is not None]
    return pool


def _shape(question: str) -> object:
    meaning = parse_question(question)
    if isinstance(meaning, Lookup):
        return meaning.first, meaning.last
    return meaning.relation


# What ships.

CUSTOM = 1
"""Number of the custom of the shipped world: the base policy has not practised with it."""


@functools.lru_cache(maxsize=1)
def load_corpus() -> tuple[Document, ...]:
    """Returns the shipped corpus."""
    text = (resources.files("skillrl") / "assets" / "search" / "corpus.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(Document(row["id"], row["contents"]) for row in rows)


@functools.lru_cache(maxsize=1)
def load_tasks() -> dict[str, tuple[Task, ...]]:
    """Returns the shipped questions: split -> tasks in fixed order."""
    text = (resources.files("skillrl") / "assets" / "search" / "questions.json").read_text("utf-8")
    return tasks_of(json.loads(text))


def tasks_of(manifest: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, tuple[Task, ...]]:
    """Returns tasks of the entries of `build_manifest`."""
    return {
        split: tuple(
            Task(
                id=entry["id"],
                split=split,
                category=entry["category"],
                goal=entry["question"],
                payload={"answers": [entry["answer"]], "dataset": "generated"},
            )
            for entry in manifest[split]
        )
        for split in SPLITS
    }


def save(directory: str | Path, world: World, manifest: Mapping[str, Sequence[Any]]) -> None:
    """Writes corpus.jsonl and questions.json, a line for each document and question."""
    directory = Path(directory)
    rows = [json.dumps({"id": d.id, "contents": d.contents}) for d in world.documents]
    (directory / "corpus.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    parts = [
        f'"{split}": [\n' + ",\n".join(json.dumps(entry) for entry in manifest[split]) + "\n]"
        for split in SPLITS
    ]
    text = "{" + ",\n".join(parts) + "}\n"
    (directory / "questions.json").write_text(text, encoding="utf-8")
