"""Lists what the generated world is about: kinds of things, and what is said and asked of them."""

from __future__ import annotations

import dataclasses

PERSON, TOWN, BOOK, COMPANY = "person", "town", "book", "company"
KINDS = (PERSON, TOWN, BOOK, COMPANY)
NUMBER = "number"
ARCHIVES = ("ledger", "almanac", "gazette", "register", "atlas")
"""Where there is a card about every thing."""

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
      key: unique name: the word that stands in its question and on the card before the value.
      subject: kind of the thing.
      value: kind of the value: one of `KINDS` or a key of `VALUES`.
      says: what a card says; it begins with the key.
      asks: the question.
      phrase: the value named by way of the thing, where the value is a thing.
      compares: a question about two things, ``{a}`` and ``{b}``.
    """

    key: str
    subject: str
    value: str
    says: str
    asks: str
    phrase: str = ""
    compares: str = ""

    def sentence(self, thing: str, value: str) -> str:
        """Returns what a card says of a thing: ``Ada Holt: born in Old Ford.``"""
        return f"{thing}: {self.claim(value)}."

    def claim(self, value: str) -> str:
        """Returns what stands on a card: ``born in Old Ford``."""
        return self.says.format(y=value)


RELATIONS = {
    relation.key: relation
    for relation in (
        Relation(key="born", subject=PERSON, value=TOWN, says="born in {y}",
                 asks="Where was {x} born?", phrase="the town where {x} was born"),
        Relation(key="employer", subject=PERSON, value=COMPANY, says="employer {y}",
                 asks="Who is the employer of {x}?", phrase="the employer of {x}"),
        Relation(key="job", subject=PERSON, value="job", says="job {y}",
                 asks="What is the job of {x}?", compares="Whose job is {y}, {a} or {b}?"),
        Relation(key="sisters", subject=PERSON, value=NUMBER, says="sisters {y}",
                 asks="How many sisters does {x} have?"),
        Relation(key="mayor", subject=TOWN, value=PERSON, says="mayor {y}",
                 asks="Who is the mayor of {x}?", phrase="the mayor of {x}"),
        Relation(key="doctor", subject=TOWN, value=PERSON, says="doctor {y}",
                 asks="Who is the doctor of {x}?", phrase="the doctor of {x}"),
        Relation(key="known", subject=TOWN, value="food", says="known for {y}",
                 asks="What is {x} known for?",
                 compares="Which town is known for {y}, {a} or {b}?"),
        Relation(key="bridges", subject=TOWN, value=NUMBER, says="bridges {y}",
                 asks="How many bridges does {x} have?"),
        Relation(key="author", subject=BOOK, value=PERSON, says="author {y}",
                 asks="Who is the author of {x}?", phrase="the author of {x}"),
        Relation(key="printed", subject=BOOK, value=COMPANY, says="printed by {y}",
                 asks="Which company printed {x}?", phrase="the company that printed {x}"),
        Relation(key="animal", subject=BOOK, value="animal", says="animal {y}",
                 asks="What animal is {x} about?",
                 compares="Which book has the animal {y}, {a} or {b}?"),
        Relation(key="chapters", subject=BOOK, value=NUMBER, says="chapters {y}",
                 asks="How many chapters does {x} have?"),
        Relation(key="founder", subject=COMPANY, value=PERSON, says="founder {y}",
                 asks="Who is the founder of {x}?", phrase="the founder of {x}"),
        Relation(key="seat", subject=COMPANY, value=TOWN, says="seat in {y}",
                 asks="Where is the seat of {x}?", phrase="the town with the seat of {x}"),
        Relation(key="goods", subject=COMPANY, value="goods", says="goods {y}",
                 asks="What goods does {x} make?",
                 compares="Whose goods are {y}, {a} or {b}?"),
        Relation(key="ships", subject=COMPANY, value=NUMBER, says="ships {y}",
                 asks="How many ships does {x} own?"),
    )
}  # fmt: skip
