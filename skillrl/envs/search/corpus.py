"""Reads a corpus on disk: JSON lines {"id", "contents"}, one line at a time."""

from __future__ import annotations

import array
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skillrl.envs.search import packed
from skillrl.envs.search.documents import Document
from skillrl.errors import SkillRLError
from skillrl.io.json_text import loads
from skillrl.io.records import show

_CHUNK = 1 << 20  # bytes read at once when lines are counted


class Corpus:
    """Gives documents by number; none of their text is held in memory.

    Args:
      path: the file; blank lines are no documents.
      offsets: int64 [2, documents], first byte of each line and the byte after it, as
        `line_offsets` finds them; may be memory-mapped.

    Raises:
      SkillRLError: the file cannot be read.
    """

    def __init__(self, path: str | Path, offsets: np.ndarray):
        self.path = Path(path)
        self.offsets = offsets
        self._file = open_corpus(self.path)
        self._close = weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.offsets.shape[1]

    def __getitem__(self, index: int) -> Document:
        """Returns a document; raises SkillRLError where its line holds none."""
        start, end = (int(offset) for offset in self.offsets[:, index])
        try:
            return parse_line(os.pread(self._file, end - start, start))
        except _NOT_ONE as error:
            raise _no_document(self.path, self._line_number(start), error) from None

    def _line_number(self, start: int) -> int:
        """Returns the number, from 1, of the line at byte `start`, blank lines counted."""
        chunks = (
            os.pread(self._file, min(_CHUNK, start - at), at) for at in range(0, start, _CHUNK)
        )
        return 1 + sum(chunk.count(b"\n") for chunk in chunks)

    def __iter__(self) -> Iterator[Document]:
        return (self[index] for index in range(len(self)))

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._close()


def packed_documents(path: Path) -> Iterator[Document]:
    """Yields the documents of a corpus that may be packed by gzip, from front to back.

    Raises:
      SkillRLError: it cannot be read, or a line holds no document.
    """
    with packed.opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                document = parse_line(line)
            except _NOT_ONE as error:
                raise _no_document(path, number, error) from None
            yield document


_NOT_ONE = (ValueError, TypeError, KeyError, RecursionError)
"""What `parse_line` raises."""


def _no_document(path: Path, number: int, error: Exception) -> SkillRLError:
    return SkillRLError(
        f"{path}, line {number}: not a document ({type(error).__name__}: {error}). Each line "
        'of a corpus is a JSON object {"id": ..., "contents": "\\"Title\\"\\ntext"}; mend or '
        "remove this one."
    )


def open_corpus(path: Path) -> int:
    """Returns a file descriptor to read `path`; raises SkillRLError where that cannot be."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SkillRLError(
            f"{path}: the corpus cannot be read ({error.strerror}). Name a JSONL file of "
            "{id, contents} with env.search.corpus."
        ) from None


def line_offsets(path: Path) -> np.ndarray:
    """Returns int64 [2, lines]: where each line that is not blank begins and ends."""
    starts, stops = array.array("q"), array.array("q")
    end = 0
    with os.fdopen(open_corpus(path), "rb") as file:
        for line in file:
            start, end = end, end + len(line)
            if not line.isspace():
                starts.append(start)
                stops.append(end)
    return np.stack([np.frombuffer(ends, np.int64) for ends in (starts, stops)])


def parse_line(line: bytes) -> Document:
    """Returns the document of a line.

    Some corpora have ``title`` and ``text`` in place of ``contents``; they are joined as
    ``contents`` are made: ``"title"``, a line break, the text.

    Raises:
      ValueError, TypeError, KeyError, RecursionError: not such a line.
    """
    row = loads(line)
    if not isinstance(row, dict):
        raise TypeError(f"it is {show(row)}, no object")
    number = row["id"]
    if not isinstance(number, str | int) or isinstance(number, bool):
        raise TypeError(f"id is {show(number)}")
    names = ("contents",) if "contents" in row else ("title", "text")
    texts = [row[name] for name in names]
    for name, text in zip(names, texts, strict=True):
        if not isinstance(text, str):
            raise TypeError(f"{name} are {show(text)}")
    return Document(str(number), texts[0] if len(texts) == 1 else f'"{texts[0]}"\n{texts[1]}')
