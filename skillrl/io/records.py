"""Reads plain records from JSON and checks them field by field.

What a field takes is its declared type: a text, a count (a whole number from 0; as `SignedInt`
below 0, too), a finite number, true or false, a list of such, an object of plain JSON, or a record
of its own; null where the type says so. Nothing is converted but a whole number where any number
is taken: ``"false"`` is no truth value.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import reprlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from skillrl.errors import SkillRLError
from skillrl.io.numbers import MAX_INT, SignedInt, is_number, is_whole_number
from skillrl.io.text import truncate

T = TypeVar("T")

_DEEPEST = 100  # levels of an object of plain JSON
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, 3, 3, 60


def read(kind: type[T], value: Any, where: str = "") -> T:
    """Makes the record of dataclass `kind` that the object `value` describes.

    Args:
      kind: a dataclass whose fields have the types that the module names.
      value: as JSON has it.
      where: how errors call the place, e.g. ``skills[3]``.

    Raises:
      SkillRLError: no object, or a field that is unknown, missing or of another type; names
        place, field and value.
    """
    if not isinstance(value, dict):
        raise SkillRLError(f"{_place(where)}is {show(value)}; it must be an object")
    fields, hints = _declared(typing.cast(Any, kind))
    found = {}
    for name, item in value.items():
        if name not in fields:
            raise SkillRLError(
                f"{_place(where)}unknown field {show(name)}; the fields are {', '.join(fields)}"
            )
        found[name] = _field(hints[name], item, name=name, where=where)
    for name, required in fields.items():
        if required and name not in found:
            raise SkillRLError(f"{_place(where)}field {name!r} is missing")
    return kind(**found)


def objects(data: Mapping[str, Any], name: str, where: str = "") -> Sequence[Mapping[str, Any]]:
    """Returns the list of objects under a key; without the key it is empty.

    Raises:
      SkillRLError: it is no list, or has an item that is no object; names the place.
    """
    entries = data.get(name, [])
    place = f"{where}.{name}" if where else name
    if not isinstance(entries, list):
        raise SkillRLError(f"{place}: must be a list, found {type(entries).__name__}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise SkillRLError(
                f"{place}[{index}]: must be an object with named fields, found "
                f"{type(entry).__name__}"
            )
    return entries


def show(value: Any) -> str:
    """Writes a value for a message: short, whatever it is."""
    text = _SHORT.repr(value)
    return truncate(text)


def _field(hint: Any, value: Any, *, name: str, where: str) -> Any:
    if type(None) in typing.get_args(hint):
        if value is None:
            return None
        hint = typing.get_args(hint)[0]
    item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
    if dataclasses.is_dataclass(hint):
        return read(typing.cast(type, hint), value, f"{where}.{name}" if where else name)
    if item is not None and dataclasses.is_dataclass(item):
        if not isinstance(value, list | tuple):
            raise SkillRLError(f"{_place(where)}field {name!r} is {show(value)}; expected a list")
        inside = f"{where}.{name}" if where else name
        return tuple(
            read(typing.cast(type, item), one, f"{inside}[{i}]") for i, one in enumerate(value)
        )
    if item is None:
        wanted = _wrong(hint, value)
        if wanted:
            raise SkillRLError(f"{_place(where)}field {name!r} is {show(value)}; expected {wanted}")
        return float(value) if hint is float else value
    if not isinstance(value, list | tuple):
        wanted = _wrong(item, None)
        raise SkillRLError(
            f"{_place(where)}field {name!r} is {show(value)}; expected a list, each item {wanted}"
        )
    if _all_right(item, value):
        return tuple(value)
    for number, one in enumerate(value):
        if wanted := _wrong(item, one):
            raise SkillRLError(
                f"{_place(where)}field {name!r} has {show(one)} as item {number}; expected {wanted}"
            )
    return tuple(map(float, value)) if item is float else tuple(value)


def _wrong(hint: Any, value: Any) -> str:
    """Says what was expected, or "" where `value` is that."""
    if hint is str:
        return "" if isinstance(value, str) else "a text"
    if hint is bool:
        return "" if isinstance(value, bool) else "true or false"
    if hint is int:
        good = is_whole_number(value) and 0 <= value <= MAX_INT
        return "" if good else f"a whole number from 0 to {MAX_INT}"
    if hint == SignedInt:
        good = is_whole_number(value) and abs(value) <= MAX_INT
        return "" if good else f"a whole number from -{MAX_INT} to {MAX_INT}"
    if hint is float:
        return "" if is_number(value) else "a finite number"
    if typing.get_origin(hint) is collections.abc.Mapping:
        return "" if isinstance(value, dict) and is_plain(value) else "an object of plain JSON"
    raise TypeError(f"fields of type {hint} are not supported")


def _all_right(item: Any, values: Any) -> bool:
    """Tells quickly whether thousands of token ids are right; False may be wrong."""
    kinds = set(map(type, values))
    if not kinds <= {item}:
        return False
    if item is int:
        return not values or (min(values) >= 0 and max(values) <= MAX_INT)
    return item is str or (item is float and all(map(math.isfinite, values)))


def is_plain(value: Any, depth: int = 0) -> bool:
    """Tells whether a value from JSON can be written as JSON again: finite, not absurdly deep."""
    if isinstance(value, dict):
        return depth < _DEEPEST and all(is_plain(item, depth + 1) for item in value.values())
    if isinstance(value, list):
        return depth < _DEEPEST and all(is_plain(item, depth + 1) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


@functools.cache
def _declared(kind: Any) -> tuple[Mapping[str, bool], Mapping[str, Any]]:
    """Maps names of fields to whether they must be given, and to their types."""
    required = {
        field.name: field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(kind)
    }
    return required, typing.get_type_hints(kind, include_extras=True)


def _place(where: str) -> str:
    return f"{where}: " if where else ""
