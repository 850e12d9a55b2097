"""Keeps banks on disk: our own format, which holds all, and `load_bank`, which reads every format.

The others are the released one (`skillrl.skills.released`) and directories of Agent Skills
(`skillrl.skills.agent_skills`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from skillrl.errors import SkillRLError
from skillrl.io import records
from skillrl.io.files import read_json, write_sealed
from skillrl.io.numbers import MAX_INT
from skillrl.skills import agent_skills, released
from skillrl.skills.bank import SkillBank, check_counts
from skillrl.skills.history import ACTIONS, BankEvent
from skillrl.skills.released import CATEGORY_ALIASES
from skillrl.types import Skill

T = TypeVar("T")

FORMAT = 1
_OWN_KEYS = ("format", "version", "skills", "history", "notes")

FORMATS = ("skillrl", "released", "agent_skills")
"""Names of the formats that `export_bank` writes; `load_bank` tells them apart by itself."""


def save_bank(bank: SkillBank, path: str | os.PathLike[str]) -> None:
    """Writes the whole bank, history and statistics included; atomic, with its checksum."""
    write_sealed(Path(path), bank_to_json(bank))


def load_bank(
    path: str | os.PathLike[str], *, aliases: Mapping[str, str] = CATEGORY_ALIASES
) -> SkillBank:
    """Reads a bank: a file in our format or in the released one, or a directory of Agent Skills.

    Args:
      path: a JSON file, or a directory with a folder for each skill.
      aliases: category names of a released bank -> those of the environment.

    Raises:
      SkillRLError: missing or malformed; names the file, the entry, the field and a remedy.
    """
    path = Path(path)
    if path.is_dir():
        return agent_skills.read_directory(path)
    data = read_json(path)
    try:
        if isinstance(data, dict) and "format" in data:
            return bank_from_json(data)
        return released.from_json(data, aliases)
    except SkillRLError as error:
        raise SkillRLError(f"{path}: {error}") from None


def export_bank(bank: SkillBank, path: str | os.PathLike[str], *, format: str) -> None:
    """Writes a bank in one of `FORMATS` to a place where nothing is yet.

    Args:
      bank: what to write.
      path: a file, or for ``agent_skills`` a directory.
      format: ``skillrl`` holds all; ``released`` the words alone; ``agent_skills`` all but the
        bank's version and history.

    Raises:
      SkillRLError: there is no such format, something is at `path`, or it cannot be written.
    """
    path = Path(path)
    if format not in FORMATS:
        raise SkillRLError(f"no bank format {format!r}; there are: {', '.join(FORMATS)}.")
    if format == "agent_skills":
        agent_skills.write_directory(bank, path)
        return
    if path.exists():
        raise SkillRLError(f"{path}: something is there already. Name another file, or remove it.")
    (save_bank if format == "skillrl" else released.save_released)(bank, path)


def bank_to_json(bank: SkillBank) -> dict[str, Any]:
    """Returns the bank as plain JSON values, for files and checkpoints."""
    plain: dict[str, Any] = {
        "format": FORMAT,
        "version": bank.version,
        "skills": [_plain(skill) for skill in bank.skills],
        "history": [
            dataclasses.asdict(event) | {"sources": list(event.sources)} for event in bank.history
        ],
    }
    return plain | ({"notes": dict(bank.notes)} if bank.notes else {})


def _plain(skill: Skill) -> dict[str, Any]:
    entry = dataclasses.asdict(skill)
    entry["provenance"]["sources"] = list(skill.provenance.sources)
    if not skill.notes:  # few have any
        del entry["notes"]
    return entry


def bank_from_json(data: Any) -> SkillBank:
    """Reads what `bank_to_json` wrote.

    Raises:
      SkillRLError: another format number, or a malformed entry (named).
    """
    found = data.get("format") if isinstance(data, dict) else type(data).__name__
    if type(found) is not int or found != FORMAT:
        raise SkillRLError(
            f"bank format {records.show(found)}; this version reads format {FORMAT}. Use the "
            "skillrl version that wrote the file."
        )
    unknown = [key for key in data if key not in _OWN_KEYS]
    if unknown:
        raise SkillRLError(
            f"unknown field {records.show(unknown[0])}; a bank has {', '.join(_OWN_KEYS)}. Remove "
            "it, or use the skillrl version that wrote the file."
        )
    version = data.get("version")
    if type(version) is not int or not 0 <= version <= MAX_INT:
        raise SkillRLError(
            f"field 'version' is {records.show(version)}; it must be a whole number from 0"
        )
    skills = _records(Skill, data, "skills")
    for index, skill in enumerate(skills):
        if not skill.id:
            raise SkillRLError(
                f"skills[{index}]: field 'id' is missing. Mend it, or remove the entry"
            )
        try:
            check_counts(skill)
        except SkillRLError as error:
            raise SkillRLError(f"skills[{index}].{error}") from None
    history = _records(BankEvent, data, "history")
    for index, event in enumerate(history):
        if event.action not in ACTIONS:
            raise SkillRLError(
                f"history[{index}]: field 'action' is {records.show(event.action)}; it is one of "
                f"{', '.join(ACTIONS)}"
            )
    notes = data.get("notes", {})
    if not isinstance(notes, dict) or not records.is_plain(notes):
        raise SkillRLError(
            f"field 'notes' is {records.show(notes)}; it must be an object. Remove it"
        )
    return SkillBank(skills, version, history, notes)


def _records(kind: type[T], data: Mapping[str, Any], name: str) -> tuple[T, ...]:
    entries = enumerate(records.objects(data, name))
    try:
        return tuple(records.read(kind, entry, f"{name}[{index}]") for index, entry in entries)
    except SkillRLError as error:
        raise SkillRLError(f"{error}. Mend it, or remove the entry") from None
