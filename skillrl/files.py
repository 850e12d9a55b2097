"""Files that are never half written: write, fsync, rename; and JSON lines that heal.

What is read has valid text in it, and may begin with a byte order mark (`json_text.loads`).

A Ctrl-C during a write is answered after it (`critical_section`). A kill leaves either
the old file or the new one; of an appended line either all or a tail without a
newline, which readers ignore and the next append removes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.json_text import loads

TEMPORARY = ".tmp-"
"""Prefix of files that are being written; leftovers may be deleted."""


@contextlib.contextmanager
def critical_section() -> Iterator[None]:
    """Holds back Ctrl-C (SIGINT) until the block is done, then raises KeyboardInterrupt.

    Nests. Outside the main thread, which alone receives signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        if callable(before):
            before(pending[0], None)  # the default raises KeyboardInterrupt
        elif before is not signal.SIG_IGN:
            raise KeyboardInterrupt


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Puts `data` (text as UTF-8) at `path`, replacing what is there, all or nothing.

    Raises:
      SkillRLError: the place cannot be written to.
    """
    path = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    with critical_section(), _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with open(beside, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def write_json(path: str | Path, value: Any) -> None:
    """`value` as indented JSON, atomically. NaN and infinities are refused (ValueError)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote.

    Raises:
      SkillRLError: missing, unreadable or not JSON.
    """
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


def append_jsonl(path: str | Path, *rows: Any) -> None:
    """Adds one line per row in a single write; a torn last line is removed first."""
    path = Path(path)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    if not lines:
        return
    with critical_section(), _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            _drop_torn_line(file)
            file.write("".join(lines).encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())


def read_jsonl(path: str | Path, *, given: bool = False) -> Iterator[Any]:
    """The rows of a file, in order.

    Args:
      path: the file.
      given: it is not one that this run appends to, so that nothing of it may be torn: its last
        line counts without a newline too (pandas and editors write none), and blank lines are
        no rows. In a file of the run's own a last line without a newline is not a row.

    Raises:
      SkillRLError: missing, or a line that is not JSON (with its number).
    """
    return (row for _, row in numbered_jsonl(path, given=given))


def numbered_jsonl(path: str | Path, *, given: bool = False) -> Iterator[tuple[int, Any]]:
    """The rows of `read_jsonl` with the numbers of their lines, from 1 on."""
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
    with critical_section(), _writing(Path(path)), open(path, "rb+") as file:
        last = file.read().rpartition(b"\n")[2]
        try:
            loads(last)
        except (ValueError, RecursionError):
            return
        file.write(b"\n")


def truncate_jsonl(path: str | Path, keep: Callable[[Any], bool]) -> int:
    """Keeps the rows for which `keep(row)` holds, atomically; returns how many went.

    A missing file has no rows. Kept lines stay as they are, byte for byte.
    """
    path = Path(path)
    if not path.exists():
        return 0
    kept, dropped = [], 0
    for line, row in zip(path.read_bytes().splitlines(keepends=True), read_jsonl(path)):  # noqa: B905
        if keep(row):
            kept.append(line)
        else:
            dropped += 1
    content = b"".join(kept)
    if len(content) != path.stat().st_size:
        atomic_write(path, content)
    return dropped


def remove_temporaries(directory: str | Path) -> None:
    """Deletes what killed writes left directly in `directory`."""
    for path in Path(directory).glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def is_empty(names: Iterable[str], *, ignore: Iterable[str] = ()) -> bool:
    """Whether a listing holds nothing but temporaries and `ignore`."""
    ignored = set(ignore)
    return all(name in ignored or name.startswith(TEMPORARY) for name in names)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SkillRLError(
            f"{path}: cannot be written ({error.strerror}). Check the permissions and the free "
            "space there, or choose another place."
        ) from error


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


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
