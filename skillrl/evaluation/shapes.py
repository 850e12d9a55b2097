"""Checks what a run keeps of its evaluations and its bank's evolution where it is read back.

A file may be of another version, or edited; the report at the end of a run is no place to find out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io import records

_REMEDY = "Restore it from a copy, or delete it and repeat the command that wrote it."


@dataclasses.dataclass(frozen=True)
class _Rate:
    success: float | None
    n: int
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Whole:
    """Holds what a result has besides its rates of success."""

    score: float | None
    errored: int
    invalid_actions: float
    mean_steps: float
    temperature: float = 0.0
    repeats: int = 1
    skills: int = 0
    dataset_mean: float | None = None
    manifest: str = ""


@dataclasses.dataclass(frozen=True)
class _Event:
    step: int
    added: tuple[str, ...]
    refined: tuple[str, ...]
    used: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


def check_result(value: Any, path: Path, categories: Iterable[str]) -> dict[str, Any]:
    """Checks that `value` is the result of an evaluation (`evaluation.evaluate.summarise`).

    Args:
      value: what was read from `path`.
      path: the file, for the message.
      categories: the categories of the environment; the result must have each.

    Returns:
      `value` itself.

    Raises:
      SkillRLError: it is something else; the message names the file and the field.
    """
    try:
        _check_rate(_part(value, _Rate), "")
        records.read(_Whole, _part(value, _Whole))
        for name in ("by_category", "by_dataset"):
            rates = value.get(name, {} if name == "by_dataset" else None)
            if not isinstance(rates, Mapping):
                raise SkillRLError(f"field {name!r} is {records.show(rates)}; expected an object")
            for key, rate in rates.items():
                _check_rate(rate, f"{name}.{key}")
        if missing := [key for key in categories if key not in value["by_category"]]:
            raise SkillRLError(f"by_category has no {missing[0]}")
    except SkillRLError as error:
        raise SkillRLError(f"{path}: not the result of an evaluation: {error}. {_REMEDY}") from None
    return value


def check_event(value: Any, path: Path) -> dict[str, Any]:
    """Checks that `value`, read from `path`, is a row of ``rl/evolution.jsonl``; returns it.

    Raises:
      SkillRLError: it is something else; the message names the file and the field.
    """
    try:
        records.read(_Event, _part(value, _Event))
    except SkillRLError as error:
        raise SkillRLError(f"{path}: not an event of evolution: {error}. {_REMEDY}") from None
    return value


def _part(value: Any, kind: Any) -> Any:
    """Picks the fields that the dataclass `kind` has; returns what is no object as it is."""
    names = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if key in names}


def _check_rate(value: Any, where: str) -> None:
    """Checks that `value` is a rate of success and has an interval if it has episodes.

    Raises:
      SkillRLError: it is not; the message names the field `where`.
    """
    rate = records.read(_Rate, value, where)
    if rate.n and None in (rate.success, rate.low, rate.high):
        raise SkillRLError(f"{where or 'it'}: has {rate.n} episodes and no success or interval")
