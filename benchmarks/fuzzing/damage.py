"""Valid JSON values in, damaged ones out; everything follows from the random generator given."""

from __future__ import annotations

import copy
import json
import random
from typing import Any


class Raw:
    """A piece of text that stands in JSON as it is, which no Python value would give."""

    def __init__(self, text: str):
        self.text = text


_DEEP = 3000
_TEXTS = (
    "", " ", "\ud83d", "half \udc00 here", "\x00", "a\x00b", "\x1b[2J\u202e", "NaN", "null",
    "false", "true", "0", "-1", "1e999", "~", "../../etc/passwd", "x" * 70_000, "é漢🚀", "[",
    '["a"]', "{}", "</action>", "<|im_end|>", "train", "general", "\n\n", "\ufeff", "$",
    "$1.2.3", "9" * 400,
)  # fmt: skip
_NUMBERS = (0, -1, 1, 2, 7, 2**31, 2**32, 2**63, 2**64, -(2**70), 10**300, 0.0, -0.5, 1.5, 1e308)
_RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "1" + "0" * 400,
    "[" * _DEEP + "]" * _DEEP, '{"a":' * 60 + "1" + "}" * 60, '{"a": 1, "a": 2}', '"\\ud83d"',
    '"\\ud83d\\ude00"', '"\\u0000"', "01", "'a'", "", "tru", '"open', "\ufeff1",
)  # fmt: skip


def nasty(rng: random.Random) -> Any:
    """A value that somebody forgot to think of."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(_NUMBERS)
    if kind == 1:
        return Raw(rng.choice(_RAW))
    if kind == 2:
        return rng.choice((None, True, False, [], {}, [[]], [None], {"": None}, [1, "a"]))
    if kind == 3:
        return {rng.choice(_TEXTS): rng.choice(_TEXTS), "a": [rng.choice(_NUMBERS)]}
    return rng.choice(_TEXTS)


def damaged(rng: random.Random, value: Any, *, most: int = 3) -> Any:
    """A copy of `value` with one damage or `most` of them; now and then none."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, most, most, most))):
        places = list(_places(value))
        if not places:
            return nasty(rng)
        holder, key = rng.choice(places)
        value = _damage(rng, value, holder, key)
    return value


def encoded(rng: random.Random, value: Any) -> bytes:
    """JSON of `value` as bytes; one in eight has bytes flipped, cut, doubled or put in."""
    text = text_of(value, ascii_only=rng.random() < 0.8)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.06:
        data = b"\xef\xbb\xbf" + data
    return flipped(rng, data) if rng.random() < 0.12 else data


def flipped(rng: random.Random, data: bytes) -> bytes:
    """`data` with a few bytes changed, cut out, repeated or put in."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at:at] = bytes(rng.choices(b'\x00\xff\xed\xa0\xbd{}[]",:\\\n 9eE-.u', k=3))
        elif kind == 2:
            del found[at : at + rng.randint(1, 20)]
        elif kind == 3:
            found[at:at] = found[at : at + rng.randint(1, 60)]
        else:
            del found[at:]
    return bytes(found)


def text_of(value: Any, *, ascii_only: bool = True) -> str:
    """JSON text; `Raw` stands as it is."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        pairs = (
            f"{json.dumps(str(k))}: {text_of(v, ascii_only=ascii_only)}" for k, v in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(text_of(item, ascii_only=ascii_only) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def _places(value: Any) -> Any:
    """(container, key or index) of everything inside."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def _damage(rng: random.Random, root: Any, holder: Any, key: Any) -> Any:
    old, kind = holder[key], rng.randrange(9)
    if kind <= 2:
        holder[key] = nasty(rng)
    elif kind == 3:
        del holder[key]
    elif kind == 4 and isinstance(holder, dict):
        holder[rng.choice(("colour", str(key) + " ", *_TEXTS[:8]))] = nasty(rng)
    elif kind == 4:
        holder.insert(key, nasty(rng))
    elif kind == 5:
        holder[key] = _other_type(rng, old)
    elif kind == 6 and isinstance(holder, dict):  # the key twice
        holder[key] = Raw(f"{text_of(old)}, {json.dumps(str(key))}: {text_of(nasty(rng))}")
    elif kind == 6:
        holder.insert(key, copy.deepcopy(old))
    elif kind == 7 and isinstance(old, str) and old:
        at = rng.randrange(len(old))
        holder[key] = old[:at] + rng.choice(_TEXTS) + old[at + rng.randrange(3) :]
    else:
        others = list(_places(root))
        other, name = rng.choice(others)
        holder[key] = copy.deepcopy(other[name])
    return root


def _other_type(rng: random.Random, value: Any) -> Any:
    if isinstance(value, Raw):
        return None
    if isinstance(value, bool):
        return rng.choice((str(value).lower(), int(value), float(value)))
    if isinstance(value, int | float):
        return rng.choice((str(value), [value], bool(value), -value, value + 0.5))
    if isinstance(value, str):
        return rng.choice(([value], {value: value}, len(value), list(value[:40])))
    if isinstance(value, list):
        return rng.choice(
            (
                dict(enumerate(value)),
                json.dumps(None),
                value[:1],
                value * 2,
                value * 90,
                text(value),
            )
        )
    return rng.choice((list(value or ()), text(value), None))


def text(value: Any) -> str:
    """A value as the text of its JSON: what tables make of lists."""
    return text_of(value)
