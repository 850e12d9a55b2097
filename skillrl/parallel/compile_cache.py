"""Keeps compiled programs between runs, in the user's own cache directory.

A program is loaded and run as it lies there, so a directory that others can write to is
never used. CPU programs hold instructions of the machine that compiled them: each kind of
machine has a folder of its own, for home directories that several share.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import stat
from pathlib import Path
from typing import Any

import jax

_LOG = logging.getLogger(__name__)

SECONDS = 0.5
"""What compiles faster is not kept."""


def enable() -> Path | None:
    """Turns JAX's persistent compilation cache on; the directory, or None if there is none.

    A cache that the user has configured (``JAX_COMPILATION_CACHE_DIR``) or turned off
    (``JAX_ENABLE_COMPILATION_CACHE=false``) is left alone.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return None
    path = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
        unsafe = _unsafe(path)
        for name in ("skillrl", "xla", _machine()):
            path /= name
            path.mkdir(mode=0o700, exist_ok=True)
            unsafe = unsafe or _unsafe(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        unsafe = str(error)
    if unsafe:
        _LOG.warning("%s: compiled programs are not kept between runs: %s", path, unsafe)
        return None
    config.update("jax_compilation_cache_dir", str(path))
    config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def _unsafe(folder: Path) -> str:
    """Why others could put programs there; empty if they cannot."""
    found = folder.stat()
    if found.st_uid != os.getuid():
        return f"{folder} belongs to somebody else"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to {folder} (chmod go-w {folder})"
    return ""


def _machine() -> str:
    """Returns a short name of this kind of CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [x for x in lines if x.startswith(("model name", "flags", "Features", "CPU part"))]
    kind = "\n".join([platform.machine(), platform.processor(), *dict.fromkeys(named)])
    return f"{platform.machine()}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
