"""Search as WebShop does it: BM25 with Lucene's formula, English stop words and Porter stems.

Scores are those of the library bm25s (method "lucene"). It is not used itself because its import
starts JAX's default device, which takes seconds, and makes the start of several hosts fail.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import re
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator

import numpy as np

LIMIT = 50
"""Most hits of a ranked search."""

K1, B = 0.9, 0.4

_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there
these they this to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Lucene's words that are not searched for."""

_BLOCK = 1 << 15
"""Documents that are counted at once."""

_LETTER, _INNER = r"[^\W\d_]", ".'\u2019"
_WORD = re.compile(
    rf"\w+(?:(?:(?<={_LETTER})[:{_INNER}](?={_LETTER})|(?<=\d)[,;{_INNER}](?=\d))\w+)*"
)
"""Words as Lucene's StandardTokenizer finds them in Latin scripts: "7.5" and "don't" are one."""
_POSSESSIVES = ("'s", "\u2019s")

Words = Callable[[str], list[str]]
"""Text in lower case -> its words, stop words included, not stemmed."""


def lucene_words(text: str) -> list[str]:
    """Words of `text`; words of one character count too."""
    return _WORD.findall(text)


@dataclasses.dataclass(frozen=True)
class Postings:
    """Scores of every word in every document, a sparse matrix by word.

    Attributes:
      scores: [postings] float32, BM25 score of a word in a document.
      documents: [postings] int32, the document of each.
      starts: [words + 1], where each word's postings begin.
      words: all words (stems) in sorted order, in one string of UTF-8 bytes (uint8).
      word_starts: [words + 1], where each begins.
      order: [words], sorted place -> number of the word in `starts`.
      size: [1], number of documents.
    """

    scores: np.ndarray
    documents: np.ndarray
    starts: np.ndarray
    words: np.ndarray
    word_starts: np.ndarray
    order: np.ndarray
    size: np.ndarray


class Indexer:
    """Takes documents one after the other; then gives their `Postings`.

    Word numbers are kept in one array of 4 bytes each, so that a million documents fit.
    """

    def __init__(self, words: Words = lucene_words):
        self._words = words
        self._known = _Numbers()
        self._ids = array("i")
        self._ends = array("q", [0])

    def add(self, document: str) -> None:
        """Adds the next document (a text in lower case)."""
        known = self._known
        numbers = [known[word] for word in self._words(document)]
        self._ids.extend([number for number in numbers if number >= 0])
        self._ends.append(len(self._ids))

    def postings(self) -> Postings:
        """The scores of everything added: idf(word) * tf / (tf + k1 (1 - b + b length / mean))."""
        ids, ends = np.asarray(self._ids), np.asarray(self._ends)
        lengths = np.diff(ends)
        size, words = len(lengths), len(self._known.stems)
        norms = K1 * (1 - B + B * lengths / max(lengths.mean() if size else 0, 1e-9))
        frequencies = np.zeros(words, np.int64)
        for part in _counted(ids, ends):
            frequencies += np.bincount(part[0], minlength=words)
        idf = np.log1p((size - frequencies + 0.5) / (frequencies + 0.5))
        starts = np.concatenate([[0], np.cumsum(frequencies)])
        scores = np.empty(starts[-1], np.float32)
        documents = np.empty(starts[-1], np.int32)
        free = starts[:-1].copy()
        for word, document, count in _counted(ids, ends):
            firsts = np.flatnonzero(np.diff(word, prepend=-1))
            runs = np.diff(firsts, append=len(word))
            place = free[word] + np.arange(len(word)) - np.repeat(firsts, runs)
            scores[place] = idf[word] * (count / (count + norms[document]))
            documents[place] = document
            free[word[firsts]] += runs
        names = sorted((name.encode(), number) for name, number in self._known.stems.items())
        return Postings(
            scores=scores,
            documents=documents,
            starts=starts,
            words=np.frombuffer(b"".join(name for name, _ in names), np.uint8),
            word_starts=np.cumsum([0, *(len(name) for name, _ in names)]),
            order=np.array([number for _, number in names], np.int64),
            size=np.array([size]),
        )


def _counted(
    ids: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(words, documents, counts), sorted by word and document, a block of documents at a time."""
    for first in range(0, len(ends) - 1, _BLOCK):
        part = ends[first : first + _BLOCK + 1]
        places = np.repeat(np.arange(len(part) - 1), np.diff(part))
        keys = ids[part[0] : part[-1]].astype(np.int64) * _BLOCK + places
        keys, counts = np.unique(keys, return_counts=True)
        yield keys // _BLOCK, keys % _BLOCK + first, counts


class _Numbers(dict[str, int]):
    """Word -> number of its stem, -1 for a stop word; unknown words get the next number."""

    def __init__(self) -> None:
        super().__init__()
        self.stems: dict[str, int] = {}
        self._stem = _stemmer()

    def __missing__(self, word: str) -> int:
        stem = self._stem(word)
        number = self.stems.setdefault(stem, len(self.stems)) if stem else -1
        self[word] = number
        return number


class Ranker:
    """Answers queries from `Postings`, which may lie on disk. Safe across threads."""

    def __init__(self, postings: Postings, words: Words = lucene_words):
        self._postings, self._words = postings, words
        self._stem = _stemmer()

    def search(self, query: str) -> tuple[int, ...]:
        """The best `LIMIT` documents with a score above 0; equal ones in document order.

        Words that no document has are ignored.
        """
        stems = filter(None, map(self._stem, self._words(query.lower())))
        numbers = [number for stem in stems if (number := self._number(stem)) is not None]
        if not numbers:
            return ()
        postings = self._postings
        scores = np.zeros(postings.size[0], np.float32)
        for number in numbers:
            part = slice(postings.starts[number], postings.starts[number + 1])
            scores[postings.documents[part]] += postings.scores[part]
        found = np.flatnonzero(scores > 0)
        if len(found) > LIMIT:  # no need to sort what is worse than the last place
            worst = np.partition(scores[found], -LIMIT)[-LIMIT]
            found = found[scores[found] >= worst]
        order = np.argsort(-scores[found], kind="stable")[:LIMIT]
        return tuple(int(document) for document in found[order])

    def _number(self, stem: str) -> int | None:
        places, target = range(len(self._postings.order)), stem.encode()
        place = bisect.bisect_left(places, target, key=self._name)
        if place < len(places) and self._name(place) == target:
            return int(self._postings.order[place])
        return None

    def _name(self, place: int) -> bytes:
        starts = self._postings.word_starts
        return self._postings.words[starts[place] : starts[place + 1]].tobytes()


def _stemmer() -> Callable[[str], str]:
    """Word -> stem without the possessive 's, "" for a stop word."""
    import Stemmer

    stemmer, lock = Stemmer.Stemmer("porter"), threading.Lock()

    @functools.lru_cache(maxsize=1 << 17)
    def stem(word: str) -> str:
        word = word[:-2] if word.endswith(_POSSESSIVES) else word
        if word in STOP_WORDS:
            return ""
        with lock:  # a stemmer is not safe across threads
            return str(stemmer.stemWord(word))

    return stem


def rank_texts(documents: Iterable[str], words: Words = lucene_words) -> Ranker:
    """A ranker of a few texts, held in memory."""
    indexer = Indexer(words)
    for document in documents:
        indexer.add(document.lower())
    return Ranker(indexer.postings(), words)
