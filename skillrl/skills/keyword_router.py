"""The released code's way from a task's text to a category of the bank: the first keyword in it.

Kept for comparison with published numbers (``skill_retrieval.order=paper``); tasks here know their
category. Keywords are looked for anywhere in the text, so it misses what
tests/skills/test_keyword_router.py lists: "put a hot egg in fridge" has no "heat", "find two pen"
is taken for an examination, and "string" holds a "ring".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from skillrl.skills.released import CATEGORY_ALIASES

_HOUSEHOLD = ("look_at_obj_in_light", "clean", "heat", "cool", "examine", "pick_and_place")
"""Categories of the released ALFWorld bank."""

_SHOP = {
    "apparel": "shirt dress jacket pant coat sweater blouse clothing clothes t-shirt",
    "footwear": "shoe boot sneaker sandal heel slipper footwear",
    "electronics": "laptop phone computer tablet charger cable headphone speaker camera electronic",
    "accessories": "necklace ring bracelet earring watch jewelry bag purse wallet",
    "home_decor": "furniture lamp curtain pillow bedding decor candle vase rug",
    "beauty_health": "cream lotion shampoo conditioner moisturizer serum makeup beauty vitamin "
    "supplement",
    "other": "",
}
"""Categories of the released WebShop bank -> keywords, in the order in which they are tried."""


def route(text: str, categories: Collection[str]) -> str:
    """Returns the category in which the released code would look for the skills of a task.

    Which keywords are tried follows from the categories that the bank has, as there. A bank of
    other categories (that of Search) has none that is ever found.

    Examples:
      >>> route("heat some egg and put it in fridge", ["pick_heat_then_place_in_recep"])
      'pick_heat_then_place_in_recep'
      >>> route("put a hot egg in fridge", ["pick_heat_then_place_in_recep"])
      'pick_and_place_simple'

    Args:
      text: the goal of the task.
      categories: those of the bank, by their released names or by ours.

    Returns:
      A category by the name that the bank has for it, or ours for one that it lacks; "" if the
      released code would find none.
    """
    text = text.lower()
    if _known(_HOUSEHOLD, categories):
        found = _household(text)
    elif _known(tuple(_SHOP), categories):
        found = _shop(text)
    else:
        return ""
    return found if found in categories else CATEGORY_ALIASES.get(found, found)


def _known(names: Sequence[str], categories: Collection[str]) -> bool:
    return any(name in categories or CATEGORY_ALIASES.get(name) in categories for name in names)


def _household(text: str) -> str:
    if "look at" in text and "under" in text:
        return "look_at_obj_in_light"
    for verb in ("clean", "heat", "cool"):
        if verb in text:
            return verb
    return "examine" if "examine" in text or "find" in text else "pick_and_place"


def _shop(text: str) -> str:
    for category, words in _SHOP.items():
        if any(word in text for word in words.split()):
            return category
    return "other"
