"""Searches texts and ranks what it finds: BM25 as Lucene computes it, by the library bm25s.

Lucene's formula with Anserini's k1 = 0.9 and b = 0.4 (what "BM25" means in the literature of both
WebShop and wiki-18), and its EnglishAnalyzer: words as its StandardTokenizer finds them, no
possessive 's, no stop words, Porter stems.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
import sys
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

K1, B = 0.9, 0.4

_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there
these they this to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Lucene's words that are not searched for."""

_LETTER, _INNER = r"[^\W\d_]", ".'\u2019"
_WORD = re.compile(
    rf"\w+(?:(?:(?<={_LETTER})[:{_INNER}](?={_LETTER})|(?<=\d)[,;{_INNER}](?=\d))\w+)*"
)
_POSSESSIVES = ("'s", "\u2019s")
_ARRAYS = ("data.csc.index.npy", "indices.csc.index.npy", "indptr.csc.index.npy")
_FILES = (*_ARRAYS, "vocab.index.json", "params.index.json")

Words = Callable[[str], list[str]]
"""Text in lower case -> its words, stop words included, not stemmed."""


def lucene_words(text: str) -> list[str]:
    """Returns words of a text in a Latin script: "7.5" and "don't" are one, and "7" is one, too."""
    return _WORD.findall(text)


class Index:
    """Searches texts that are numbered from 0. Immutable, and safe across threads.

    Args:
      scores: a `bm25s.BM25` over stems.
      words: how texts are split, the indexed ones and queries.
    """

    def __init__(self, scores: Any, words: Words = lucene_words):
        self._scores, self._words, self._stem = scores, words, _stemmer()

    def __len__(self) -> int:
        return int(self._scores.scores["num_docs"])

    @classmethod
    def of(cls, texts: Iterable[str], words: Words = lucene_words) -> Index:
        """Builds the index of a few texts, or of many that are made as they are asked for."""
        indexer = Indexer(words)
        for text in texts:
            indexer.add(text)
        return indexer.index()

    def search(self, query: str, limit: int) -> list[tuple[int, float]]:
        """Returns (number, score above 0) of the best `limit` texts, ties in order of number.

        Words that no text has are ignored.
        """
        known = self._scores.vocab_dict
        stems = map(self._stem, self._words(query.lower()))
        tokens = [known[stem] for stem in stems if stem in known]
        if not tokens:
            return []
        scores = self._scores.get_scores_from_ids(tokens)
        found = np.flatnonzero(scores > 0)
        if len(found) > limit:  # no need to sort what is worse than the last place
            worst = np.partition(scores[found], -limit)[-limit]
            found = found[scores[found] >= worst]
        order = np.argsort(-scores[found], kind="stable")[:limit]
        return [(int(number), float(scores[number])) for number in found[order]]

    def save(self, folder: Path) -> None:
        """Writes the index to `folder`, which need not exist. Not atomic."""
        self._scores.save(str(folder), show_progress=False)

    @classmethod
    def load(cls, folder: Path, words: Words = lucene_words) -> Index:
        """Returns what `save` wrote; its scores are read from the disk as they are needed.

        Raises:
          OSError, ValueError, KeyError: it is not whole.
        """
        return cls(_bm25s().BM25.load(str(folder), mmap=True, show_progress=False), words)

    @staticmethod
    def is_whole(folder: Path) -> bool:
        """Returns whether all that `save` writes is there."""
        return all((folder / name).is_file() for name in _FILES)


class Indexer:
    """Takes texts one after the other; then gives their `Index`.

    Of a text, 4 bytes a word are kept, so that a million fit.
    """

    def __init__(self, words: Words = lucene_words):
        self._words, self._known = words, _Numbers()
        self._numbers, self._ends = array("i"), array("q", [0])

    def add(self, text: str) -> None:
        """Adds the next text."""
        numbers = [self._known[word] for word in self._words(text.lower())]
        self._numbers.extend([number for number in numbers if number >= 0])
        self._ends.append(len(self._numbers))

    def index(self) -> Index:
        """Returns the index of everything that was added."""
        scores = _bm25s().BM25(k1=K1, b=B, method="lucene")
        if self._numbers:
            tokens = _Tokens(self._known.vocab, self._numbers, self._ends)
            scores.index(tokens, create_empty_token=False, show_progress=False)
        else:  # bm25s cannot do without a word
            none, size = np.zeros(0, np.int32), len(self._ends) - 1
            data = none.astype(np.float32)
            scores.vocab_dict, scores.nonoccurrence_array = {}, None
            scores.scores = {"data": data, "indices": none, "indptr": none, "num_docs": size}
        return Index(scores, self._words)


class _Tokens:
    """Holds the token numbers of many texts, in the form that bm25s takes."""

    def __init__(self, vocab: dict[str, int], numbers: array[int], ends: array[int]):
        self.vocab, self.ids = vocab, self
        self._numbers, self._ends = numbers, ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in itertools.pairwise(self._ends):
            yield self._numbers[start:end].tolist()


class _Numbers(dict[str, int]):
    """Maps words to numbers of their stems, stop words to -1; a new stem gets the next number."""

    def __init__(self) -> None:
        super().__init__()
        self.vocab: dict[str, int] = {}
        self._stem = _stemmer()

    def __missing__(self, word: str) -> int:
        stem = self._stem(word)
        self[word] = number = self.vocab.setdefault(stem, len(self.vocab)) if stem else -1
        return number


def _stemmer() -> Callable[[str], str]:
    """Returns the stem of a word without possessive 's, "" for a stop word. Safe across threads."""
    import Stemmer

    stemmer, lock = Stemmer.Stemmer("porter"), threading.Lock()

    @functools.lru_cache(maxsize=1 << 17)
    def stem(word: str) -> str:
        word = word[:-2] if word.endswith(_POSSESSIVES) else word
        if word in STOP_WORDS:
            return ""
        with lock:  # a stemmer keeps a cache and is not thread-safe
            return str(stemmer.stemWord(word))

    return stem


_LOCK = threading.Lock()
_HIDDEN = "jax.lax"  # what bm25s tries to import, and does without if it cannot


def _bm25s() -> ModuleType:
    """Returns the module `bm25s`, imported so that it does not start JAX.

    bm25s 0.3 runs a JAX operation when it is imported, if JAX is installed. In a training
    process that takes the accelerators before the mesh is set up (`jax.distributed` then refuses
    to start), in a server's it takes their memory. Nothing here uses what that buys.
    """
    with _LOCK:
        if "bm25s" not in sys.modules:
            before = sys.modules.get(_HIDDEN)
            sys.modules[_HIDDEN] = None  # type: ignore[assignment]
            try:
                import bm25s
            finally:
                del sys.modules[_HIDDEN]
                if before is not None:
                    sys.modules[_HIDDEN] = before
            logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs all that it does
        import bm25s

        return bm25s
