"""Files that are never half written: write, fsync, rename; and JSON lines that heal.

What is read has valid text in it, and may begin with a byte order mark (`json_text.loads`).

A Ctrl-C or SIGTERM during a write is answered after it (`critical_section`). A kill leaves
either the old file or the new one; of an appended line either all or a tail without a
newline, which readers ignore and the next append removes.

What a run writes and reads again is sealed (`write_sealed`, `append_sealed`): it carries its
checksum, and every reader here refuses content that does not have it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io.checksums import seal, unseal
from skillrl.io.json_text import loads

TEMPORARY = ".tmp-"
"""Prefix of files and directories that are being written; leftovers may be deleted."""


@contextlib.contextmanager
def critical_section() -> Iterator[None]:
    """Holds back Ctrl-C (SIGINT) and SIGTERM until the block is done, then lets them act.

    Nests. Outside the main thread, which alone receives signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not None:  # None: somebody else's, not from Python
            before[number] = signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pending:  # also after an error: who was told to end ends
            signal.raise_signal(pending[0])


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Puts `data` (text as UTF-8) at `path`, replacing what is there, all or nothing.

    Raises:
      SkillRLError: the place cannot be written to.
    """
    path = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    with critical_section(), _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / temporary_name()
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


def write_sealed(path: str | Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object as `write_json` does, with its checksum under one more key."""
    write_json(path, seal(value))


def read_json(path: str | Path) -> Any:
    """What `write_json` or `write_sealed` wrote, the latter without its checksum.

    Raises:
      SkillRLError: missing, unreadable or not JSON.
      Corrupt: there is a checksum, and it is not that of the content.
    """
    return unseal(_parsed(path), path)


def read_sealed(path: str | Path) -> dict[str, Any]:
    """What `write_sealed` wrote to a file that nothing but a run writes.

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
    """A row of JSON lines with its checksum, newline included; NaN is refused (ValueError)."""
    return json.dumps(seal(row), ensure_ascii=False, allow_nan=False) + "\n"


def append_sealed(path: str | Path, *rows: Mapping[str, Any]) -> None:
    """Adds rows as `append_jsonl` does, each with its own checksum."""
    append_jsonl(path, *map(seal, rows))


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


def read_jsonl(path: str | Path, *, given: bool = False, required: bool = False) -> Iterator[Any]:
    """The rows of a file, in order, without their checksums where they have them.

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
    """The rows of `read_jsonl`, checksums included, with the numbers of their lines from 1 on."""
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


def truncate_jsonl(path: str | Path, keep: Callable[[Any], bool], *, required: bool = False) -> int:
    """Keeps the rows for which `keep(row)` holds, atomically; returns how many went.

    A missing file has no rows. Kept lines stay as they are, byte for byte. Raises as
    `read_jsonl` does, and then changes nothing.
    """
    path = Path(path)
    if not path.exists():
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


def temporary_name() -> str:
    """A new name for something that is being written; it says by which process."""
    return f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"


def remove_temporaries(directory: str | Path) -> None:
    """Deletes what killed writes left in and below `directory`; links are not followed.

    What a process that still lives is writing (its number is in the name) stays.
    """
    for path in list(Path(directory).rglob(f"{TEMPORARY}*")):
        owner = path.name.removeprefix(TEMPORARY).partition("-")[0]
        if owner.isdecimal() and is_running(int(owner)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether there is a process of this number on this machine, other than this one."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's
    return True


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
