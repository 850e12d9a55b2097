"""Makes text from outside valid where it enters, and harmless where a terminal shows it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")
# C0 but newline and tab, DEL and C1, and what turns the direction of the text after it.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def repair(value: T) -> T:
    """Replaces every lone surrogate (half an emoji) in `value` by U+FFFD.

    JSON may say ``"\\ud83d"`` alone; Python reads it into a string that no file, socket or
    tokenizer takes. Strings, and what lists, tuples and dicts (keys too) hold of them, come
    back repaired; where there is nothing to repair the same object comes back.
    """
    return _repaired(value)


def printable(text: str) -> str:
    """Makes `text` fit for a terminal: control characters are written as ``\\x1b``.

    Newlines and tabs stay. What an environment, a teacher or a bank says could otherwise
    clear the screen, set its title or hide what follows.
    """
    return _CONTROL.sub(lambda found: _escaped(found.group()), repair(text))


def truncate(text: str, length: int = 80) -> str:
    """Replaces the end of a text of more than `length` characters by ``...``."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def short_repr(value: object, length: int = 80) -> str:
    """Writes `value` for a message: as Python does, in at most `length` characters."""
    return truncate(repr(value), length)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value) if _SURROGATE.search(value) else value
    if isinstance(value, dict):
        pairs = {_repaired(key): _repaired(item) for key, item in value.items()}
        same = all(a is b for a, b in zip(value, pairs, strict=False)) and len(pairs) == len(value)
        return value if same and all(pairs[key] is value[key] for key in value) else pairs
    if isinstance(value, list | tuple):
        items = [_repaired(item) for item in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        return items if isinstance(value, list) else tuple(items)
    return value
