"""Says what counts as a number from outside, and writes numbers and durations for people."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeGuard

MAX_INT = 2**31 - 1
"""The largest whole number of settings, counts and token ids: what 32 bits on devices hold."""

SignedInt = Annotated[int, "signed"]
"""The type of a record's field that may be below zero; plain ``int`` is a count, from 0."""


def is_number(value: Any) -> TypeGuard[float]:
    """Tells whether `value` is a finite int or float; truth values are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def is_whole_number(value: Any) -> TypeGuard[int]:
    """Tells whether `value` is an int; truth values are not numbers."""
    return isinstance(value, int) and not isinstance(value, bool)


def duration(seconds: float) -> str:
    """Says a time that was measured: ``42s``, ``3m05s``, ``2h07m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def rough_duration(seconds: float) -> str:
    """Says a time that was estimated: ``40 s``, ``7 min``, ``3.5 h``, ``12 days``."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(seconds / 86400)} days"


def short_number(number: float) -> str:
    """Says a large number in two digits and a letter: ``930``, ``12 k``, ``3.4 M``."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{_two_digits(number / size)} {letter}"
    return f"{number:.0f}"


def _two_digits(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"
