"""Lists what the generated world is about: kinds of things, and what is said and asked of them."""

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Describes what may be known about a thing; ``{x}`` is the thing, ``{y}`` the value.

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
        """Returns what a passage says: ``Ada Holt lives in Old Ford.``"""
        return self.says.format(x=thing, y=value)


RELATIONS = {
    relation.key: relation
    for relation in (
        Relation(key="born", subject=PERSON, value=TOWN, says="{x} was born in {y}.",
                 asks="Where was {x} born?", phrase="the town where {x} was born"),
        Relation(key="home", subject=PERSON, value=TOWN, says="{x} lives in {y}.",
                 asks="Where does {x} live?", phrase="the town where {x} lives"),
        Relation(key="employer", subject=PERSON, value=COMPANY, says="{x} works for {y}.",
                 asks="Which company does {x} work for?", phrase="the company that {x} works for"),
        Relation(key="job", subject=PERSON, value="job", says="{x} is a {y}.",
                 asks="What is the job of {x}?", compares="Which of the two is a {y}, {a} or {b}?"),
        Relation(key="sisters", subject=PERSON, value=NUMBER, says="{x} has {y} sisters.",
                 asks="How many sisters does {x} have?",
                 compares="Who has {more} sisters, {a} or {b}?"),
        Relation(key="mayor", subject=TOWN, value=PERSON, says="{x} has the mayor {y}.",
                 asks="Who is the mayor of {x}?", phrase="the mayor of {x}"),
        Relation(key="doctor", subject=TOWN, value=PERSON, says="{x} has the doctor {y}.",
                 asks="Who is the doctor of {x}?", phrase="the doctor of {x}"),
        Relation(key="food", subject=TOWN, value="food", says="{x} is known for {y}.",
                 asks="What is {x} known for?",
                 compares="Which town is known for {y}, {a} or {b}?"),
        Relation(key="bridges", subject=TOWN, value=NUMBER, says="{x} has {y} bridges.",
                 asks="How many bridges does {x} have?",
                 compares="Which town has {more} bridges, {a} or {b}?"),
        Relation(key="author", subject=BOOK, value=PERSON, says="{x} was written by {y}.",
                 asks="Who wrote {x}?", phrase="the author of {x}"),
        Relation(key="artist", subject=BOOK, value=PERSON, says="{x} was illustrated by {y}.",
                 asks="Who illustrated {x}?", phrase="the artist of {x}"),
        Relation(key="printer", subject=BOOK, value=COMPANY, says="{x} was printed by {y}.",
                 asks="Which company printed {x}?", phrase="the company that printed {x}"),
        Relation(key="animal", subject=BOOK, value="animal", says="{x} is about a {y}.",
                 asks="What animal is {x} about?",
                 compares="Which book is about a {y}, {a} or {b}?"),
        Relation(key="chapters", subject=BOOK, value=NUMBER, says="{x} has {y} chapters.",
                 asks="How many chapters does {x} have?",
                 compares="Which book has {more} chapters, {a} or {b}?"),
        Relation(key="founder", subject=COMPANY, value=PERSON, says="{x} was founded by {y}.",
                 asks="Who founded {x}?", phrase="the founder of {x}"),
        Relation(key="leader", subject=COMPANY, value=PERSON, says="{x} is led by {y}.",
                 asks="Who leads {x}?", phrase="the leader of {x}"),
        Relation(key="place", subject=COMPANY, value=TOWN, says="{x} stands in {y}.",
                 asks="In which town does {x} stand?", phrase="the town where {x} stands"),
        Relation(key="goods", subject=COMPANY, value="goods", says="{x} makes {y}.",
                 asks="What does {x} make?",
                 compares="Which company makes {y}, {a} or {b}?"),
        Relation(key="ships", subject=COMPANY, value=NUMBER, says="{x} owns {y} ships.",
                 asks="How many ships does {x} own?",
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
