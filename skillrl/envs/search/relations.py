"""What the generated world is about: kinds of things, and what is said and asked of them."""

from __future__ import annotations

import dataclasses

PERSON, TOWN, BOOK, COMPANY = "person", "town", "book", "company"
KINDS = (PERSON, TOWN, BOOK, COMPANY)
NUMBER = "number"

NAMES = {
    PERSON: (
        "Ada Bram Cora Dario Edda Felix Greta Hugo Ines Jonas Kira Leo Mara Nils Orla Pavel "
        "Rosa Sven Tilda Viktor",
        "Adler Brook Castle Dunn Ferro Grant Holt Ibsen Jarvis Keller Lund Moss Novak Penn "
        "Quill Reed Stone Tanner Venn Weber",
    ),
    TOWN: (
        "North South East West Upper Lower Little Great Saint Port New Old",
        "Ford Harbor Hill Bridge Haven Marsh Dale Field Cross Wells",
    ),
    BOOK: (
        "Silver Golden Broken Hidden Silent Burning Frozen Crimson Hollow Lonely Wild Secret",
        "Gate Tower River Garden Mirror Crown Forest Island Lantern Shadow Winter Song",
    ),
    COMPANY: (
        "Falcon Badger Comet Anchor Willow Granite Copper Harvest Meteor Beacon",
        "Mills Works Press Lines Bank Trading Foods Motors",
    ),
}
"""Kind -> first and second words of names; a name is one of each."""

VALUES = {
    "job": "baker tailor nurse painter farmer teacher sailor lawyer clerk cook",
    "food": "honey cheese apples bread olives plums beans garlic cherries salt",
    "animal": "fox bear whale raven horse tiger turtle wolf goat rabbit",
    "goods": "rope glass paper shoes clocks bells carpets candles barrels soap",
    NUMBER: "1 2 3 4 5 6 7 8 9",
}
"""Kind of value -> its words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """Something that may be known about a thing; ``{x}`` is the thing, ``{y}`` the value.

    Attributes:
      key: unique name.
      subject: kind of the thing.
      value: kind of the value: one of `KINDS` or a key of `VALUES`.
      says: the sentence of a passage; what stands between the two belongs to this relation.
      asks: the question.
      phrase: the value named by way of the thing, where the value is a thing.
      compares: a question about two things, ``{a}`` and ``{b}``; where the value is a number,
        ``{more}`` is "more" or "fewer".
    """

    key: str
    subject: str
    value: str
    says: str
    asks: str
    phrase: str = ""
    compares: str = ""

    def sentence(self, thing: str, value: str) -> str:
        """What a passage says: ``Ada Holt lives in Old Ford.``"""
        return self.says.format(x=thing, y=value)


RELATIONS = {
    relation.key: relation
    for relation in (
        Relation("born", PERSON, TOWN, "{x} was born in {y}.",
                 "Where was {x} born?", "the town where {x} was born"),
        Relation("home", PERSON, TOWN, "{x} lives in {y}.",
                 "Where does {x} live?", "the town where {x} lives"),
        Relation("employer", PERSON, COMPANY, "{x} works for {y}.",
                 "Which company does {x} work for?", "the company that {x} works for"),
        Relation("job", PERSON, "job", "{x} is a {y}.",
                 "What is the job of {x}?", compares="Which of the two is a {y}, {a} or {b}?"),
        Relation("sisters", PERSON, NUMBER, "{x} has {y} sisters.",
                 "How many sisters does {x} have?",
                 compares="Who has {more} sisters, {a} or {b}?"),
        Relation("mayor", TOWN, PERSON, "{x} has the mayor {y}.",
                 "Who is the mayor of {x}?", "the mayor of {x}"),
        Relation("doctor", TOWN, PERSON, "{x} has the doctor {y}.",
                 "Who is the doctor of {x}?", "the doctor of {x}"),
        Relation("food", TOWN, "food", "{x} is known for {y}.",
                 "What is {x} known for?",
                 compares="Which town is known for {y}, {a} or {b}?"),
        Relation("bridges", TOWN, NUMBER, "{x} has {y} bridges.",
                 "How many bridges does {x} have?",
                 compares="Which town has {more} bridges, {a} or {b}?"),
        Relation("author", BOOK, PERSON, "{x} was written by {y}.",
                 "Who wrote {x}?", "the author of {x}"),
        Relation("artist", BOOK, PERSON, "{x} was illustrated by {y}.",
                 "Who illustrated {x}?", "the artist of {x}"),
        Relation("printer", BOOK, COMPANY, "{x} was printed by {y}.",
                 "Which company printed {x}?", "the company that printed {x}"),
        Relation("animal", BOOK, "animal", "{x} is about a {y}.",
                 "What animal is {x} about?",
                 compares="Which book is about a {y}, {a} or {b}?"),
        Relation("chapters", BOOK, NUMBER, "{x} has {y} chapters.",
                 "How many chapters does {x} have?",
                 compares="Which book has {more} chapters, {a} or {b}?"),
        Relation("founder", COMPANY, PERSON, "{x} was founded by {y}.",
                 "Who founded {x}?", "the founder of {x}"),
        Relation("leader", COMPANY, PERSON, "{x} is led by {y}.",
                 "Who leads {x}?", "the leader of {x}"),
        Relation("place", COMPANY, TOWN, "{x} stands in {y}.",
                 "In which town does {x} stand?", "the town where {x} stands"),
        Relation("goods", COMPANY, "goods", "{x} makes {y}.",
                 "What does {x} make?",
                 compares="Which company makes {y}, {a} or {b}?"),
        Relation("ships", COMPANY, NUMBER, "{x} owns {y} ships.",
                 "How many ships does {x} own?",
                 compares="Which company owns {more} ships, {a} or {b}?"),
    )
}  # fmt: skip

PASSAGES = {
    PERSON: (("born", "home"), ("employer", "job", "sisters")),
    TOWN: (("mayor", "doctor"), ("food", "bridges")),
    BOOK: (("author", "artist"), ("printer", "animal", "chapters")),
    COMPANY: (("founder", "leader"), ("place", "goods", "ships")),
}
"""Kind -> the passages about such a thing, and what each tells."""

RUMOUR = "Some say that"
"""Begins a passage whose claim is false; its title is `GOSSIP`."""
GOSSIP = "Gossip"
