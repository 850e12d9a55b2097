"""Tells which category of the skill bank a product belongs to.

The released code looks for keywords anywhere in the goal sentence, so that "string" is jewelry
(ring) and "wheel" footwear (heel). Here the product's own path of categories decides, and
keywords, as whole words of its title and query, only where the path says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from skillrl.envs.webshop.product import Product

CATEGORIES: Mapping[str, str] = {
    "apparel": "Apparel",
    "footwear": "Footwear",
    "home_decor": "Home decor",
    "electronics": "Electronics",
    "accessories": "Accessories",
    "beauty_health": "Beauty and health",
    "other": "Other",
}
"""Category of the skill bank -> the name shown in tables, in table order."""

_DEPARTMENTS = {
    "clothing": "apparel",
    "shoes": "footwear",
    "jewelry": "accessories",
    "electronics": "electronics",
    "cell phones": "electronics",
    "computers": "electronics",
    "camera": "electronics",
    "video games": "electronics",
    "beauty": "beauty_health",
    "health": "beauty_health",
    "home & kitchen": "home_decor",
    "furniture": "home_decor",
    "grocery": "other",
}
"""How the first part of a path begins -> category."""

_WORDS = {
    "footwear": "shoe boot sneaker sandal heel slipper footwear loafer flat pump clog moccasin",
    "accessories": "necklace ring bracelet earring watch jewelry bag purse wallet handbag "
    "accessories sunglasses belt hat scarf glove luggage backpack",
    "apparel": "shirt dress jacket pant coat sweater blouse clothing clothes t-shirt hoodie jean "
    "short skirt suit legging sock underwear pajama",
    "electronics": "laptop phone computer tablet charger cable headphone speaker camera electronic "
    "television projector smartwatch",
    "home_decor": "furniture lamp curtain pillow bedding decor candle vase rug sofa table chair",
    "beauty_health": "cream lotion shampoo conditioner moisturizer serum makeup beauty vitamin "
    "supplement lipstick toothbrush deodorant",
}
"""Keywords per category, in the order in which they are tried."""

_KEYWORDS = {category: frozenset(words.split()) for category, words in _WORDS.items()}
_WITHIN_CLOTHING = ("footwear", "accessories")
_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)*")


def category_of(product: Product) -> str:
    """Returns the key in `CATEGORIES` of a product."""
    first, *rest = product.product_category.lower().split("›")
    department = next(
        (key for start, key in _DEPARTMENTS.items() if first.strip().startswith(start)), None
    )
    if department == "electronics" and "smartwatch" in "".join(rest[-1:]):
        return "accessories"  # bands, which the shop files under phones
    if department == "apparel":
        return _by_keyword(" ".join(rest), _WITHIN_CLOTHING) or "apparel"
    if department is not None:
        return department
    return _by_keyword(f"{product.query} {product.title}", _KEYWORDS) or "other"


def _by_keyword(text: str, categories: Mapping[str, object] | tuple[str, ...]) -> str | None:
    words = {form for word in _TOKEN.findall(text.lower()) for form in _singulars(word)}
    return next((category for category in categories if words & _KEYWORDS[category]), None)


def _singulars(word: str) -> tuple[str, ...]:
    return word, word.removesuffix("s"), word.removesuffix("es")
