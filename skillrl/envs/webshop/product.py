"""Cleans one product as WebShop cleans it when it loads its catalogue.

Source of the rules: WebShop princeton-nlp 64fa2a5, web_agent_site/engine/engine.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from skillrl.errors import SkillRLError

NO_PRICE = 100.0
"""Price in dollars of a product that states none."""

_NO_ATTRIBUTES = ("DUMMY_ATTR",)
_LONGEST_ASIN = 10
_MOST_WAYS = 1_000_000  # a thousand times what the released files have
_NOT_NUMERIC = re.compile(r"[^\d.]")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Holds what pages show and rewards read.

    Attributes:
      asin: the identifier that results pages list.
      title: name.
      category: one of the shop's few coarse categories.
      query: the search under which it was found, in lower case.
      product_category: path of categories, joined by ``›``.
      description: text of the Description page.
      bullets: lines of the Features page.
      price_text: price as shown.
      pricing: dollars; one number, or the two ends of a range in the order given.
      options: option name -> values in order.
      attributes: what rewards compare with a goal's attributes.
      instruction: sentence of its synthetic goals, or None where it has none.
      instruction_attributes: attributes of those goals.
    """

    asin: str
    title: str
    category: str
    query: str
    product_category: str
    description: str
    bullets: tuple[str, ...]
    price_text: str
    pricing: tuple[float, ...]
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    instruction: str | None
    instruction_attributes: tuple[str, ...]

    @property
    def variants(self) -> int:
        """Number of ways to choose one value of every option (1 without options)."""
        return math.prod(len(values) for values in self.options.values())

    def choices(self) -> Iterator[tuple[tuple[str, str], ...]]:
        """Yields these ways as (name, value) by sorted name; the last name changes fastest."""
        names = sorted(self.options)
        for values in itertools.product(*(self.options[name] for name in names)):
            yield tuple(zip(names, values, strict=True))

    def wish(self, choice: tuple[tuple[str, str], ...]) -> str:
        """Words the synthetic goal with these options, without its price limit."""
        options = ", and ".join(f"{name}: {value}" for name, value in choice)
        return f"{self.instruction}{' with ' + options if options else ''}"


class _Unusable(Exception):
    """Says what is wrong with a field; becomes a SkillRLError that names file and product."""


def kept(raw: Any) -> bool:
    """Tells whether the shop lists a product: no asin "nan" or of more than 10 characters."""
    asin = raw.get("asin") if isinstance(raw, dict) else None
    return not isinstance(asin, str) or (asin != "nan" and len(asin) <= _LONGEST_ASIN)


def read_product(raw: Any, extra: Any, *, where: str) -> Product:
    """Reads a product of items_shuffle*.json with its entry of items_ins_v2*.json.

    Absent and null texts are empty.

    Args:
      raw: the product as the file has it.
      extra: its entry in items_ins_v2, or None.
      where: how errors call the place, e.g. ``items_shuffle.json: product 17``.

    Raises:
      SkillRLError: a field has a type or a price that cannot be used.
    """
    try:
        if not isinstance(raw, dict):
            raise _Unusable(f"is {_kind(raw)} and not an object")
        if not isinstance(raw.get("asin"), str):
            raise _Unusable(f"its asin is {_kind(raw.get('asin'))} and not a string")
        return _product(raw, extra)
    except _Unusable as error:
        asin = raw.get("asin") if isinstance(raw, dict) else None
        name = f" (asin {asin})" if isinstance(asin, str) else ""
        raise SkillRLError(
            f"{where}{name}: {error}. Correct or delete this entry; if the file was cut short or "
            "edited, fetch it again."
        ) from None


def _product(raw: dict[str, Any], extra: Any) -> Product:
    bullets = raw.get("small_description")
    if not isinstance(bullets, list):
        bullets = [_text(raw, "small_description")]
    pricing, price_text = _pricing(raw)
    if extra is None:
        extra = {}
    elif not isinstance(extra, dict):
        raise _Unusable(f"its entry in items_ins_v2 is {_kind(extra)} and not an object")
    attributes: tuple[str, ...] = _NO_ATTRIBUTES
    if "attributes" in extra:
        attributes = _strings(extra["attributes"], "attributes")
    return Product(
        asin=raw["asin"],
        title=_text(raw, "name"),
        category=_text(raw, "category"),
        query=_text(raw, "query").lower().strip(),
        product_category=_text(raw, "product_category"),
        description=_text(raw, "full_description"),
        bullets=_strings(bullets, "small_description"),
        price_text=price_text,
        pricing=pricing,
        options=_options(raw.get("customization_options")),
        attributes=attributes,
        instruction=_text(extra, "instruction") if extra.get("instruction") is not None else None,
        instruction_attributes=_strings(
            extra.get("instruction_attributes") or [], "instruction_attributes"
        ),
    )


def _pricing(raw: dict[str, Any]) -> tuple[tuple[float, ...], str]:
    """Reads dollars and the text that shows them; of several the first two count."""
    text = _text(raw, "pricing")
    if not text:
        return (NO_PRICE,), f"${NO_PRICE}"
    try:
        numbers = tuple(float(_NOT_NUMERIC.sub("", part)) for part in text.split("$")[1:])[:2]
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):  # hundreds of digits are infinite
        said = f"its pricing is {text!r:.80}"
        raise _Unusable(f'{said}; it should be like "$12.99" or "$10.00$20.00"')
    return numbers, " to ".join(f"${number}" for number in numbers)


def _options(raw: Any) -> dict[str, tuple[str, ...]]:
    """Reads names (of equal ones the last wins) and values, in lower case without slashes."""
    if not raw:
        return {}
    if not isinstance(raw, dict):
        raise _Unusable(f"its customization_options are {_kind(raw)} and not an object")
    options = {}
    for name, contents in raw.items():
        if contents is None:
            continue
        if not isinstance(contents, list):
            raise _Unusable(f"its option {name!r} is {_kind(contents)} and not a list")
        options[name.lower()] = tuple(_value(content, name) for content in contents)
    ways = math.prod(map(len, options.values()))
    if ways > _MOST_WAYS:
        raise _Unusable(f"its options can be chosen in {ways:,} ways, each of them a goal")
    return options


def _value(content: Any, name: str) -> str:
    value = content.get("value") if isinstance(content, dict) else None
    if not isinstance(value, str):
        raise _Unusable(f'its option {name!r} has an entry without a text "value"')
    return value.strip().replace("/", " | ").lower()


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Unusable(f"its {key} is {_kind(value)} and not a string")
    return value


def _strings(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Unusable(f"its {key} are not a list of strings")
    return tuple(value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "missing or null"}
    return names.get(type(value), f"the value {value!r}")
