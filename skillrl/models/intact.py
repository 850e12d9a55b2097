"""Tells by hashes whether a model directory's files are what was written or downloaded.

Four places may know them, asked in this order: ``SHA256SUMS`` beside the files (every policy
that we export has it), that of the package for the policies which ship with it, the hub's cache
(a large file is called by its SHA-256 there), and what ``hf download --local-dir`` keeps about
its files. A directory without any is read as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skillrl.errors import Corrupt, SkillRLError
from skillrl.io import checksums

SHIPPED = Path(__file__).resolve().parent.parent / "assets"
"""Where the policies lie that ship with the package."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_THREADS = 4  # hashing leaves the interpreter free: shards are read side by side


def check(directory: Path, names: Iterable[str]) -> None:
    """Compares the files `names` below `directory` with their hashes, where these are known.

    Raises:
      Corrupt: a file has other content than was written, or a listed one is missing.
    """
    if os.path.exists(directory / checksums.SUMS):
        compare = _with_sums
    elif directory.absolute().parent == SHIPPED:
        compare = _with_package
    else:
        compare = _with_hub
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda name: compare(directory, name), names):
            pass


def seal_shipped() -> None:
    """Writes the sums of the policies in the package; their READMEs may be edited freely."""
    from skillrl.io.atomic import atomic_write

    lines = [
        f"{checksums.digest(path)}  {path.relative_to(SHIPPED).as_posix()}\n"
        for path in sorted(SHIPPED.glob("tiny_*/*"))
        if path.name not in ("README.md", checksums.SUMS)
    ]
    atomic_write(SHIPPED / checksums.SUMS, "".join(lines))
    for own in SHIPPED.glob(f"tiny_*/{checksums.SUMS}"):
        own.unlink()


def _with_sums(directory: Path, name: str) -> None:
    try:
        checksums.check_directory(directory, [name])
    except Corrupt as error:
        raise Corrupt(
            f"{error} If you changed it on purpose, delete {directory / checksums.SUMS}."
        ) from None


def _with_package(directory: Path, name: str) -> None:
    """Compares a shipped policy; its sums lie elsewhere, so that a copy of it may be edited."""
    checksums.check_directory(SHIPPED, [f"{directory.name}/{name}"])


def _with_hub(directory: Path, name: str) -> None:
    path = directory / name
    wanted = _cached_hash(path) or _downloaded_hash(directory, name)
    if wanted is None:
        return
    try:
        found = checksums.digest(path)
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None
    if found != wanted:
        raise Corrupt(
            f"{os.path.realpath(path)}: is corrupt: its content is not what was downloaded from "
            "the hub. Delete it and download it again."
        )


def _cached_hash(path: Path) -> str | None:
    """Finds the SHA-256 that the hub's cache names a Git LFS blob by, which the file links to."""
    if not os.path.islink(path) or not os.path.exists(path):
        return None
    blob = Path(os.path.realpath(path))
    known = blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name)
    return blob.name if known else None


def _downloaded_hash(directory: Path, name: str) -> str | None:
    """Finds the hash that a download into a directory noted, unless the file changed since."""
    note = directory / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    try:
        _, digest, seconds = note.read_text(encoding="utf-8").split()
        untouched = (directory / name).stat().st_mtime - 1 <= float(seconds)
    except (OSError, ValueError):  # not downloaded so, or by another version of its client
        return None
    return digest if untouched and _SHA256.fullmatch(digest) else None
