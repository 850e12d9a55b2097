"""Reads JSON from outside in one way for all: `loads` for files, `decode_json` for answers.

Editors on Windows put a byte order mark before the first brace; tools that cut text at a number
of characters leave half an emoji behind, which JSON can say (``"\\ud83d"``) and no file, socket or
tokenizer takes. Both are mended here, where the text enters.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeGuard

from skillrl.io.numbers import is_number
from skillrl.io.text import repair

MAX_DEPTH = 100
"""Lists and objects inside one another. No answer that is read here needs ten; at some hundreds
Python's own functions on such a value (`repr`, `json.dumps`) end in a RecursionError."""

_MARK = b"\xef\xbb\xbf"
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def loads(content: bytes | str, **how: Any) -> Any:
    """Reads JSON text; what it says has valid text in it.

    Args:
      content: UTF-8 bytes, or text; a byte order mark before it is no part of it.
      how: further arguments of `json.loads`.

    Raises:
      ValueError: not UTF-8 or not JSON; its text says where.
      RecursionError: brackets within brackets, thousands deep.
    """
    text = decoded(content)
    value = json.loads(text, **how)
    return repair(value) if has_half(text) else value


def decoded(content: bytes | str) -> str:
    """Decodes UTF-8 without a byte order mark; a ValueError says where bytes are not UTF-8."""
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.removeprefix(_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        # json.loads would guess UTF-16 and let halves of characters pass.
        raise ValueError(f"not UTF-8 text, byte {error.start}: {error.reason}") from None


def has_half(text: str) -> bool:
    """Tells whether JSON text has an escape that may be half a character; few have."""
    return _HALF.search(text) is not None


def decode_json(text: bytes | str) -> Any:
    """Reads the JSON of an answer; half characters (lone surrogates) become U+FFFD.

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
    """Repairs the text in `value`, which some JSON decoder made.

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
    """Tells whether `value` is a number, and so small that arithmetic keeps it finite."""
    return is_number(value) and abs(value) <= 1e300
