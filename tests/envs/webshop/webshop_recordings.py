"""The recorded answers of the original code; see tests/fixtures/webshop/README.md."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.reward import Goal
from skillrl.envs.webshop.sources import find

FOLDER = Path(__file__).parents[2] / "fixtures" / "webshop"
PRICE_SEED, SHUFFLE_SEED = 20260101, 233


@functools.cache
def recorded(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def catalogue() -> Catalogue:
    """The authored catalogue, with the search of the recordings (words of one letter dropped)."""
    return Catalogue(find(FOLDER / "catalogue"), words=lambda text: re.findall(r"\b\w\w+\b", text))


@functools.cache
def goals(kind: str) -> Goals:
    return Goals(catalogue(), kind=kind, seed=PRICE_SEED, shuffle_seed=SHUFFLE_SEED)


def goal_of(entry: dict[str, Any]) -> Goal:
    """A goal as the recordings write it (texts that rewards do not read may be missing)."""
    options = entry["goal_options"]
    return Goal(
        asin=entry["asin"],
        text=entry.get("instruction_text", ""),
        category=entry.get("category", ""),
        query=entry["query"],
        name=entry["name"],
        product_category=entry["product_category"],
        attributes=tuple(entry["attributes"]),
        options=tuple(options.items() if isinstance(options, dict) else options),
        price_upper=entry["price_upper"],
    )
