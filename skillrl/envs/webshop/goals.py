"""Makes goals: what people, or the catalogue itself, ask for; in an order fixed by one seed.

Source of the rules: WebShop princeton-nlp 64fa2a5, web_agent_site/engine/goal.py. Every random
number is drawn in the original's order, so that one seed gives the same prices, price limits and
order of goals everywhere.
"""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from skillrl.envs.webshop.catalogue import Catalogue, draw_prices
from skillrl.envs.webshop.product import Product
from skillrl.envs.webshop.reward import Goal
from skillrl.envs.webshop.tables import NO_ATTRIBUTES, NO_GOAL, text_key
from skillrl.errors import SkillRLError

NO_LIMIT = 1_000_000
"""`Goal.price_upper` where too few round numbers lie above the price to draw a limit from."""

_LIMITS = tuple(10.0 * step for step in range(1, 100))
_CHOICES = 4
_LISTS = ("instruction_attributes", "instruction_options")


class Goals(Sequence[Goal]):
    """Holds all goals in session order, made on demand from a few bytes each.

    Attributes:
      prices: [products] dollars, of all products.
      rows: [goals], the number of the product that each was written for.
      sentences: [goals] uint64, equal where two goals have the same text.

    Args:
      catalogue: the products.
      kind: ``human``, goals written by people (items_human_ins); or ``synthetic``, one for every
        combination of options of every product that has an instruction (items_ins_v2).
      seed: of prices and price limits.
      shuffle_seed: of the order; None takes `seed`.

    Raises:
      SkillRLError: there is no goal, or an instruction cannot be used.
    """

    def __init__(
        self, catalogue: Catalogue, *, kind: str, seed: int, shuffle_seed: int | None = None
    ):
        self._catalogue, self._kind = catalogue, kind
        rng = random.Random(seed)
        self.prices = draw_prices(catalogue.tables, rng)
        self._human = catalogue.source.human() if kind == "human" else {}
        rows, variants, limits = array("i"), array("i"), array("d")
        draws = self._human_draws() if kind == "human" else self._synthetic_draws()
        for row, places in draws:
            limit = _draw_limit(float(self.prices[row]), rng)
            for place in places:
                rows.append(row)
                variants.append(place)
                limits.append(limit)
        if not rows:
            raise SkillRLError(
                f"{catalogue.source.name}: has no {kind} goals. Use env.webshop.goals="
                f"{'synthetic' if kind == 'human' else 'human'}, or other files."
            )
        order = list(range(len(rows)))
        random.Random(seed if shuffle_seed is None else shuffle_seed).shuffle(order)
        self.rows = np.array(rows)[order]
        self._variants, self._limits = np.array(variants)[order], np.array(limits)[order]
        self.sentences = self._wishes(order) ^ _limit_key(self._limits)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> list[Goal]: ...
    def __getitem__(self, index: int | slice) -> Goal | list[Goal]:
        """Returns the goal of that session."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        product = self._catalogue.product(int(self.rows[index]))
        variant, limit = int(self._variants[index]), float(self._limits[index])
        make = self._human_goal if self._kind == "human" else _synthetic_goal
        return make(product, variant, limit)

    def _human_draws(self) -> Iterator[tuple[int, Sequence[int]]]:
        """Yields products in catalogue order, and one instruction each time."""
        number = self._catalogue.number
        found = sorted((row, asin) for asin in self._human if (row := number(asin)) is not None)
        for row, asin in found:
            for place, instruction in enumerate(_checked(self._human[asin], asin)):
                if instruction["instruction_attributes"]:
                    yield row, (place,)

    def _synthetic_draws(self) -> Iterator[tuple[int, Sequence[int]]]:
        """Yields products in catalogue order, and all combinations of their options."""
        variants = self._catalogue.tables.variants
        for row in map(int, np.flatnonzero(variants != NO_GOAL)):
            if variants[row] == NO_ATTRIBUTES:
                raise SkillRLError(
                    f"{self._catalogue.source.name}: product {self._catalogue.product(row).asin} "
                    "has an instruction without instruction_attributes, so nothing can be asked "
                    "for. Add them to its entry in items_ins_v2, or remove the instruction."
                )
            yield row, range(variants[row])

    def _wishes(self, order: Sequence[int]) -> np.ndarray:
        """Returns [goals] uint64, equal where two goals differ in the price limit alone."""
        if self._kind == "synthetic":
            return self._catalogue.tables.sentences[order]
        product = self._catalogue.product
        places = zip(self.rows.tolist(), self._variants.tolist(), strict=True)
        texts = (self._human_goal(product(row), place, NO_LIMIT).text for row, place in places)
        return np.fromiter(map(text_key, texts), np.uint64, len(self))

    def _human_goal(self, product: Product, place: int, limit: float) -> Goal:
        instruction = self._human[product.asin][place]
        return _goal(
            product,
            text=instruction["instruction"].strip("."),
            attributes=tuple(instruction["instruction_attributes"]),
            options=tuple(instruction["instruction_options"]),
            limit=limit,
        )


def _synthetic_goal(product: Product, variant: int, limit: float) -> Goal:
    """Returns the goal for one combination of options."""
    options = next(itertools.islice(product.choices(), variant, None))
    return _goal(
        product,
        text=product.wish(options),
        attributes=product.instruction_attributes,
        options=options,
        limit=limit,
    )


def _goal(
    product: Product, *, text: str, attributes: tuple[str, ...], options: Any, limit: float
) -> Goal:
    price = "" if limit == NO_LIMIT else f", and price lower than {limit:.2f} dollars"
    return Goal(
        asin=product.asin,
        text=text + price,
        category=product.category,
        query=product.query,
        name=product.title,
        product_category=product.product_category,
        attributes=attributes,
        options=options,
        price_upper=limit,
    )


def _draw_limit(price: float, rng: random.Random) -> float:
    """Returns the larger of two of the first four multiples of 10 dollars above the price."""
    choices = [limit for limit in _LIMITS if limit > price][:_CHOICES]
    return max(rng.sample(choices, 2)) if len(choices) > 1 else NO_LIMIT


def _limit_key(limits: np.ndarray) -> np.ndarray:
    """Returns [n] uint64, another one for each limit: the odd factor only spreads its bits."""
    return limits.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _checked(instructions: Any, asin: str) -> Sequence[Mapping[str, Any]]:
    """Returns instructions of a product, if they are what they should be."""
    if isinstance(instructions, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("instruction"), str)
        and all(_are_texts(entry.get(name)) for name in _LISTS)
        for entry in instructions
    ):
        return instructions
    raise SkillRLError(
        f"items_human_ins.json: asin {asin}: each of its instructions should have the text "
        f"instruction and the lists of texts {' and '.join(_LISTS)}. Correct or delete this entry."
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
