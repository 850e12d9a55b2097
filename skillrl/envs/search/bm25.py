"""Search by BM25 in a corpus on this machine.

Lucene's variant with Anserini's k1 = 0.9 and b = 0.4 (which is what "BM25 over wiki-18" means in
the literature), Lucene's English stop words, and the Porter2 stemmer.
"""

from __future__ import annotations

import array
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.envs.bm25s_import import import_bm25s
from skillrl.envs.search.corpus import Corpus, line_offsets
from skillrl.envs.search.documents import Document, Hit
from skillrl.errors import SkillRLError
from skillrl.files import TEMPORARY, read_json, write_json

_LOG = logging.getLogger(__name__)

K1, B = 0.9, 0.4
CACHED_FROM = 20_000
"""Documents from which on an index is kept on disk; smaller ones take about a second."""

_FORMAT = 1  # raise it when anything that shapes an index changes
_OFFSETS, _META = "offsets.npy", "index.json"
_WORD = re.compile(r"\w+")
_POSSESSIVE = re.compile(r"['’]s\b")
_LUCENE_STOPWORDS = (  # org.apache.lucene.analysis.en.EnglishAnalyzer
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with"
)
_STOPWORDS = frozenset(_LUCENE_STOPWORDS.split())


class BM25Retriever:
    """Searches documents; safe to use from several threads.

    Equal scores are in document order. A query without a known word finds nothing, and
    neither does a document without a word of the query get found.

    Args:
      documents: in order; read again at each hit.
      index: made by `build_index` over the same documents.
    """

    def __init__(self, documents: Sequence[Document] | Corpus, index: Any):
        self._documents = documents
        self._index = index
        self._tokenise = make_tokeniser()

    @classmethod
    def over(cls, documents: Sequence[Document]) -> BM25Retriever:
        """Over documents in memory."""
        return cls(documents, build_index(documents))

    @classmethod
    def open(cls, path: str | Path, *, cached_from: int = CACHED_FROM) -> BM25Retriever:
        """Over a JSONL corpus, with its index beside it where it is large.

        The index is in a folder named after the corpus, its size and its time; delete it
        freely. Documents and index are then read from the disk as they are needed.

        Raises:
          SkillRLError: no such corpus, a broken line, or an index that cannot be written.
        """
        path = Path(os.path.expanduser(path))
        kept = index_directory(path)
        if not (kept / _META).is_file():
            offsets = line_offsets(path)
            if not offsets.shape[1]:
                raise SkillRLError(f"{path}: the corpus has no documents")
            corpus = Corpus(path, offsets)
            if len(corpus) < cached_from:
                return cls(corpus, build_index(corpus))
            _LOG.warning("indexing %s: %d documents, once", path, len(corpus))
            _keep(kept, offsets, build_index(corpus))
        return cls(*_load(path, kept))

    def search(self, query: str, top_k: int) -> list[Hit]:
        """The best documents that share a word with `query`."""
        known = self._index.vocab_dict
        words = [known[word] for word in self._tokenise(query) if word in known]
        if not words:
            return []
        scores = self._index.get_scores_from_ids(words)
        return [Hit(self._documents[index], float(scores[index])) for index in _best(scores, top_k)]


def _best(scores: np.ndarray, top_k: int) -> list[int]:
    """Indices of the `top_k` highest positive scores, the earlier first among equals."""
    candidates = np.flatnonzero(scores > 0)
    if len(candidates) > top_k:
        found = scores[candidates]
        candidates = candidates[found >= np.partition(found, -top_k)[-top_k]]
    order = np.argsort(-scores[candidates], kind="stable")
    return candidates[order][:top_k].tolist()


def make_tokeniser() -> Callable[[str], list[str]]:
    """Text to stems: lower case, no possessive s, no stop words."""
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    lock = threading.Lock()  # a Stemmer keeps a cache and is not thread-safe

    def tokenise(text: str) -> list[str]:
        words = [word for word in _words(text) if word not in _STOPWORDS]
        with lock:
            return stemmer.stemWords(words)

    return tokenise


def _words(text: str) -> list[str]:
    return _WORD.findall(_POSSESSIVE.sub("", text.lower()))


def build_index(documents: Sequence[Document] | Corpus) -> Any:
    """A `bm25s.BM25` over the stems of `documents`."""
    bm25s = import_bm25s()
    tokens = _Tokens(document.contents for document in documents)
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index(tokens, create_empty_token=False, show_progress=False)
    return index


class _Numbers(dict[str, int]):
    """Word -> number of its stem, or -1 for a stop word; each word is stemmed once."""

    def __init__(self) -> None:
        super().__init__()
        self.vocab: dict[str, int] = {}
        self._tokenise = make_tokeniser()

    def __missing__(self, word: str) -> int:
        stems = self._tokenise(word)
        number = self.vocab.setdefault(stems[0], len(self.vocab)) if stems else -1
        self[word] = number
        return number


class _Tokens:
    """Token numbers of many texts, in four bytes each; the form that bm25s takes."""

    def __init__(self, texts: Iterator[str]):
        number = _Numbers()
        self.vocab = number.vocab
        self._numbers = array.array("i")
        self._ends = array.array("q", [0])
        for text in texts:
            found = [number[word] for word in _words(text)]
            self._numbers.extend([one for one in found if one >= 0])
            self._ends.append(len(self._numbers))

    @property
    def ids(self) -> _Tokens:
        return self

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in zip(self._ends, self._ends[1:], strict=False):
            yield self._numbers[start:end].tolist()


def index_directory(path: Path) -> Path:
    """Where the index of the corpus `path` is kept; raises SkillRLError if there is no corpus."""
    try:
        stat = path.stat()
    except OSError as error:
        raise SkillRLError(
            f"{path}: the corpus cannot be read ({error.strerror}). Name a JSONL file of "
            "{id, contents} with env.search.corpus."
        ) from None
    return path.with_name(f"{path.name}.bm25-{_FORMAT}-{stat.st_size:x}-{stat.st_mtime_ns:x}")


def _keep(directory: Path, offsets: np.ndarray, index: Any) -> None:
    """Writes an index beside its place and moves it there; of two writers the first counts."""
    beside = directory.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        beside.mkdir()
        index.save(str(beside), show_progress=False)
        np.save(beside / _OFFSETS, offsets)
        write_json(beside / _META, {"documents": offsets.shape[1]})
        os.rename(beside, directory)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        if not (directory / _META).is_file():
            raise SkillRLError(
                f"{directory}: the index cannot be written ({error.strerror}). Copy the corpus to "
                "a place where there is room for an index about as large beside it."
            ) from error
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _load(path: Path, directory: Path) -> tuple[Corpus, Any]:
    try:
        index = import_bm25s().BM25.load(str(directory), mmap=True, show_progress=False)
        offsets = np.load(directory / _OFFSETS, mmap_mode="r")
        meta: Mapping[str, Any] = read_json(directory / _META)
        if len({meta["documents"], offsets.shape[1], int(index.scores["num_docs"])}) > 1:
            raise ValueError("its parts do not fit together")
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise SkillRLError(
            f"{directory}: the index cannot be read ({error}). Delete the folder; it is made anew."
        ) from error
    return Corpus(path, offsets), index
