"""Keeps the memory that a CPU run frees with the process, until a phase of it ends.

XLA takes the working memory of a CPU program from malloc on every call, in one piece. glibc
maps such pieces anew each time, and the kernel fills them with zeros page by page: a quarter
of the time of a training step of the tiny policy went there. But what a compilation has left is
wanted by nobody: kept to the end of a mock run it made a fifth of its memory.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed() -> bool:
    """Tells malloc to keep what is freed; returns whether it could (glibc alone)."""
    mallopt = _of_glibc("mallopt")
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26))
    return mallopt is not None and all(mallopt(name, value) for name, value in settings)


def release() -> bool:
    """Gives the memory that is free back to the system; returns whether it could (glibc alone).

    What comes next takes it anew, page by page.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)
    return trim is not None


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Returns a function of the C library, or None where that is another one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
