"""Stores banks: our own format with history, and the released one (``claude_style_skills``).

`load_bank` sees by itself which of the two a file is.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from skillrl.errors import SkillRLError
from skillrl.io import records
from skillrl.io.files import read_json, write_json, write_sealed
from skillrl.io.numbers import MAX_INT
from skillrl.skills.bank import SkillBank, rename_categories
from skillrl.skills.history import ACTIONS, BankEvent
from skillrl.types import GENERAL, Skill

T = TypeVar("T")

FORMAT = 1
_OWN_KEYS = ("format", "version", "skills", "history")

CATEGORY_ALIASES: Mapping[str, str] = {
    "pick_and_place": "pick_and_place_simple",
    "pick_two": "pick_two_obj_and_place",
    "pick_two_obj": "pick_two_obj_and_place",
    "look": "look_at_obj_in_light",
    "examine": "look_at_obj_in_light",
    "clean": "pick_clean_then_place_in_recep",
    "heat": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
}
"""Names of released banks -> keys of ALFWorld's categories; other names stay as they are."""

_SECTIONS = ("task_specific_skills", "query_type_skills")


def save_bank(bank: SkillBank, path: str | os.PathLike[str]) -> None:
    """Writes the whole bank, history and statistics included; atomic, with its checksum."""
    write_sealed(Path(path), bank_to_json(bank))


def load_bank(
    path: str | os.PathLike[str], *, aliases: Mapping[str, str] = CATEGORY_ALIASES
) -> SkillBank:
    """Reads a bank in our format or in the released one.

    Args:
      path: a JSON file.
      aliases: category names of a released bank -> those of the environment.

    Raises:
      SkillRLError: missing or malformed; names the file, the entry, the field and a remedy.
    """
    data = read_json(Path(path))
    try:
        if isinstance(data, dict) and "format" in data:
            return bank_from_json(data)
        return _from_released(data, aliases)
    except SkillRLError as error:
        raise SkillRLError(f"{path}: {error}") from None


def bank_to_json(bank: SkillBank) -> dict[str, Any]:
    """Returns the bank as plain JSON values, for files and checkpoints."""
    return {
        "format": FORMAT,
        "version": bank.version,
        "skills": [_plain(skill) for skill in bank.skills],
        "history": [
            dataclasses.asdict(event) | {"sources": list(event.sources)} for event in bank.history
        ],
    }


def _plain(skill: Skill) -> dict[str, Any]:
    entry = dataclasses.asdict(skill)
    entry["provenance"]["sources"] = list(skill.provenance.sources)
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
        if skill.use.wins > skill.use.episodes:
            raise SkillRLError(
                f"skills[{index}].use: {skill.use.wins} wins in {skill.use.episodes} episodes; "
                "correct the numbers, or remove the field"
            )
        exams = skill.exams
        if not abs(exams.gain) <= exams.squares <= exams.pairs:
            raise SkillRLError(
                f"skills[{index}].exams: gain {exams.gain} and squares {exams.squares} in "
                f"{exams.pairs} pairs; correct the numbers, or remove the field"
            )
    history = _records(BankEvent, data, "history")
    for index, event in enumerate(history):
        if event.action not in ACTIONS:
            raise SkillRLError(
                f"history[{index}]: field 'action' is {records.show(event.action)}; it is one of "
                f"{', '.join(ACTIONS)}"
            )
    return SkillBank(skills, version, history)


def _records(kind: type[T], data: Mapping[str, Any], name: str) -> tuple[T, ...]:
    entries = enumerate(_entries(data, name))
    try:
        return tuple(records.read(kind, entry, f"{name}[{index}]") for index, entry in entries)
    except SkillRLError as error:
        raise SkillRLError(f"{error}. Mend it, or remove the entry") from None


def save_released(
    bank: SkillBank,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes the released format; provenance, statistics and history are not part of it.

    A mistake of one category has a field ``category``, which other readers ignore.
    """
    specific = {
        category: [_released_skill(skill) for skill in bank.select(category=category, kind="skill")]
        for category in bank.categories
    }
    general = bank.select(category=GENERAL, kind="skill")
    write_json(
        Path(path),
        {
            "general_skills": [_released_skill(skill) for skill in general],
            "task_specific_skills": {name: found for name, found in specific.items() if found},
            "common_mistakes": [
                {
                    "mistake_id": skill.id,
                    "description": skill.title,
                    "why_it_happens": skill.when_to_apply,
                    "how_to_avoid": skill.principle,
                }
                | ({"category": skill.category} if skill.category != GENERAL else {})
                for skill in bank.select(kind="mistake")
            ],
            "metadata": {"source": "skillrl", "bank_version": bank.version, **(metadata or {})},
        },
    )


def _released_skill(skill: Skill) -> dict[str, str]:
    return {
        "skill_id": skill.id,
        "title": skill.title,
        "principle": skill.principle,
        "when_to_apply": skill.when_to_apply,
    }


def _from_released(data: Any, aliases: Mapping[str, str]) -> SkillBank:
    if not isinstance(data, dict) or not {"general_skills", *_SECTIONS} & set(data):
        raise SkillRLError(
            "not a skill bank: expected an object with 'format' (ours), or with 'general_skills' "
            "and 'task_specific_skills' (released banks). Give the path of a bank."
        )
    skills = [
        _read_skill(entry, f"general_skills[{index}]", GENERAL)
        for index, entry in enumerate(_entries(data, "general_skills"))
    ]
    for section in _SECTIONS:
        found = data.get(section, {})
        if not isinstance(found, dict):
            raise SkillRLError(f"{section}: must be an object of lists, one per category")
        for category in found:
            for index, entry in enumerate(_entries(found, category, where=section)):
                skills.append(_read_skill(entry, f"{section}.{category}[{index}]", category))
    for index, entry in enumerate(_entries(data, "common_mistakes")):
        where = f"common_mistakes[{index}]"
        skills.append(
            Skill(
                id=_text(entry, "mistake_id", where),
                title=_text(entry, "description", where),
                principle=_text(entry, "how_to_avoid", where),
                when_to_apply=_text(entry, "why_it_happens", where, required=False),
                category=_text(entry, "category", where, required=False) or GENERAL,
                kind="mistake",
            )
        )
    return rename_categories(SkillBank(tuple(skills)), aliases)


def _read_skill(entry: Mapping[str, Any], where: str, category: str) -> Skill:
    return Skill(
        id=_text(entry, "skill_id", where),
        title=_text(entry, "title", where),
        principle=_text(entry, "principle", where),
        when_to_apply=_text(entry, "when_to_apply", where, required=False),
        category=category,
    )


def _entries(data: Mapping[str, Any], name: str, where: str = "") -> Sequence[Mapping[str, Any]]:
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


def _text(entry: Mapping[str, Any], name: str, where: str, *, required: bool = True) -> str:
    value = entry.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise SkillRLError(
            f"{where}: field {name!r} is {records.show(value)}; write a text that is not empty, or "
            "remove the entry"
        )
    return value
