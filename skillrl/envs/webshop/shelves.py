"""Lists what the generated shop sells: the words of its products, by category.

All words are lower case and few (under 500 with those of the pages), since a small policy has to
learn them; none is a brand.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Describes one category of products.

    Attributes:
      key: category of the skill bank.
      department: first part of ``product_category``; tells the category of a product.
      official: the value of the official ``category`` field.
      kinds: what is sold, as (second part of ``product_category``, words of the kind).
      shown: six attributes that titles name.
      hidden: two attributes that only the features name.
      first: name and six values of the first option.
      second: name and four values of the second option.
    """

    key: str
    department: str
    official: str
    kinds: tuple[tuple[str, str], ...]
    shown: tuple[str, ...]
    hidden: tuple[str, str]
    first: tuple[str, tuple[str, ...]]
    second: tuple[str, tuple[str, ...]]


_COLOR = ("color", ("red", "blue", "green", "black", "white", "pink"))
_PACK = ("pack", ("single", "double", "triple", "bulk"))

SHELVES = (
    Shelf(
        key="apparel",
        department="Clothing",
        official="fashion",
        kinds=(
            ("Dresses", "summer dress"),
            ("Coats", "winter coat"),
            ("Coats", "rain jacket"),
            ("Knitwear", "knit sweater"),
        ),
        shown=(
            "long sleeve",
            "slim fit",
            "machine washable",
            "quick dry",
            "button closure",
            "elastic waist",
        ),
        hidden=("cotton lining", "side pockets"),
        first=_COLOR,
        second=("size", ("small", "medium", "large", "petite")),
    ),
    Shelf(
        key="footwear",
        department="Footwear",
        official="fashion",
        kinds=(
            ("Shoes", "running shoes"),
            ("Shoes", "walking shoes"),
            ("Boots", "ankle boots"),
            ("Sandals", "beach sandals"),
        ),
        shown=(
            "rubber sole",
            "arch support",
            "memory foam",
            "lace closure",
            "steel toe",
            "cushioned insole",
        ),
        hidden=("leather upper", "padded heel"),
        first=_COLOR,
        second=("size", ("six", "seven", "eight", "nine")),
    ),
    Shelf(
        key="home_decor",
        department="Home & Kitchen",
        official="garden",
        kinds=(
            ("Lighting", "table lamp"),
            ("Walls", "wall clock"),
            ("Textiles", "throw pillow"),
            ("Textiles", "window curtain"),
        ),
        shown=(
            "easy assembly",
            "solid wood",
            "living room",
            "hand painted",
            "energy saving",
            "stain resistant",
        ),
        hidden=("metal frame", "dust cover"),
        first=_COLOR,
        second=("shape", ("round", "square", "oval", "long")),
    ),
    Shelf(
        key="electronics",
        department="Electronics",
        official="electronics",
        kinds=(
            ("Power", "phone charger"),
            ("Power", "usb cable"),
            ("Audio", "bluetooth speaker"),
            ("Computers", "laptop stand"),
        ),
        shown=(
            "fast charging",
            "noise cancelling",
            "carrying case",
            "high speed",
            "water resistant",
            "aluminum alloy",
        ),
        hidden=("travel adapter", "voice control"),
        first=_COLOR,
        second=_PACK,
    ),
    Shelf(
        key="accessories",
        department="Accessories",
        official="fashion",
        kinds=(
            ("Belts", "leather belt"),
            ("Scarves", "silk scarf"),
            ("Bags", "travel backpack"),
            ("Hats", "sun hat"),
        ),
        shown=(
            "adjustable strap",
            "folding design",
            "waterproof fabric",
            "soft edges",
            "vintage look",
            "zipper pocket",
        ),
        hidden=("gift wrapped", "scratch proof"),
        first=_COLOR,
        second=("pattern", ("plain", "striped", "floral", "dotted")),
    ),
    Shelf(
        key="beauty_health",
        department="Beauty",
        official="beauty",
        kinds=(
            ("Skin", "face cream"),
            ("Skin", "body lotion"),
            ("Hair", "hair shampoo"),
            ("Lips", "lip balm"),
        ),
        shown=(
            "cruelty free",
            "sensitive skin",
            "natural oils",
            "dermatologist tested",
            "deep cleansing",
            "daily moisture",
        ),
        hidden=("vitamin rich", "paraben safe"),
        first=("scent", ("rose", "lemon", "vanilla", "mint", "coconut", "honey")),
        second=_PACK,
    ),
    Shelf(
        key="other",
        department="Sports",
        official="garden",
        kinds=(
            ("Pets", "dog bed"),
            ("Fitness", "yoga mat"),
            ("Outdoors", "water bottle"),
            ("Toys", "puzzle toy"),
        ),
        shown=(
            "easy clean",
            "heavy duty",
            "anti slip",
            "eco friendly",
            "light weight",
            "extra thick",
        ),
        hidden=("recycled material", "carry handle"),
        first=_COLOR,
        second=("size", ("small", "medium", "large", "giant")),
    ),
)
"""In the order in which tables show the categories."""

STYLES = ("classic", "modern", "simple", "everyday", "premium", "fresh")
"""Words of titles that no goal asks for."""

USES = ("home", "work", "holidays", "gifts")

CHEAP = (15, 25, 35, 45)
"""Dollars. The bounds that goals draw are up to 40 dollars above (`dear` is over all of them)."""


def dear(price: int) -> tuple[int, ...]:
    """Returns prices that exceed every bound of a product that costs `price` dollars."""
    return tuple(other for other in range(55, 100, 10) if other > price + 35)


HUMAN_FORMS = (
    "i am looking for a {kind} with {attributes}{options}.",
    "i need a {kind} that is {attributes}{options}",
    "please show me a {kind}, {attributes}{options}.",
    "i would like to buy a {attributes} {kind}{options}.",
    "do you have a {kind} with {attributes}{options}",
    "i want a new {kind} and it should have {attributes}{options}.",
)
"""Sentences of people; options follow as ``, and i want it in red and small``."""
