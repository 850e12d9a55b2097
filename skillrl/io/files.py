"""Writes JSON and JSON lines that a run reads again.

What is read has valid text in it, and may begin with a byte order mark (`json_text.loads`). A kill
leaves of an appended line either all or a tail without a newline, which readers ignore and the
next append removes.

What a run writes for itself is sealed (`write_sealed`, `append_sealed`): it carries its checksum,
and every reader here refuses content that does not have it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io.atomic import atomic_write, critical_section, explained, flush, is_kept_out
from skillrl.io.checksums import seal, unseal
from skillrl.io.json_text import loads


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically; NaN and infinities are a ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text + "\n")


def write_sealed(path: str | Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object as `write_json` does, with its checksum under one more key."""
    write_json(path, seal(value))


def read_json(path: str | Path) -> Any:
    """Reads what `write_json` or `write_sealed` wrote, the latter without its checksum.

    Raises:
      SkillRLError: missing, unreadable or not JSON.
      Corrupt: there is a checksum, and it is not that of the content.
    """
    return unseal(_parsed(path), path)


def read_sealed(path: str | Path) -> dict[str, Any]:
    """Reads what `write_sealed` wrote to a file that nothing but a run writes.

    Raises:
      SkillRLError: missing, unreadable or not JSON.
      Corrupt: not a JSON object with the checksum of its content.
    """
    return unseal(_parsed(path), path, required=True)


def _parsed(path: str | Path) -> Any:
    try:
        return loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise SkillRLError(f"{path}: no such file.") from None
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise SkillRLError(
            f"{path}: is not valid JSON ({error}). If it is from a run, delete it and repeat the "
            "phase that wrote it."
        ) from None


def sealed_line(row: Mapping[str, Any]) -> str:
    """Formats a row of JSON lines with its checksum and newline; NaN is a ValueError."""
    return json.dumps(seal(row), ensure_ascii=False, allow_nan=False) + "\n"


def append_sealed(path: str | Path, *rows: Mapping[str, Any]) -> None:
    """Adds rows as `append_jsonl` does, each with its own checksum."""
    append_jsonl(path, *map(seal, rows))


def append_jsonl(path: str | Path, *rows: Any) -> None:
    """Adds one line per row in a single write; a torn last line is removed first."""
    path = Path(path)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    if not lines or is_kept_out(path):
        return
    with critical_section(), explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            _drop_torn_line(file)
            file.write("".join(lines).encode("utf-8"))
            flush(file)


def read_jsonl(path: str | Path, *, given: bool = False, required: bool = False) -> Iterator[Any]:
    """Yields the rows of a file, in order, without their checksums where they have them.

    Args:
      path: the file.
      given: it is not one that this run appends to, so that nothing of it may be torn: its last
        line counts without a newline too (pandas and editors write none), and blank lines are
        no rows. In a file of the run's own a last line without a newline is not a row.
      required: each row must be an object with a checksum: nothing but a run writes the file.

    Raises:
      SkillRLError: missing, or a line that is not JSON (with its number).
      Corrupt: a row does not have the content that its checksum is of, or should have one.
    """
    for number, row in numbered_jsonl(path, given=given):
        yield unseal(row, f"{path}, line {number}", required=required)


def numbered_jsonl(path: str | Path, *, given: bool = False) -> Iterator[tuple[int, Any]]:
    """Yields rows as `read_jsonl` does, but with checksums and line numbers, from 1 on."""
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed below, after the last row)
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None
    with file:
        for number, line in enumerate(file, start=1):
            if given and not line.strip():
                continue
            whole = line.endswith(b"\n")
            if not (whole or given):
                return
            try:
                row = loads(line)
            except (ValueError, RecursionError) as error:
                cut = "" if whole else " and has no end: it may have been cut short"
                raise SkillRLError(f"{path}: line {number} is not JSON ({error}){cut}.") from None
            yield number, row


def end_last_line(path: str | Path) -> None:
    """Adds the newline that a last line lacks, if it is whole JSON: then it is not torn."""
    with critical_section(), explained(Path(path)), open(path, "rb+") as file:
        last = file.read().rpartition(b"\n")[2]
        try:
            loads(last)
        except (ValueError, RecursionError):
            return
        file.write(b"\n")


def truncate_jsonl(path: str | Path, keep: Callable[[Any], bool], *, required: bool = False) -> int:
    """Keeps the rows for which `keep(row)` holds, atomically; returns how many went.

    A missing file has no rows. Kept lines stay as they are, byte for byte. Raises as
    `read_jsonl` does, and then changes nothing.
    """
    path = Path(path)
    if not path.exists() or is_kept_out(path):
        return 0
    kept, dropped = [], 0
    lines = path.read_bytes().split(b"\n")
    lines = [line + b"\n" for line in lines[:-1]] + lines[-1:]
    for line, row in zip(lines, read_jsonl(path, required=required)):  # noqa: B905
        if keep(row):
            kept.append(line)
        else:
            dropped += 1
    content = b"".join(kept)
    if len(content) != path.stat().st_size:
        atomic_write(path, content)
    return dropped


def _drop_torn_line(file: Any) -> None:
    """Cuts a binary file, open for reading and appending, after its last newline."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
