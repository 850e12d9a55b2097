"""Searches by BM25 in a corpus on this machine."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.envs.bm25 import Index
from skillrl.envs.search import packed
from skillrl.envs.search.corpus import Corpus, line_offsets, packed_documents
from skillrl.envs.search.documents import Document, Hit
from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.atomic import TEMPORARY
from skillrl.io.files import read_json, write_json

_LOG = logging.getLogger(__name__)

CACHED_FROM = 20_000
"""Documents from which on an index is kept on disk; smaller ones take about a second."""

_FORMAT = 2  # raise it when anything that shapes an index changes
_OFFSETS, _META = "offsets.npy", "index.json"


class BM25Retriever:
    """Searches documents; safe to use from several threads.

    Equal scores are in document order. A query without a known word finds nothing, and
    neither does a document without a word of the query get found.

    Args:
      documents: in order; read again at each hit.
      index: made by `build_index` over the same documents.
    """

    def __init__(self, documents: Sequence[Document] | Corpus, index: Index):
        self._documents, self._index = documents, index

    @classmethod
    def over(cls, documents: Sequence[Document]) -> BM25Retriever:
        """Searches documents in memory."""
        return cls(documents, build_index(documents))

    @classmethod
    def open(cls, path: str | Path, *, cached_from: int = CACHED_FROM) -> BM25Retriever:
        """Searches a JSONL corpus (or its ``.gz``), with its index beside it where it is large.

        The index is in a folder named after the corpus, its size and its time; delete it
        freely. Documents and index are then read from the disk as they are needed.

        Raises:
          SkillRLError: no such corpus, a broken line, or an index that cannot be written.
        """
        path = Path(paths.expand(path))
        kept = index_directory(path)
        if packed.is_packed(path):
            documents = list(itertools.islice(packed_documents(path), cached_from))
            if not documents:
                raise SkillRLError(f"{path}: the corpus has no documents")
            if len(documents) < cached_from:
                return cls.over(documents)
            return cls.open(packed.unpack(path), cached_from=cached_from)
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
        """Returns the best documents that share a word with `query`."""
        found = self._index.search(query, top_k)
        return [Hit(self._documents[number], score) for number, score in found]


def build_index(documents: Sequence[Document] | Corpus) -> Index:
    """Returns the index of `documents`."""
    return Index.of(document.contents for document in documents)


def index_directory(path: Path) -> Path:
    """Returns where the index of `path` is kept; raises SkillRLError without a corpus."""
    try:
        stat = path.stat()
    except OSError as error:
        raise SkillRLError(
            f"{path}: the corpus cannot be read ({error.strerror}). Name a JSONL file of "
            "{id, contents} with env.search.corpus."
        ) from None
    return path.with_name(f"{path.name}.bm25-{_FORMAT}-{stat.st_size:x}-{stat.st_mtime_ns:x}")


def _keep(directory: Path, offsets: np.ndarray, index: Index) -> None:
    """Writes an index beside its place and moves it there; of two writers the first counts."""
    beside = directory.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        beside.mkdir()
        index.save(beside)
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


def _load(path: Path, directory: Path) -> tuple[Corpus, Index]:
    try:
        index = Index.load(directory)
        offsets = np.load(directory / _OFFSETS, mmap_mode="r")
        meta: Mapping[str, Any] = read_json(directory / _META)
        if len({meta["documents"], offsets.shape[1], len(index)}) > 1:
            raise ValueError("its parts do not fit together")
    except (OSError, EOFError, LookupError, TypeError, ValueError, SkillRLError) as error:
        raise SkillRLError(
            f"{directory}: the index cannot be read ({error}). Delete the folder; it is made anew."
        ) from error
    return Corpus(path, offsets), index
