"""Reads the raw parts of a ``game.tw-pddl``: its JSON, and what its grammar says."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io.json_text import loads

REMEDY = "Restore the file from the data release, or delete its folder."

_TASK = re.compile(r'"Your task is to: (.*?)\."\s*\}\s*\]', re.DOTALL)
_PUT = re.compile(r'action\s+PutObject\s*\{\s*template\s*::\s*"(move|put) ')
_HELP = re.compile(r'"help\.feedback"\s*:\s*\[\s*\{\s*"rhs"\s*:\s*"([^"]*)"')
_STOPS = re.compile(r"[;|<>\[\]#{}]")


@dataclasses.dataclass(frozen=True, slots=True)
class Grammar:
    """Holds what differs between the grammars of two games.

    Attributes:
      task: the task sentence as printed, without the period that the grammar adds.
      task_line: the whole last line of the first observation.
      moves: the dialect says ``move A to B`` (data 2.1.2), not ``put A in/on B`` (2.1.1).
      help_text: answer to ``help``; None where the dialect has no such command.
    """

    task: str
    task_line: str
    moves: bool
    help_text: str | None


def read_json(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
      SkillRLError: no such file, no JSON, or not an object.
    """
    try:
        value = loads(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise SkillRLError(f"{path}: not valid JSON ({error}). {REMEDY}") from error
    if not isinstance(value, dict):
        raise SkillRLError(f"{path}: holds a {type(value).__name__}, not an object. {REMEDY}")
    return value


def required_text(game: Mapping[str, Any], key: str, *, name: str) -> str:
    """Returns the text under `key` of a game; raises SkillRLError where there is none."""
    if key not in game:
        raise SkillRLError(f"{name}: the key {key!r} is missing. {REMEDY}")
    if not isinstance(game[key], str):
        kind = type(game[key]).__name__
        raise SkillRLError(f"{name}: {key!r} should be a text, not {kind}. {REMEDY}")
    return game[key]


def read_grammar(grammar: str, *, name: str) -> Grammar:
    """Finds the task sentence and the dialect.

    The official template reader stops a task sentence at the first of ``; | < > [ ] # { }``,
    losing the period as well, and drops pairs of double quotes; so does this.

    Raises:
      SkillRLError: no task sentence or no put command; the message names `name`.
    """
    put, helped = _PUT.search(grammar), _HELP.search(grammar)
    task, period = _task(grammar, name)
    if put is None:
        raise SkillRLError(f"{name}: the grammar has no 'move' or 'put' command. {REMEDY}")
    return Grammar(
        task=task,
        task_line=f"Your task is to: {task}{period}",
        moves=put[1] == "move",
        help_text=helped[1].replace("\\n", "\n").lstrip() if helped else None,
    )


def read_task(grammar: str, *, name: str) -> str:
    """Returns the task sentence alone, without the period: the one part that an index needs.

    Raises:
      SkillRLError: there is none; the message names `name`.
    """
    return _task(grammar, name)[0]


def _task(grammar: str, name: str) -> tuple[str, str]:
    """Returns the task sentence and the period that is printed after it, if any."""
    sentence = _TASK.search(grammar)
    if sentence is None:
        raise SkillRLError(f"{name}: no 'Your task is to: ' sentence in the grammar. {REMEDY}")
    kept = _STOPS.split(sentence[1], maxsplit=1)
    return re.sub(r'"([^"]*)"', r"\1", kept[0]), "" if len(kept) > 1 else "."
