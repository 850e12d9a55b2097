"""Markdown with YAML front matter: a mapping between two lines ``---``, then a text.

Only what JSON can say is read: mappings with texts as keys, lists, texts, whole numbers, decimal
numbers, true, false and null. A plain word that is more than a text in YAML 1.1 alone (``yes``,
``012``, ``2026-01-31``), or a number that would lose a digit (``1.10``), stays the text that it is,
and so comes back from `join` letter for letter. Aliases, tags and keys that occur twice are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from skillrl.errors import SkillRLError
from skillrl.io import records
from skillrl.io.text import repair, truncate

LONGEST = 1 << 16
"""Characters of front matter that are read: YAML is slow, and nobody needs more."""

_DEEPEST = 20  # levels of lists and mappings
_MOST = 2000  # keys, values, and beginnings and ends of lists and mappings
_FENCE = "---"
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_ODD = re.compile("[\r\x85\u2028\u2029\ufeff]")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def split(text: str) -> tuple[dict[str, Any], str]:
    """Reads front matter and the text after it.

    Args:
      text: the whole file; lines may end as on Windows.

    Returns:
      The mapping, and all that follows the line after it.

    Raises:
      SkillRLError: there is no front matter, or it holds something else than the module's
        docstring says; names the line or the key.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != _FENCE:
        raise SkillRLError(
            f"its first line is {truncate(lines[0], 40)!r}; front matter begins with a line '---'. "
            "Put name and description between two such lines at the top"
        )
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() == _FENCE:
            return _mapping("\n".join(lines[1:number])), "\n".join(lines[number + 1 :])
    raise SkillRLError("its front matter has no end; close it with a line '---'")


def join(values: Mapping[str, Any], body: str) -> str:
    """Writes what `split` reads: front matter, an empty line, and the body.

    Raises:
      SkillRLError: the front matter would be longer than `split` reads.
    """
    front = yaml.dump(
        dict(values), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10**9
    )
    if len(front) > LONGEST:
        raise SkillRLError(
            f"its front matter has {len(front):,} characters, and {LONGEST:,} are read; shorten it"
        )
    return f"{_FENCE}\n{front}{_FENCE}\n\n{body}\n"


class _Dumper(yaml.SafeDumper):
    """Writes plain JSON values without aliases, and texts so that each letter comes back."""

    def ignore_aliases(self, data: Any) -> bool:
        """Tells that a value which occurs twice is written twice."""
        return True


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Else YAML takes these for ends of lines, and makes blanks of them.
    style = '"' if _ODD.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _mapping(text: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise SkillRLError(
            f"its front matter has {len(text):,} characters; at most {LONGEST:,} are read. Move "
            "what is not metadata below it"
        )
    try:
        events = _allowed(yaml.parse(text, Loader=yaml.SafeLoader))
        value = _value(next(events), events)
        for _ in events:  # to the end: what is wrong there is wrong, too
            pass
    except yaml.YAMLError as error:
        raise SkillRLError(f"its front matter is not YAML: {_said(error)}") from None
    except (ValueError, OverflowError) as error:  # "\\Uffffffff" is no character
        raise SkillRLError(f"its front matter is not YAML: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SkillRLError(
            f"its front matter is {records.show(value)}; it must be a mapping, one 'key: value' a "
            "line"
        )
    return repair(value)


def _allowed(events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    """Yields the events that make a value, and refuses what makes YAML more than JSON or slow."""
    depth = documents = 0
    for count, event in enumerate(events):
        where = f"front matter, line {event.start_mark.line + 2}"  # counted in the file, from 1
        if isinstance(event, yaml.AliasEvent):
            raise SkillRLError(
                f"{where}: alias *{event.anchor}; aliases are not read. Write the value out"
            )
        if getattr(event, "tag", None) is not None:
            raise SkillRLError(f"{where}: tag {event.tag!r:.80}; tags are not read. Remove it")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > _DEEPEST or count > _MOST or documents > 1:
            what = "another document" if documents > 1 else "more than a description needs"
            raise SkillRLError(f"{where}: {what}; shorten it, and keep it flat")
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event
    if not documents:
        yield yaml.ScalarEvent(None, None, (True, False), "")  # nothing but comments


def _value(event: yaml.Event, events: Iterator[yaml.Event]) -> Any:
    """Makes plain JSON of what begins with `event`.

    Raises:
      SkillRLError: a key is no text, or occurs twice.
    """
    if isinstance(event, yaml.ScalarEvent):
        return event.value if event.style else _word(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            items.append(_value(item, events))
        return items
    found: dict[str, Any] = {}
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        where = f"front matter, line {key.start_mark.line + 2}"
        name = _value(key, events)
        if not isinstance(name, str):
            raise SkillRLError(f"{where}: key {records.show(name)} is not a text; put it in quotes")
        if name in found:
            raise SkillRLError(f"{where}: key {name!r:.80} occurs twice; remove one")
        found[name] = _value(next(events), events)
    return found


def _word(text: str) -> Any:
    """Reads a plain scalar: a number or truth value if it is written as JSON would, else a text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text) and text != "-0":
        return int(text)
    if _DECIMAL.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    return text


def _said(error: yaml.YAMLError) -> str:
    """Says in one line what the parser found, and in which line of the file."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 2}: {error.problem}. Quote texts with ':' or '#'"
    return truncate(" ".join(str(error).split()), 200)
