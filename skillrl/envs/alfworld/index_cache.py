"""Keeps what was read from the games of a directory, so that the next start need not read them.

One JSON file per directory, in ``$XDG_CACHE_HOME/skillrl/alfworld`` (``~/.cache`` without that
variable). It may be deleted at any time; one that is damaged or of another format is read as
empty, and written anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from skillrl.envs.alfworld.record import CATEGORIES, Record
from skillrl.errors import Corrupt, SkillRLError
from skillrl.io.atomic import atomic_write
from skillrl.io.checksums import seal, unseal

FORMAT = 1
"""Raise it whenever `Record`, or what is read into it, changes."""

Stamp = tuple[str, int, int, int]
"""Name of a file, its size, and when it and its inode last changed, in nanoseconds."""

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """Describes one game: the files as they were when it was read, and what was in them."""

    stamp: tuple[Stamp, ...]
    record: Record


def cache_file(root: pathlib.Path) -> pathlib.Path | None:
    """Returns where the index of `root` is kept; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification has relative ones ignored
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        return None
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:24]
    return pathlib.Path(base) / "skillrl" / "alfworld" / f"{digest}.json"


def load(root: pathlib.Path) -> dict[str, IndexEntry]:
    """Reads place of a game below `root` -> its entry; empty where nothing usable is kept."""
    path = cache_file(root)
    if path is None:
        return {}
    try:
        kept = unseal(json.loads(path.read_bytes()), path, required=True)
        if kept["format"] != FORMAT or kept["root"] != os.path.realpath(root):
            return {}
        return {place: _entry(row) for place, row in kept["games"].items()}
    except FileNotFoundError:
        return {}
    except (
        Corrupt,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        _LOG.warning("%s: not usable (%s); the games are read again", path, error)
        return {}


def save(root: pathlib.Path, games: Mapping[str, IndexEntry]) -> None:
    """Keeps `games` as all there is below `root`. A cache that cannot be written is a warning."""
    path = cache_file(root)
    if path is None:
        return
    rows = {place: [entry.stamp, *_fields(entry.record)] for place, entry in games.items()}
    kept = {"format": FORMAT, "root": os.path.realpath(root), "games": rows}
    try:
        atomic_write(path, json.dumps(seal(kept), separators=(",", ":")))
    except SkillRLError as error:
        _LOG.warning("the index of %s is not kept: %s", root, error)


def _fields(record: Record) -> list[Any]:
    return [getattr(record, field.name) for field in dataclasses.fields(record)]


def _entry(row: Any) -> IndexEntry:
    """Returns the entry of a row; ValueError or TypeError where it is none."""
    stamps, *fields = row
    skip, category, goal, human, annotation = fields
    if not all(isinstance(text, str) for text in (skip, category, goal, human)):
        raise ValueError("a text of a game is none")
    if not isinstance(annotation, int) or not (skip or category in CATEGORIES):
        raise ValueError("a game is of no task type")
    stamp = tuple((str(name), int(size), int(m), int(c)) for name, size, m, c in stamps)
    record = Record(skip=skip, category=category, goal=goal, human=human, annotation=annotation)
    return IndexEntry(stamp, record)
