"""Computes the reward of a purchase, exactly as WebShop does.

    total = r_type * (n_attributes + n_options + [price <= price_upper])
                   / (goal attributes + goal options + 1)

Source: WebShop princeton-nlp 64fa2a5, web_agent_site/engine/goal.py. The one departure is the
noun finder, which may be another one than spaCy; it enters through ``title_score`` alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from skillrl.envs.webshop.matching import Option, matches, normalize_color
from skillrl.envs.webshop.nouns import Nouns
from skillrl.envs.webshop.product import Product

NO_NOUNS = 0.2
"""Title score where the goal's title has no noun."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Says what is to be bought.

    Attributes:
      asin: the product that it was written for.
      text: the instruction, with the price limit if there is one.
      query: that product's; as are `category`, `name` (its title) and `product_category`.
      attributes: wanted attributes.
      options: wanted values (human goals) or (name, value) pairs (synthetic ones).
      price_upper: most that may be paid, in dollars.
    """

    asin: str
    text: str
    category: str
    query: str
    name: str
    product_category: str
    attributes: tuple[str, ...]
    options: tuple[Option, ...]
    price_upper: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """Holds a reward in [0, 1] and how it came about: counts, and the parts of the type score."""

    total: float
    r_type: float
    attributes: int
    options: int
    price: bool
    title_score: float
    query_match: bool
    category_match: bool


def purchase_reward(
    product: Product, goal: Goal, *, price: float, options: Mapping[str, str], nouns: Nouns
) -> Reward:
    """Returns the reward of a purchase.

    Args:
      product: what was bought.
      goal: what was wanted.
      price: dollars that were paid.
      options: chosen options, name -> value.
      nouns: finds the nouns of titles.
    """
    query_match = product.query == goal.query
    category_match = len(_parts(product.product_category) & _parts(goal.product_category)) >= 2
    title_score = _title_score(nouns(product.title), nouns(goal.name))
    r_type = _type_score(query_match or category_match, title_score)
    attributes = sum(_has(product, attribute) for attribute in goal.attributes)
    chosen = [normalize_color(value) for value in options.values()]
    wanted = [normalize_color(option) for option in goal.options]
    found = sum(any(matches(value, option) for value in chosen) for option in wanted)
    affordable = price <= goal.price_upper
    possible = len(goal.attributes) + len(goal.options) + 1
    return Reward(
        total=(attributes + found + affordable) / possible * r_type,
        r_type=r_type,
        attributes=attributes,
        options=found,
        price=affordable,
        title_score=title_score,
        query_match=query_match,
        category_match=category_match,
    )


def _parts(product_category: str) -> set[str]:
    return {part.strip() for part in product_category.split("›")}


def _title_score(bought: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    """Returns distinct nouns in common, per noun of the goal's title (repetitions counted)."""
    return len(set(bought) & set(wanted)) / len(wanted) if wanted else NO_NOUNS


def _type_score(match: bool, title_score: float) -> float:
    """Returns 1 for the right type, 0.5 for another; titles with little in common override."""
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if match or title_score > 0.2 else 0.5


def _has(product: Product, attribute: str) -> bool:
    """Returns whether the product lists something like `attribute`, or its texts contain it."""
    return any(matches(listed, attribute) for listed in product.attributes) or any(
        attribute in text.lower()
        for text in (product.title, " ".join(product.bullets), product.description)
    )
