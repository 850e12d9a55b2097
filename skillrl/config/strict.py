"""Reads plain values into nested frozen dataclasses, and refuses what does not fit.

`setting` declares a field with its bounds, `merge` puts a mapping into a config and
refuses what does not belong there, `plain` and `pairs` read configs back. Nothing
here knows the settings themselves; those are in `skillrl.config.settings`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.numbers import MAX_INT, is_number, is_whole_number
from skillrl.io.text import repair, truncate

T = TypeVar("T")

MAX_TOKENS = 2**20
"""The longest prompt or response, or padded length of one, that any model may read."""

MAX_COUNT = 10_000_000
"""No run has more episodes or updates than that; lists of so many still fit into memory."""

MAX_SECONDS = 86_400
"""The longest wait, a day; sockets do not take numbers of any size."""

UPWARDS = "upwards"
"""The mark `resumable` of a field that may grow, and not shrink, when a run is resumed."""

_WIDE = 1024  # a bound that nobody meets but by a typing error is no part of what to say

_SECRET = re.compile("key|token$|secret|password|_api$", re.IGNORECASE)
_EXPLAINED: dict[str, str] = {}


def setting(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] | None = None,
    nonempty: bool = False,
    increasing: bool = False,
    url: bool = False,
    path: bool = False,
    secret: bool = False,
    resumable: bool | Literal["upwards"] = False,
) -> Any:
    """Declares a dataclass field and its rules.

    Args:
      default: value when nothing is said.
      low: smallest allowed number.
      high: largest allowed number.
      above: allowed numbers are greater than this one.
      choices: allowed strings.
      nonempty: an empty string is refused.
      increasing: a sequence must be positive and strictly rising.
      url: an http(s) address without credentials in it, or a list of such.
      path: of a file or directory; ``~`` in front is replaced by the home directory.
      secret: never shown, written or compared.
      resumable: whether it may change when a run is resumed; ``upwards``: it may grow.
    """
    spec = {
        "low": low,
        "high": high,
        "above": above,
        "choices": choices,
        "nonempty": nonempty,
        "increasing": increasing,
        "url": url,
        "path": path,
        "secret": secret,
        "resumable": resumable,
    }
    return dataclasses.field(default=default, repr=not secret, metadata=spec)


def explain(reasons: Mapping[str, str]) -> None:
    """Registers, for names that are deliberately absent, what to say about them."""
    _EXPLAINED.update(reasons)


def merge(config: T, mapping: Mapping[str, Any], *, path: str = "", whole: Any = None) -> T:
    """Puts the values of a nested `mapping` into `config`, each checked on its own.

    Args:
      config: a dataclass of settings, or a section of one.
      mapping: field name -> value; a section takes a mapping of its own.
      path: dotted name of the section, for messages; empty for a whole config.
      whole: the config that `config` is a section of, whose names a typo may have meant.

    Raises:
      SkillRLError: names the key, the value and the nearest valid name or the bounds.
    """
    if not isinstance(mapping, Mapping):
        raise SkillRLError(
            f"{path or 'the config'} is {kind(mapping)}; it takes a JSON object of settings."
        )
    whole = config if whole is None else whole
    hints = typing.get_type_hints(type(config))
    fields = {f.name: f for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    changes = {}
    for key, value in mapping.items():
        name = f"{path}.{key}" if path else str(key)
        if key not in fields:
            raise SkillRLError(_unknown(name, value, path=path, siblings=list(fields), whole=whole))
        inner = getattr(config, key)
        if dataclasses.is_dataclass(inner):
            changes[key] = merge(inner, value, path=name, whole=whole)
        else:
            changes[key] = _read(name, value, kind=hints[key], spec=fields[key].metadata)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def plain(config: Any, *, secrets: bool = True) -> dict[str, Any]:
    """Returns nested plain values (tuples become lists), with or without secret fields."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            out[field.name] = plain(value, secrets=secrets)
        elif secrets or not field.metadata.get("secret"):
            out[field.name] = list(value) if isinstance(value, tuple) else value
    return out


def pairs(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any], Any, Any]]:
    """Yields (dotted name, rules, old value, new value) of every field, in order."""
    for field in dataclasses.fields(old):
        name = f"{path}.{field.name}" if path else field.name
        before, after = getattr(old, field.name), getattr(new, field.name)
        if dataclasses.is_dataclass(before):
            yield from pairs(before, after, name)
        else:
            yield name, field.metadata, before, after


def leaf_type(config: Any, name: str) -> Any:
    """Finds the type of the field with dotted `name`, or None if there is none."""
    *sections, leaf = name.split(".")
    for section in sections:
        config = getattr(config, section, None)
        if not dataclasses.is_dataclass(config):
            return None
    return typing.get_type_hints(type(config)).get(leaf)


def show(value: Any) -> str:
    """Writes a value as people typed it (JSON), shortened."""
    if isinstance(value, Mapping):
        return "{...}" if value else "{}"  # what is inside may be secret
    text = json.dumps(list(value) if isinstance(value, tuple) else value, default=str)
    return truncate(text)


def kind(value: Any) -> str:
    """Names a value that stands where settings belong: only numbers hold no secrets."""
    if value is None or isinstance(value, bool | int | float):
        return show(value)
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"


def _read(name: str, value: Any, *, kind: Any, spec: Mapping[str, Any]) -> Any:
    """Reads `value` as the field's type, or raises the error that says what it should be."""
    shown = "a hidden value" if spec.get("secret") else show(value)
    wanted, result = _convert(value, kind)
    if wanted:
        raise SkillRLError(f"{name} is {shown} ({type(value).__name__}); it takes {wanted}.")
    problem = _bounds(result, spec)
    if spec.get("url") and any("@" in one or "?" in one for one in _addresses(result)):
        shown = "an address with credentials or a query in it"
    if problem:
        raise SkillRLError(f"{name} is {shown}; it {problem}.")
    return paths.expand(result) if spec.get("path") else result


def _convert(value: Any, kind: Any) -> tuple[str, Any]:
    """Converts a value; returns (what was wanted or "", the converted value)."""
    arguments = typing.get_args(kind)
    if type(None) in arguments:
        if value is None:
            return "", None
        wanted, result = _convert(value, arguments[0])
        return (f"{wanted} or null" if wanted else ""), result
    if typing.get_origin(kind) is tuple:
        item = arguments[0]
        wanted = "a list of whole numbers" if item is int else "a list of strings"
        if not isinstance(value, list | tuple):
            return wanted, None
        if any(_convert(one, item)[0] for one in value):
            return wanted, None
        return "", tuple(value)
    if kind is bool:
        return ("", value) if isinstance(value, bool) else ("true or false", None)
    if kind is int:
        good = is_whole_number(value)
        if good and abs(value) > MAX_INT:
            return f"a whole number of at most {MAX_INT}", None
        return ("", value) if good else ("a whole number", None)
    if kind is float:
        return ("", float(value)) if is_number(value) else ("a finite number", None)
    if kind is str:
        if isinstance(value, str) and repair(value) is not value:
            return "a string of whole characters (this one has half an emoji in it)", None
        return ("", value) if isinstance(value, str) else ("a string", None)
    raise TypeError(f"config fields of type {kind} are not supported")


def _bounds(value: Any, spec: Mapping[str, Any]) -> str:
    """Says what is wrong with a value of the right type, or ""."""
    if value is None:
        return ""
    low, high, above, choices = (spec.get(k) for k in ("low", "high", "above", "choices"))
    if (low is not None and value < low) or (high is not None and value > high):
        if low is not None and high is not None and high < _WIDE:
            return f"must lie between {low:g} and {high:g}"
        too_low = low is not None and value < low
        return f"must be at least {low:g}" if too_low else f"must be at most {high}"
    if above is not None and value <= above:
        return f"must be greater than {above:g}"
    if choices and value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        return f"must be one of {', '.join(choices)}" + (f" ({near[0]}?)" if near else "")
    if spec.get("nonempty") and not value:
        return "must not be empty"
    if spec.get("path") and (wrong := paths.problem(value)):
        return wrong
    if spec.get("increasing") and any(a >= b for a, b in zip((0, *value), value, strict=False)):
        return "must be positive and strictly rising"
    if spec.get("increasing") and value and value[-1] > MAX_TOKENS:
        return f"must rise to at most {MAX_TOKENS}"
    if spec.get("url"):
        return next(filter(None, map(_address_problem, _addresses(value))), "")
    return ""


def _addresses(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,) if value else ()


def _address_problem(value: str) -> str:
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises where it is none
    except ValueError:
        valid = False
    if not valid:
        return "must be an http:// or https:// address"
    if "@" in parts.netloc or "?" in value:
        return "must have none (use the api_key field or the environment)"
    return ""


def _unknown(name: str, value: Any, *, path: str, siblings: list[str], whole: Any) -> str:
    """Writes the message for a key that does not exist, with the nearest one that does."""
    near = _nearest(name, path, siblings=siblings, whole=whole)
    hidden = near.endswith("_key") or _SECRET.search(name)  # a mistyped secret stays one
    start = f"{name}: unknown config key (value {'hidden' if hidden else show(value)})"
    if name in _EXPLAINED:
        return f"{start}: {_EXPLAINED[name]}."
    if near:
        return f"{start}. Did you mean {near}?"
    return f"{start}. {path or 'The config'} takes: {', '.join(siblings)}."


def _nearest(name: str, path: str, *, siblings: list[str], whole: Any) -> str:
    """Finds the closest valid dotted name: same section first, then anywhere."""
    prefix = f"{path}." if path else ""
    leaf = name.rpartition(".")[2].lower().replace("-", "_")
    every = [path for path, *_ in pairs(whole, whole)]
    in_section = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.75)
    if in_section:
        return prefix + in_section[0]
    elsewhere = [dotted for dotted in every if dotted.rpartition(".")[2] == leaf]
    if elsewhere:
        return elsewhere[0]
    loose = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.5)
    if loose:
        return prefix + loose[0]
    leaves = {dotted.rpartition(".")[2]: dotted for dotted in reversed(every)}
    far = difflib.get_close_matches(leaf, list(leaves), n=1, cutoff=0.6)
    return leaves[far[0]] if far else ""
