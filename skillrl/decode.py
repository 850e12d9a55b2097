"""JSON from outside, decoded in one place: valid text, no tower of brackets, or a ValueError."""

from __future__ import annotations

import json
import math
from typing import Any, TypeGuard

from skillrl.text import repair

MAX_DEPTH = 100
"""Lists and objects inside one another. No answer that is read here needs ten; at some hundreds
Python's own functions on such a value (`repr`, `json.dumps`) end in a RecursionError."""


def decode_json(text: bytes | str) -> Any:
    """The value that `text` says, its half characters (lone surrogates) replaced by U+FFFD.

    Bytes are UTF-8, 16 or 32, with or without a byte order mark. NaN and Infinity are read, as
    Python and many servers write them: who needs finite numbers checks.

    Raises:
      ValueError: not JSON, nested deeper than `MAX_DEPTH`, or a number with thousands of digits.
    """
    try:
        if isinstance(text, str):
            text = text.removeprefix("\ufeff")
        return sound(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sound(value: Any) -> Any:
    """`value`, as some JSON decoder made it, with its text repaired.

    Raises:
      ValueError: it is nested deeper than `MAX_DEPTH`.
    """
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        level = [x for item in level for x in (item.values() if isinstance(item, dict) else item)]
    return repair(value)


def is_real(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number, and not so large that arithmetic makes it infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e300 and math.isfinite(value)
