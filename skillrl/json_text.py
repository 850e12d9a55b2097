"""JSON from outside, read in one way by every reader: UTF-8, and valid text.

Editors on Windows put a byte order mark before the first brace; tools that cut text at a number
of characters leave half an emoji behind, which JSON can say (``"\\ud83d"``) and no file, socket or
tokenizer takes. Both are mended here, where the text enters.
"""

from __future__ import annotations

import json
import re
from typing import Any

from skillrl.text import repair

_MARK = b"\xef\xbb\xbf"
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def loads(content: bytes | str, **how: Any) -> Any:
    """The value that JSON text says, with valid text in it.

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
    """The text of UTF-8 bytes without a byte order mark; ValueError where they are not UTF-8."""
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.removeprefix(_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        # json.loads would guess UTF-16 and let halves of characters pass.
        raise ValueError(f"not UTF-8 text, byte {error.start}: {error.reason}") from None


def has_half(text: str) -> bool:
    """Whether JSON text has an escape that may be half a character; most texts have none."""
    return _HALF.search(text) is not None
