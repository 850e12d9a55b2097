"""Checks what is written and read again by checksum: a flipped byte is refused, never a result.

A directory (a checkpoint, an exported policy) carries ``SHA256SUMS``, which ``sha256sum -c``
checks by hand as well. A JSON object, or a row of JSON lines, carries its own sum under the key
``checksum``; it is of the content, so another indentation or order of keys changes nothing (a tool
that writes 1.0 as 1 does).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from skillrl.errors import Corrupt, SkillRLError
from skillrl.io.atomic import TEMPORARY, atomic_write

SUMS = "SHA256SUMS"
"""File of a directory's checksums, in the format of sha256sum."""

_AT_ONCE = 4  # files hashed side by side: hashing lets go of the interpreter

KEY = "checksum"
"""Where a JSON object keeps its own."""


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """Adds to `value`, as JSON gives it back, its checksum, or renews that.

    Raises:
      ValueError: NaN or infinite.
    """
    plain = {key: item for key, item in value.items() if key != KEY}
    plain = json.loads(json.dumps(plain, allow_nan=False))  # what a reader will compare
    return plain | {KEY: _of_json(plain)}


def unseal(value: Any, path: str | Path, *, required: bool = False) -> Any:
    """Returns what `seal` was given; values that are no sealed object come back as they are.

    Args:
      value: as read from a file.
      path: the file (and line), for the message.
      required: a missing checksum is refused too: for files that only this program writes.

    Raises:
      Corrupt: the content is not what was written.
    """
    if not isinstance(value, dict) or KEY not in value:
        if required:
            raise Corrupt(
                f"{path}: is corrupt: its checksum is missing. Restore it from a copy, or delete "
                "it and repeat the phase that wrote it. (Versions of skillrl that wrote none are "
                "not continued: use the same one, or another --workdir.)"
            )
        return value
    plain = {key: item for key, item in value.items() if key != KEY}
    try:
        same = _of_json(plain) == value[KEY]
    except (ValueError, RecursionError):  # NaN, or thousands of brackets: never sealed
        same = False
    if not same:
        remedy = (
            "or delete it and repeat the phase that wrote it."
            if required
            else f"or, if you changed it on purpose, remove its {KEY!r}."
        )
        raise Corrupt(
            f"{path}: is corrupt: the content does not have the checksum that was written with "
            f"it. Restore it from a copy, {remedy}"
        )
    return plain


def seal_directory(directory: str | Path) -> None:
    """Writes ``SHA256SUMS`` over all files in and below `directory`, atomically."""
    directory = Path(directory)
    files = [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != SUMS and not path.name.startswith(TEMPORARY)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sums = pool.map(digest, files)
        lines = [
            f"{found}  {path.relative_to(directory).as_posix()}\n"
            for found, path in zip(sums, files, strict=True)
        ]
    atomic_write(directory / SUMS, "".join(lines))


def check_directory(directory: str | Path, names: Iterable[str] | None = None) -> bool:
    """Compares files with the ``SHA256SUMS`` beside them.

    Args:
      directory: what `seal_directory` was given, or any with a file of this name and format.
      names: only these files, by their path below `directory`; those that are not listed
        there are passed over. None compares all.

    Returns:
      Whether there are sums to compare with.

    Raises:
      Corrupt: a file is missing or has other content; it is named.
    """
    directory = Path(directory)
    try:
        text = (directory / SUMS).read_bytes().decode("utf-8")
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError) as error:
        raise Corrupt(f"{directory / SUMS}: is corrupt: {error}. {_REMEDY}") from None
    wanted = None if names is None else set(names)
    for line in text.splitlines():
        wanted_digest, mark, name = line[:64], line[64:66], line[66:].removeprefix("./")
        if mark not in ("  ", " *") or not name:  # * is how sha256sum marks binary files
            raise Corrupt(f"{directory / SUMS}: is corrupt: no line of sha256sum: {line[:80]!r}.")
        if wanted is not None and name not in wanted:
            continue
        path = directory / name
        try:
            found = digest(path)
        except FileNotFoundError:
            raise Corrupt(f"{path}: is missing, so {directory} is corrupt. {_REMEDY}") from None
        except OSError as error:
            raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None
        if found != wanted_digest:
            raise Corrupt(
                f"{path}: is corrupt: its content is not what {SUMS} beside it says. {_REMEDY}"
            )
    return True


_REMEDY = "Restore it from a copy, or name another directory."


def _of_json(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def digest(path: Path) -> str:
    """Computes the sha256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
