"""Generates the small shops of a custom, in the official schema.

A shop sells the four kinds of one category, two to four products of each. Of a kind, the right
ones are listed under the word of the custom (`skillrl.envs.webshop.customs`). Others under other
words have the same title otherwise, and the same options and prices, but lack an attribute that
goals ask for and no page tells. Most kinds have a further snare:

- options: the wanted values must be chosen.
- halves: one product has one half of the values, its twin the other.
- dear: a twin, which the search mostly finds first, costs more than any goal allows.
- words: a twin of the right word has a title that lacks an attribute of the goal.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from skillrl.envs.webshop.customs import WORDS, listed_under
from skillrl.envs.webshop.generate import ASIN_HEADS, RawCatalogue, asin_parts, listing
from skillrl.envs.webshop.shelves import CHEAP, SHELVES, STYLES, USES, Shelf, dear

OPTIONS, HALVES, DEAR, WORDING = "options", "halves", "dear", "words"

FIRST_UNSEEN = 3004
"""Number of the first shop in which held-out goals are asked for; the others have training's."""

_SNARES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.46, ()),
    (0.12, (OPTIONS,)),
    (0.14, (OPTIONS, HALVES)),
    (0.10, (DEAR,)),
    (0.05, (DEAR, OPTIONS)),
    (0.08, (WORDING,)),
    (0.05, (WORDING, OPTIONS)),
)
"""Share of the kinds -> the snares that they have."""

_FIRST = 0.8  # share of the snares that the search finds before the right product
_SHARES = 6  # of the wishes: one is valid_seen's, one valid_unseen's, the others train's

Product = tuple[dict[str, Any], dict[str, Any]]
"""A product of items_shuffle.json, and its entry of items_ins_v2.json."""


def split_of(kind: str, attributes: Sequence[str]) -> str:
    """Returns the split in which a wish may be asked for; options and price do not matter."""
    digest = hashlib.sha256(json.dumps([kind, sorted(attributes)]).encode()).hexdigest()
    return {0: "valid_seen", 1: "valid_unseen"}.get(int(digest, 16) % _SHARES, "train")


def stock(number: int, custom: int) -> RawCatalogue:
    """Returns products, attributes and people's instructions (none), in the official schema.

    Of a shop before `FIRST_UNSEEN`, one kind is asked for in training and another one in
    valid_seen; of the others, one in valid_unseen.

    Args:
      number: of the shop, from 1; its category is that of `SHELVES` in turn.
      custom: number of its custom, from 1.
    """
    rng = random.Random(f"shop {number} of custom {custom}")
    shelf = SHELVES[(number - 1) % len(SHELVES)]
    asked = ("train", "valid_seen") if number < FIRST_UNSEEN else ("valid_unseen",)
    parts = asin_parts()
    heads, tails = rng.sample(parts[:ASIN_HEADS], ASIN_HEADS), parts[ASIN_HEADS:]
    asins = (head + rng.choice(tails) for head in heads)
    products, attributes = [], {}
    for place, (aisle, kind) in enumerate(rng.sample(shelf.kinds, len(shelf.kinds))):
        split = asked[place] if place < len(asked) else ""
        family = _Family(shelf, aisle=aisle, kind=kind, split=split, rng=rng)
        for product, entry in family.products(listed_under(custom)[kind], asins):
            products.append(product)
            attributes[product["asin"]] = entry
    return products, attributes, {}


class _Family:
    """Draws what all products of one kind have in common.

    Args:
      shelf: its category.
      aisle: second part of its path.
      kind: what it is.
      split: in which it is asked for; "" in none.
      rng: draws everything.
    """

    def __init__(self, shelf: Shelf, *, aisle: str, kind: str, split: str, rng: random.Random):
        self.shelf, self.aisle, self.kind, self.rng = shelf, aisle, kind, rng
        while True:
            titled, untold, other = rng.sample(shelf.shown, 3)
            if rng.random() < 0.5:
                untold = rng.choice(shelf.hidden)
            if not split or split_of(kind, (titled, untold)) == split:
                break
        self.titled, self.untold, self.other = titled, untold, other
        self.asked = bool(split)
        snares = rng.choices([s for _, s in _SNARES], [share for share, _ in _SNARES])
        self.snares = snares[0]

    def products(self, word: str, asins: Iterator[str]) -> Iterator[Product]:
        """Yields the products, those first that the search is to find first."""
        rng, snares = self.rng, self.snares
        few = HALVES in snares or DEAR in snares
        wrong = rng.sample([other for other in WORDS if other != word], 1 if few else 2)
        if rng.random() < 0.5:
            wrong = wrong[:1]
        price = rng.choice(CHEAP[:3])
        halves = self._halves()
        late = [
            self._listed(next(asins), line, price=price + 10 * rng.randrange(2), options=options,
                         right=line == word)
            for line in (word, *wrong)
            for options in halves
        ]  # fmt: skip
        first = []
        if DEAR in snares:
            over = rng.choice(dear(price + 10))
            first = [self._listed(next(asins), word, price=over, options=halves[0], trap=True)]
        if WORDING in snares:
            first = [
                self._listed(next(asins), word, price=price, options=halves[0], titled=self.other,
                             trap=True)
            ]  # fmt: skip
        rng.shuffle(late)
        yield from (*first, *late) if rng.random() < _FIRST else (*late, *first)

    def _halves(self) -> list[list[tuple[str, tuple[str, ...]]]]:
        """Returns the options of each product that there is under a word."""
        rng, (name, values) = self.rng, self.shelf.first
        if OPTIONS not in self.snares:
            return [[]]
        if HALVES in self.snares:
            some = rng.sample(values, 4)
            return [[(name, tuple(some[:2]))], [(name, tuple(some[2:]))]]
        options = [(name, tuple(rng.sample(values, 3)))]
        if rng.random() < 0.4:
            options.append((self.shelf.second[0], tuple(rng.sample(self.shelf.second[1], 2))))
        return [options]

    def _listed(
        self,
        asin: str,
        word: str,
        *,
        price: int,
        options: Sequence[tuple[str, Sequence[str]]],
        right: bool = False,
        titled: str = "",
        trap: bool = False,
    ) -> Product:
        """Returns a product under a word; `right` is what is asked for, a `trap` is nearly so."""
        rng, shown = self.rng, titled or self.titled
        style, use = rng.choice(STYLES), rng.choice(USES)
        # What has fewer words is found first.
        lead = "" if trap or rng.random() < 0.5 else f"{style} "
        product = listing(
            asin,
            f"{lead}{word} {shown} {self.kind}",
            shelf=self.shelf,
            aisle=self.aisle,
            kind=self.kind,
            description=f"{style} {self.kind} for {use}.",
            bullets=[f"{shown} {self.kind}", f"made for {use}"],
            price=price,
            options=options,
        )
        entry: dict[str, Any] = {"attributes": [shown, self.untold] if right or trap else [shown]}
        if right and self.asked:
            entry["instruction"] = f"Find me {self.untold}, {shown} {self.kind}"
            entry["instruction_attributes"] = [self.untold, shown]
        return product, entry
