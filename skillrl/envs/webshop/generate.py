"""Generates a shop in the official schema: the mock data of WebShop.

Every kind of product comes in families that a shopper can confuse (see `_families`): the same
attributes in the title, but other options, a price over the limit, or an attribute that only the
features name. The texts are the same in every process: all choices come from one
`random.Random`.

This is the one large shop, which `write` gives as files. A policy that trains in a single
catalogue learns it by heart, so tasks are by default played in small shops of their own
(`skillrl.envs.webshop.custom_shops`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.envs.webshop.shelves import (
    CHEAP,
    HUMAN_FORMS,
    SHELVES,
    STYLES,
    USES,
    Shelf,
    dear,
)
from skillrl.errors import SkillRLError

FILES = ("items_shuffle.json", "items_ins_v2.json", "items_human_ins.json")
"""The official names of what `catalogue` gives, in its order."""

_SEED = 20260101
_HUMAN = 6  # people's instructions per category
_DEPARTMENTS = {shelf.department: shelf.key for shelf in SHELVES}
ASIN_HEADS, _ASIN_TAILS = 100, 5

_TITLES = {  # by the number of attributes that the title names
    1: ("{style} {0} {kind} for {use}", "{kind} {0} for {use}"),
    2: ("{style} {0} {1} {kind}", "{style} {kind} {1} {0}", "{0} {kind} {style} {1}"),
}

RawCatalogue = tuple[
    list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Describes a product before it has words; `wanted` attributes make its instruction, if any."""

    shelf: Shelf
    aisle: str
    kind: str
    titled: tuple[str, ...]
    featured: tuple[str, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...]
    price: int
    wanted: tuple[str, ...] = ()


def catalogue() -> RawCatalogue:
    """Returns products, attributes and instructions, people's instructions, in the official schema.

    Returns:
      The contents of items_shuffle.json (list of 420 products of 28 kinds), items_ins_v2.json
      (asin -> attributes and perhaps an instruction) and items_human_ins.json (asin ->
      instructions); a copy of its own for each caller.
    """
    products, attributes, human = json.loads(_text())
    return products, attributes, human


def write(directory: str | Path) -> tuple[Path, ...]:
    """Writes `catalogue` into `directory` under the official names (`FILES`); gives the paths."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = tuple(directory / name for name in FILES)
    for path, content in zip(paths, catalogue(), strict=True):
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def category_of(product: Mapping[str, Any]) -> str:
    """Returns the key in `CATEGORIES` of a product, by the department in its ``product_category``.

    Raises:
      SkillRLError: the product is not of this shop.
    """
    department = str(product.get("product_category", "")).split("›")[0].strip()
    if department not in _DEPARTMENTS:
        raise SkillRLError(
            f"product_category {product.get('product_category')!r}: not a department of the "
            f"generated shop, which has {', '.join(_DEPARTMENTS)}."
        )
    return _DEPARTMENTS[department]


@functools.cache
def asin_parts() -> tuple[str, ...]:
    """Returns the strings of five digits of which each asin has two.

    A tokeniser that has them as tokens writes an asin in two, and an asin never seen as a
    choice consists of parts that were.
    """
    rng = random.Random(_SEED)
    return tuple(str(n) for n in rng.sample(range(10_000, 100_000), ASIN_HEADS + _ASIN_TAILS))


def _combinations(product: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    names = sorted(product["customization_options"])
    values = [[v["value"] for v in product["customization_options"][name]] for name in names]
    for chosen in itertools.product(*values):
        yield dict(zip(names, chosen, strict=True))


@functools.lru_cache(maxsize=1)
def _text() -> str:
    return json.dumps(_stock())


def _stock() -> RawCatalogue:
    rng = random.Random(_SEED + 1)
    plans = [
        plan
        for shelf in SHELVES
        for aisle, kind in shelf.kinds
        for plan in _families(shelf, aisle=aisle, kind=kind, rng=rng)
    ]
    parts = asin_parts()
    heads, tails = list(parts[:ASIN_HEADS]), parts[ASIN_HEADS:]
    rng.shuffle(heads)  # an asin says nothing about what it names
    products, attributes = [], {}
    for place, plan in enumerate(plans):
        # Neighbours never share a head: on a page of results the head tells them apart.
        head = heads[place % len(heads)]
        asin = head + rng.choice([tail for tail in tails if head + tail not in attributes])
        products.append(_product(asin, plan, rng))
        attributes[asin] = _attributes(plan)
    human = _human(products, attributes=attributes, rng=rng)
    rng.shuffle(products)
    return products, attributes, human


def _families(shelf: Shelf, *, aisle: str, kind: str, rng: random.Random) -> Iterator[_Plan]:
    """Yields the fifteen products of one kind.

    - Two attributes in the title; one half of the first option's values here, the other there;
      both once more over the price limit.
    - The same with another attribute, and with the second option divided.
    - One attribute in the title, one in the features alone, where the twin has another.
    - Two attributes, no options; one is over the limit.
    - One attribute, one option, divided; one of the two again over the limit.
    """
    first, second = shelf.first[0], shelf.second[0]
    ones, twos = list(shelf.first[1]), list(shelf.second[1])
    shown = list(shelf.shown)
    for values in (ones, twos, shown):
        rng.shuffle(values)
    a, b, c, d, e, f = shown
    left, right = tuple(ones[:3]), tuple(ones[3:])

    def plan(titled, options, *, price, featured=(), asked=True):
        """Returns one product of this kind.

        Args:
          titled: attributes that the title names.
          options: (name, values) of each option.
          price: in dollars.
          featured: attributes that only the features name.
          asked: whether an instruction asks for it.
        """
        wanted = (*featured, *titled) if asked else ()
        return _Plan(
            shelf=shelf,
            aisle=aisle,
            kind=kind,
            titled=titled,
            featured=(*titled, *featured),
            options=options,
            price=price,
            wanted=wanted,
        )

    def twins(titled, option_sets, copies):
        price = rng.choice(CHEAP[:3])
        for number, options in enumerate(option_sets):
            yield plan(titled, options, price=price + 10 * number)
        over = dear(price + 10)
        for options in option_sets[:copies]:
            yield plan(titled, options, price=rng.choice(over), asked=False)

    def some(values):
        return tuple(sorted(rng.sample(values, rng.choice((2, 3))), key=values.index))

    halves = [((first, half), (second, some(twos))) for half in (left, right)]
    yield from twins((b, a), halves, 2)
    yield from twins((c, a), [((first, some(ones)), (second, tuple(h))) for h in _halves(twos)], 2)
    price = rng.choice(CHEAP)
    for hidden in shelf.hidden:
        yield plan((f,), ((first, left),), price=price, featured=(hidden,))
    price = rng.choice(CHEAP)
    yield plan((d, c), (), price=price)
    yield plan((d, c), (), price=rng.choice(dear(price)), asked=False)
    yield from twins((e,), [((first, half),) for half in (right, left)], 1)


def _halves(values: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    return values[: len(values) // 2], values[len(values) // 2 :]


def _product(asin: str, plan: _Plan, rng: random.Random) -> dict[str, Any]:
    style, use = rng.choice(STYLES), rng.choice(USES)
    forms = _TITLES[len(plan.titled)]
    name = rng.choice(forms).format(*plan.titled, style=style, kind=plan.kind, use=use)
    # Some that cost too much praise themselves in one line, so that a search finds them first.
    crowded = not plan.wanted and rng.random() < 0.5
    lead, *more = (" ".join(plan.featured),) if crowded else plan.featured
    return listing(
        asin,
        name,
        shelf=plan.shelf,
        aisle=plan.aisle,
        kind=plan.kind,
        description=f"{style} {plan.kind} for {use}.",
        bullets=[f"{lead} {plan.kind}", *more, f"made for {use}"],
        price=plan.price,
        options=plan.options,
    )


def listing(
    asin: str,
    name: str,
    *,
    shelf: Shelf,
    aisle: str,
    kind: str,
    description: str,
    bullets: Sequence[str],
    price: int,
    options: Sequence[tuple[str, Sequence[str]]],
) -> dict[str, Any]:
    """Returns a product as items_shuffle.json has it.

    Args:
      asin: its number.
      name: its title.
      shelf: category.
      aisle: second part of its path of categories.
      kind: what it is.
      description: text of the Description page.
      bullets: lines of the Features page.
      price: in dollars.
      options: (name, values) of each option.
    """
    return {
        "asin": asin,
        "name": name,
        "category": shelf.official,
        "query": kind,
        "product_category": f"{shelf.department} › {aisle} › {kind.title()}",
        "full_description": description,
        "small_description": list(bullets),
        "pricing": f"${price}.00",
        "customization_options": {
            option: [{"value": value} for value in values] for option, values in options
        },
        "images": [f"https://example.com/{asin}.jpg"],
    }


def _attributes(plan: _Plan) -> dict[str, Any]:
    entry: dict[str, Any] = {"attributes": list(plan.featured)}
    if plan.wanted:
        entry["instruction"] = f"Find me {', '.join(plan.wanted)} {plan.kind}"
        entry["instruction_attributes"] = list(plan.wanted)
    return entry


def _human(
    products: Sequence[dict[str, Any]],
    *,
    attributes: Mapping[str, dict],
    rng: random.Random,
) -> dict[str, list[dict[str, Any]]]:
    """Returns people's instructions for a few products of every shelf."""
    found: dict[str, list[dict[str, Any]]] = {}
    for shelf in SHELVES:
        mine = [p for p in products if category_of(p) == shelf.key]
        asked = [p for p in mine if "instruction" in attributes[p["asin"]]]
        for form, product in zip(HUMAN_FORMS, rng.sample(asked, _HUMAN), strict=True):
            wanted = attributes[product["asin"]]["instruction_attributes"]
            values = list(rng.choice(list(_combinations(product))).values())
            options = f", and i want it in {' and '.join(values)}" if values else ""
            text = form.format(
                kind=product["query"], attributes=" and ".join(wanted), options=options
            )
            found[product["asin"]] = [
                {
                    "asin": product["asin"],
                    "instruction": text,
                    "instruction_attributes": wanted,
                    "instruction_options": values,
                }
            ]
    return found
