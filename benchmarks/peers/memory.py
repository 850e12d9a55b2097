"""How much a piece of work adds to the resident set at its highest (Linux)."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_mib() -> float:
    """The resident set now."""
    return _read("VmRSS")


def forget_peak() -> None:
    """Lets `peak_mib` begin anew."""
    _CLEAR.write_text("5")


def peak_mib() -> float:
    """The largest resident set since `forget_peak`."""
    return _read("VmHWM")


def _read(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    assert match
    return int(match[1]) / 1024
