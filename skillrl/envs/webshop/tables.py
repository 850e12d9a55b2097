"""Holds what is known of a whole catalogue without its texts: one array per field, on disk if big.

Products and their attributes stay where they are; the arrays say where. They are made in one
pass over the files, written once to the user's cache directory and mapped into memory from then
on, so that many processes share one copy and a start takes no time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import math
import os
import shutil
import uuid
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.envs.bm25 import Index, Indexer, Words, lucene_words
from skillrl.envs.webshop.product import Product, kept, read_product
from skillrl.envs.webshop.sources import Source
from skillrl.errors import SkillRLError
from skillrl.io.atomic import TEMPORARY
from skillrl.io.files import read_json, write_json

VERSION = 3
"""Raised when the arrays, or how they are made, change."""

NO_GOAL, NO_ATTRIBUTES = -1, -2
"""In `Tables.variants`: a product without an instruction; one without attributes for it."""

CACHE_FROM = 1 << 26
"""Bytes of the files from which on their tables are kept on disk."""

_LOG = logging.getLogger(__name__)
_NAMES = "names.json"
_SEARCH = "search"
_NOWHERE = (-1, -1)
_COLUMNS = {
    "start": "q",
    "size": "q",
    "extra_start": "q",
    "extra_size": "q",
    "low": "d",
    "high": "d",
    "variants": "q",
    "query": "i",
    "category": "i",
}
"""Fields of `Tables` that grow by one number per product, and their types."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tables:
    """Holds a catalogue of products, in catalogue order.

    Attributes:
      start, size: [products], where a product lies in its source.
      extra_start, extra_size: [products], where its entry of items_ins_v2 does; -1 without one.
      low, high: [products] float64, dollars: ends of its price range; `high` is NaN for a single
        price.
      variants: [products], how many synthetic goals it has, or `NO_GOAL`, or `NO_ATTRIBUTES`.
      asins: [products], sorted asins.
      rows: [products], the product of each of them.
      query, category: [products], places in `names`.
      sentences: [synthetic goals] uint64, `text_key` of each without its price limit, by product
        and then as `Product.choices` has them.
      search: over the `document` of each.
      names: distinct queries and categories.
    """

    start: np.ndarray
    size: np.ndarray
    extra_start: np.ndarray
    extra_size: np.ndarray
    low: np.ndarray
    high: np.ndarray
    variants: np.ndarray
    asins: np.ndarray
    rows: np.ndarray
    query: np.ndarray
    category: np.ndarray
    sentences: np.ndarray
    search: Index
    names: list[str]


def build(source: Source, *, words: Words = lucene_words) -> Tables:
    """Returns the tables of a catalogue, in one pass over its extras and one over its products.

    Raises:
      SkillRLError: an entry cannot be used; names file, product and remedy.
    """
    columns: dict[str, array[Any]] = {name: array(code) for name, code in _COLUMNS.items()}
    names: dict[str, int] = {}
    rows: dict[str, int] = {}
    sentences = array("Q")
    indexer = Indexer(words)
    extras = {entry.key: (entry.start, entry.size) for entry in source.extras()}
    for place, entry in enumerate(source.products(), start=1):
        if not kept(entry.value):
            continue
        asin = entry.value.get("asin") if isinstance(entry.value, dict) else None
        spot = extras.get(asin, _NOWHERE) if isinstance(asin, str) else _NOWHERE
        extra = source.extra(*spot) if spot is not _NOWHERE else None
        product = read_product(entry.value, extra, where=f"{source.name}: product {place}")
        if product.asin in rows:
            continue
        rows[product.asin] = len(rows)
        labels = (names.setdefault(name, len(names)) for name in (product.query, product.category))
        places = (entry.start, entry.size, *spot)
        values = (*places, *_range(product), _variants(product), *labels)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        if _variants(product) >= 0:
            sentences.extend(text_key(product.wish(choice)) for choice in product.choices())
        indexer.add(document(product))
    del extras
    asins = np.array(list(rows), dtype=np.str_)
    order = np.argsort(asins, kind="stable")
    return Tables(
        **{name: np.array(column) for name, column in columns.items()},
        asins=asins[order],
        rows=order,
        sentences=np.array(sentences, np.uint64),
        search=indexer.index(),
        names=list(names),
    )


def document(product: Product) -> str:
    """Returns what the search finds a product by."""
    options = (f"{name}: {', '.join(values)}" for name, values in product.options.items())
    first = product.bullets[0] if product.bullets else ""
    texts = (product.title, product.description, first, ", and ".join(options))
    return " ".join(texts)


def text_key(text: str) -> int:
    """Returns 64 bits that tell texts apart, the same in every process."""
    # A text of a file may hold half a surrogate pair, which UTF-8 alone would refuse.
    content = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def cached(source: Source, *, minimum: int = CACHE_FROM) -> Tables:
    """Returns `build(source)`, kept on disk where the files have `minimum` bytes or more.

    What is kept belongs to the files' paths, sizes and times of change, and to `VERSION`. It
    lies in ``skillrl/webshop`` of the user's cache directory and may be deleted at any time.

    Raises:
      SkillRLError: it cannot be written there, or what is kept is damaged.
    """
    if not source.paths or sum(path.stat().st_size for path in source.paths) < minimum:
        return build(source)
    folder = cache_directory() / _key(source.paths)
    if not _whole(folder):
        _LOG.info("%s: reading it and indexing its search, once; kept in %s", source.name, folder)
        try:
            _save(folder, build(source))
        except OSError as error:
            raise SkillRLError(
                f"{folder}: the index of {source.name} cannot be written ({error.strerror}). Make "
                "room there, or point XDG_CACHE_HOME at another place."
            ) from error
    return _load(folder)


def cache_directory() -> Path:
    """Returns where indexes are kept: ``$XDG_CACHE_HOME/skillrl/webshop`` (or ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skillrl" / "webshop"


def _range(product: Product) -> tuple[float, float]:
    low, *high = product.pricing
    return low, high[0] if high else math.nan


def _variants(product: Product) -> int:
    if product.instruction is None:
        return NO_GOAL
    return product.variants if product.instruction_attributes else NO_ATTRIBUTES


def _key(paths: Iterable[Path]) -> str:
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps([VERSION, facts]).encode()).hexdigest()[:32]


def _save(folder: Path, tables: Tables) -> None:
    """Writes beside `folder`, then renames: it is there whole or not at all.

    A folder of which somebody deleted a part is replaced.
    """
    beside = folder.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    beside.mkdir(parents=True)
    try:
        for name, value in vars(tables).items():
            if isinstance(value, np.ndarray):
                np.save(beside / f"{name}.npy", value)
        tables.search.save(beside / _SEARCH)
        write_json(beside / _NAMES, tables.names)
        try:
            _rename(beside, folder)
        except FileExistsError:
            if not _whole(folder):  # else another process was faster: the same content
                _discard(folder)
                with contextlib.suppress(FileExistsError):
                    _rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _rename(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise FileExistsError from None
        raise


def _discard(folder: Path) -> None:
    """Moves a folder away in one step, so that no process sees less of it than there was."""
    aside = folder.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    with contextlib.suppress(FileNotFoundError):  # another process did it
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


_ARRAYS = [f.name for f in dataclasses.fields(Tables) if f.name not in ("names", "search")]


def _whole(folder: Path) -> bool:
    """Returns whether all files of an index are there."""
    files = (*(f"{name}.npy" for name in _ARRAYS), _NAMES)
    return all((folder / file).is_file() for file in files) and Index.is_whole(folder / _SEARCH)


def _load(folder: Path) -> Tables:
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        search, names = Index.load(folder / _SEARCH), read_json(folder / _NAMES)
        return Tables(**arrays, search=search, names=names)
    except (OSError, EOFError, KeyError, TypeError, ValueError, SkillRLError) as error:
        raise SkillRLError(f"{folder}: the kept index is damaged ({error}). Delete it.") from error
