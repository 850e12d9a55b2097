"""Reads a JSON file of any size entry by entry, and tells where in the file each entry lies."""

from __future__ import annotations

import codecs
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from skillrl.errors import SkillRLError
from skillrl.io.json_text import has_half, loads
from skillrl.io.text import repair

_CHUNK = 1 << 22
_LARGEST_ENTRY = 1 << 26
"""Characters after which an entry that does not end is taken for broken."""
_BLANKS = " \t\n\r"


class JsonElement(NamedTuple):
    """Holds an element of a top-level list or object, and its bytes in the file."""

    key: str
    value: Any
    start: int
    size: int


def entries(path: Path, *, opening: str) -> Iterator[JsonElement]:
    """Yields the elements of the list (`opening` = "[") or object ("{") that a file holds.

    The key of a list's element is "".

    Raises:
      SkillRLError: the file cannot be read, or is not such JSON; names the entry.
    """
    try:
        with open(path, "rb") as file:
            yield from _Scanner(path, file).entries(opening)
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None


class Slices:
    """Parses single entries of a file, which stays on disk, on demand. Safe across threads."""

    def __init__(self, path: Path):
        self._path = path
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, start: int, size: int) -> Any:
        """Returns the entry of `size` bytes from `start`.

        Raises:
          SkillRLError: the file has changed meanwhile.
        """
        try:
            return loads(self._map[start : start + size])
        except (ValueError, RecursionError) as error:
            raise SkillRLError(
                f"{self._path}: changed while it was in use ({error}). Start again."
            ) from None


class _Scanner:
    """Moves a window of text over the file."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path, self._file = path, file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._at, self._byte = "", 0, 0
        self._ended = False
        self._count = 0

    def entries(self, opening: str) -> Iterator[JsonElement]:
        closing = {"[": "]", "{": "}"}[opening]
        self._more()
        if self._text.startswith("\ufeff"):  # a byte order mark, of editors on Windows
            self._move(1)
        self._take(opening)
        while self._peek() != closing:
            if self._count:
                self._take(",")
            key = ""
            if opening == "{":
                self._peek()
                key = self._value(key)
                if not isinstance(key, str):
                    raise self._broken(f"the key {key!r} is not a string")
                self._take(":")
            self._peek()
            start = self._byte
            value = self._value(key)
            yield JsonElement(key, value, start, self._byte - start)
            self._count += 1
        self._take(closing)
        if self._peek():
            raise self._broken(f"something follows the end of the {opening}...{closing}")

    def _take(self, sign: str) -> None:
        found = self._peek()
        if found != sign:
            raise self._broken(f"{sign!r} is expected, not {found or 'the end of the file'!r}")
        self._move(self._at + 1)

    def _peek(self) -> str:
        """Returns the next character that is not blank, "" at the end; the window moves there."""
        while True:
            at = self._at
            while at < len(self._text) and self._text[at] in _BLANKS:
                at += 1
            self._move(at)
            if at < len(self._text):
                return self._text[at]
            if not self._more():
                return ""

    def _value(self, key: str) -> Any:
        while True:
            try:
                value, end = self._parse(self._text, self._at)
                if has_half(self._text[self._at : end]):
                    value = repair(value)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > _LARGEST_ENTRY or not self._more():
                    name = f" (asin {key})" if key else ""
                    raise self._broken(f"entry{name} is not valid JSON ({error})") from None
                continue
            self._move(end)
            return value

    def _move(self, at: int) -> None:
        passed = self._text[self._at : at]
        self._byte += len(passed) if passed.isascii() else len(passed.encode())
        self._at = at

    def _more(self) -> bool:
        """Reads on; False at the end of the file. The window at least doubles."""
        if self._ended:
            return False
        left = self._text[self._at :]
        chunk = self._file.read(max(_CHUNK, len(left)))
        self._ended = not chunk
        try:
            self._text = left + self._decode(chunk, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._broken(f"text is not UTF-8 ({error.reason})") from None
        self._at = 0
        return True

    def _broken(self, what: str) -> SkillRLError:
        return SkillRLError(
            f"{self._path}: entry {self._count + 1}, near byte {self._byte}: {what}. The file is "
            "damaged, was cut short or is not an official WebShop file; fetch it again."
        )
