"""Understands paths as people type them, in flags and in settings: the one place that does."""

from __future__ import annotations

import os

_LONGEST, _LONGEST_NAME = 4095, 255
"""Bytes of a path, and of one name in it, that Linux takes."""


def expand(path: str | os.PathLike[str]) -> str:
    """Replaces ``~`` or ``~user`` in front of `path` by that home directory."""
    return os.path.expanduser(os.fspath(path))


def problem(path: str) -> str:
    """Says why no file can have this path, as the end of a sentence; "" if one can.

    Asking the system about such a path raises what readers of "no such file" do not expect.
    """
    if "\0" in path:
        return "must be a path, and no path has a NUL character in it"
    name = os.fsencode(expand(path))
    if len(name) > _LONGEST or any(len(part) > _LONGEST_NAME for part in name.split(b"/")):
        return f"must be a path, and this one is too long ({len(name):,} bytes)"
    return ""
