"""Writes files and directories that are never half written: write beside, fsync, rename.

A Ctrl-C or SIGTERM during a write is answered after it (`critical_section`). A kill leaves either
what was there before or what replaces it, and perhaps a temporary, which the next session removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

from skillrl.errors import about_writing

TEMPORARY = ".tmp-"
"""Prefix of files and directories that are being written; leftovers may be deleted."""


_kept_out: list[Path] = []


@contextlib.contextmanager
def keep_out(directory: str | Path) -> Iterator[None]:
    """Lets this process write nothing in and below `directory` while the block runs.

    Of several processes that share a run directory one writes, and the others do the same work:
    what they would write is written already. All that `skillrl.io` offers to write with is then
    without effect there; caches elsewhere are written as always.
    """
    place = Path(directory).absolute()
    _kept_out.append(place)
    try:
        yield
    finally:
        _kept_out.remove(place)


def is_kept_out(path: str | Path) -> bool:
    """Tells whether another process writes at `path`; see `keep_out`."""
    return any(Path(path).absolute().is_relative_to(place) for place in _kept_out)


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
    if is_kept_out(path):
        return
    content = data.encode("utf-8") if isinstance(data, str) else data
    with critical_section(), explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / temporary_name()
        try:
            with open(beside, "xb") as file:
                file.write(content)
                flush(file)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        fsync(path.parent)


def replace_directory(temporary: Path, directory: Path) -> None:
    """Puts the finished directory `temporary` in the place of `directory`, durably.

    What is at `directory` is set aside under a name that ends in ``.old`` until its successor is
    there, so that a kill in between loses nothing.

    Args:
      temporary: a directory on the same file system, of which every file has been written.
      directory: the place to put it; may hold an earlier version, or nothing.
    """
    fsync_tree(temporary)
    aside = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    with critical_section():
        if directory.exists():
            os.rename(directory, aside)
        os.rename(temporary, directory)
        fsync(directory.parent)
    shutil.rmtree(aside, ignore_errors=True)


def flush(file: IO[bytes]) -> None:
    """Makes what was written to an open file survive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def fsync(path: Path) -> None:
    """Makes a file, or the names in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(directory: Path) -> None:
    """Makes a directory, and all files in and below it, survive a power cut."""
    for entry in [directory, *directory.rglob("*")]:
        fsync(entry)


def temporary_name() -> str:
    """Makes a new name for something that is being written; it says by which process."""
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
    """Tells whether another process than this one has this number on this machine."""
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
    """Tells whether a listing holds nothing but temporaries and `ignore`."""
    ignored = set(ignore)
    return all(name in ignored or name.startswith(TEMPORARY) for name in names)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the OSError of a write to `path` into a SkillRLError that says what to do."""
    try:
        yield
    except OSError as error:
        raise about_writing(error)(
            f"{path}: cannot be written ({error.strerror}). Check the permissions and the free "
            "space there, or choose another place."
        ) from error


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turns errors of writing a policy into one that says what to do.

    Raises:
      SkillRLError: the directory cannot be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise about_writing(error)(
            f"{directory}: cannot be written ({error}). Check the permissions and the free space "
            "there, then start the same command again; checkpoints are untouched."
        ) from error
