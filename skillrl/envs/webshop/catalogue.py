"""Holds a catalogue: products by number, their prices, and the search over them."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import numpy as np

from skillrl.envs.bm25 import Words, lucene_words
from skillrl.envs.webshop.product import Product, read_product
from skillrl.envs.webshop.sources import Source
from skillrl.envs.webshop.tables import Tables, build, cached

LIMIT = 50
"""Most hits of a ranked search."""

_KEPT_PRODUCTS = 8192
_KEPT_SEARCHES = 1024
_SHORTCUTS = ("<r>", "<a>", "<c>", "<q>")


class Catalogue:
    """Holds products numbered from 0 in catalogue order. Immutable, and safe across threads.

    Args:
      source: where products come from.
      tables: what is known of them; None works it out, or takes it from the disk cache.
      words: how the search splits texts.
    """

    def __init__(
        self, source: Source, *, tables: Tables | None = None, words: Words = lucene_words
    ):
        if tables is None:
            tables = cached(source) if words is lucene_words else build(source, words=words)
        self.source, self.tables = source, tables
        self.product = functools.lru_cache(_KEPT_PRODUCTS)(self._product)
        self._ranked = functools.lru_cache(_KEPT_SEARCHES)(self._search)

    def __len__(self) -> int:
        return len(self.tables.start)

    def _product(self, number: int) -> Product:
        """Returns the product of that number."""
        tables, source = self.tables, self.source
        raw = source.product(int(tables.start[number]), int(tables.size[number]))
        extra = None
        if (start := int(tables.extra_start[number])) >= 0:
            extra = source.extra(start, int(tables.extra_size[number]))
        return read_product(raw, extra, where=source.name)

    def _search(self, query: str) -> tuple[int, ...]:
        return tuple(number for number, _ in self.tables.search.search(query, LIMIT))

    def number(self, asin: str) -> int | None:
        """Returns the product with that asin."""
        asins = self.tables.asins
        place = int(np.searchsorted(asins, asin)) if len(asins) else 0
        found = place < len(asins) and asins[place] == asin
        return int(self.tables.rows[place]) if found else None

    def find(self, keywords: Sequence[str], *, seed: str) -> Sequence[int] | None:
        """Returns products that a search lists, best first.

        Besides ranked search (at most 50) there are ``<q> words`` and ``<c> category``, which
        list what has exactly that query or category, and ``<r>``, which draws 50 products.

        Args:
          keywords: the search, split at single blanks.
          seed: decides what ``<r>`` draws.

        Returns:
          Product numbers, or None where the original breaks off with an error: ``<a>``, ``<c>``
          alone, and ``<r>`` with fewer than 50 products.
        """
        shortcut, *rest = keywords
        if shortcut not in _SHORTCUTS:
            return self._ranked(" ".join(keywords))
        if shortcut == "<q>":
            return self._labelled(self.tables.query, " ".join(rest).strip())
        if shortcut == "<c>" and rest:
            return self._labelled(self.tables.category, rest[0].strip())
        if shortcut == "<r>" and len(self) >= LIMIT:
            return random.Random(seed).sample(range(len(self)), LIMIT)
        return None

    def _labelled(self, column: np.ndarray, name: str) -> Sequence[int]:
        names = self.tables.names
        wanted = names.index(name) if name in names else -1
        return tuple(map(int, np.flatnonzero(column == wanted)))


def draw_prices(tables: Tables, rng: random.Random) -> np.ndarray:
    """Returns [products] dollars: what each product costs, drawn for those with a price range.

    One ``uniform(low, high)`` each, in catalogue order, as the original does when it starts.
    """
    prices = np.array(tables.low)
    for row in np.flatnonzero(~np.isnan(tables.high)):
        prices[row] = rng.uniform(float(tables.low[row]), float(tables.high[row]))
    return prices
