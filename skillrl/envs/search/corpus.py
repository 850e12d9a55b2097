"""A corpus on disk: JSON lines {"id", "contents"}, read one line at a time."""

from __future__ import annotations

import array
import json
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skillrl.envs.search.documents import Document
from skillrl.errors import SkillRLError

_CHUNK = 1 << 20  # bytes read at once when lines are counted


class Corpus:
    """Documents by number; none of their text is held in memory.

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
        """A document; raises SkillRLError where its line holds none."""
        start, end = (int(offset) for offset in self.offsets[:, index])
        try:
            return parse_line(os.pread(self._file, end - start, start))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise SkillRLError(
                f"{self.path}, line {self._line_number(start)}: not a document "
                f"({type(error).__name__}: {error}). Each line of a corpus is a JSON object "
                '{"id": ..., "contents": "\\"Title\\"\\ntext"}; mend or remove this one.'
            ) from None

    def _line_number(self, start: int) -> int:
        """From 1 on, of the line that begins at byte `start`, blank lines counted."""
        chunks = (
            os.pread(self._file, min(_CHUNK, start - at), at) for at in range(0, start, _CHUNK)
        )
        return 1 + sum(chunk.count(b"\n") for chunk in chunks)

    def __iter__(self) -> Iterator[Document]:
        return (self[index] for index in range(len(self)))

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._close()


def open_corpus(path: Path) -> int:
    """A file descriptor to read `path`; raises SkillRLError where that cannot be."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SkillRLError(
            f"{path}: the corpus cannot be read ({error.strerror}). Name a JSONL file of "
            "{id, contents} with env.search.corpus."
        ) from None


def line_offsets(path: Path) -> np.ndarray:
    """int64 [2, lines]: where each line that is not blank begins and ends."""
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
    """The document of a line.

    Some corpora have ``title`` and ``text`` in place of ``contents``; they are joined as
    ``contents`` are made: ``"title"``, a line break, the text.

    Raises:
      ValueError, TypeError, KeyError, RecursionError: not such a line.
    """
    row = json.loads(line)
    contents = row["contents"] if "contents" in row else f'"{row["title"]}"\n{row["text"]}'
    if not isinstance(contents, str):
        raise TypeError(f"contents are {contents!r}")
    return Document(str(row["id"]), contents)
