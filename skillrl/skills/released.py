"""The bank format of the released SkillRL code (``claude_style_skills.json``).

General skills, skills per category (``task_specific_skills``; in the Search bank
``query_type_skills``) and common mistakes. It holds words alone: no provenance, no statistics, no
history. What a file says beyond the words that we know is kept in the notes of skill and bank, and
written back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io import records
from skillrl.io.files import write_json
from skillrl.skills.bank import SkillBank, rename_categories
from skillrl.types import GENERAL, Skill

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

NOTES = "released"
"""Under this key the notes of a skill have ``category`` and ``section`` where a file called them
otherwise than `save_released` would, and ``fields``; those of a bank have ``fields``."""

_SECTIONS = ("task_specific_skills", "query_type_skills")
_FIELDS = {
    "skill": ("skill_id", "title", "principle", "when_to_apply"),
    "mistake": ("mistake_id", "description", "how_to_avoid", "why_it_happens"),
}
"""Of each kind the names of id, title, principle and when_to_apply."""

_WRITTEN_AS = {CATEGORY_ALIASES[name]: name for name in ("pick_and_place", "clean", "heat", "cool")}
"""Categories that the released code looks up under another name than ours."""


def save_released(
    bank: SkillBank,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes the released format; provenance, statistics and history are not part of it.

    Categories have the names under which the released code looks for them. A mistake of one
    category has a field ``category``, which other readers ignore.
    """
    rest = dict(_mapping(_mapping(bank.notes.get(NOTES)).get("fields")))
    noted_metadata = _mapping(rest.pop("metadata", {}))
    version = {"bank_version": bank.version}
    sections: dict[str, dict[str, list[Any]]] = {name: {} for name in _SECTIONS}
    for skill in bank.select(kind="skill"):
        if skill.category != GENERAL:
            section = sections[_noted(skill).get("section", _SECTIONS[0])]
            section.setdefault(_category(skill), []).append(_entry(skill))
    if not sections["query_type_skills"]:
        del sections["query_type_skills"]
    write_json(
        Path(path),
        {
            "general_skills": [_entry(s) for s in bank.select(category=GENERAL, kind="skill")],
            **sections,
            "common_mistakes": [
                _entry(skill)
                | ({"category": _category(skill)} if skill.category != GENERAL else {})
                for skill in bank.select(kind="mistake")
            ],
            **rest,
            "metadata": {
                "source": "skillrl",
                **version,
                **noted_metadata,
                **(version if bank.version else {}),
                **(metadata or {}),
            },
        },
    )


def _entry(skill: Skill) -> dict[str, Any]:
    words = (skill.id, skill.title, skill.principle, skill.when_to_apply)
    own = dict(zip(_FIELDS[skill.kind], words, strict=True))
    return own | {k: v for k, v in _mapping(_noted(skill).get("fields")).items() if k not in own}


def _category(skill: Skill) -> str:
    """Returns the name that the skill's category came with, or by which released code finds it."""
    noted = _noted(skill).get("category", "")
    if CATEGORY_ALIASES.get(noted, noted) == skill.category:
        return noted
    return _WRITTEN_AS.get(skill.category, skill.category)


def _noted(skill: Skill) -> Mapping[str, Any]:
    found = _mapping(skill.notes.get(NOTES))
    section = found.get("section", _SECTIONS[0])
    return found if section in _SECTIONS else {k: found[k] for k in found if k != "section"}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def from_json(data: Any, aliases: Mapping[str, str] = CATEGORY_ALIASES) -> SkillBank:
    """Reads the released format.

    Args:
      data: as JSON has it.
      aliases: category names of the file -> those of the environment.

    Raises:
      SkillRLError: it is something else, or an entry is malformed (named).
    """
    if not isinstance(data, dict) or not {"general_skills", *_SECTIONS} & set(data):
        raise SkillRLError(
            "not a skill bank: expected an object with 'format' (ours), or with 'general_skills' "
            "and 'task_specific_skills' (released banks). Give the path of a bank."
        )
    skills = [
        _read(entry, f"general_skills[{index}]")
        for index, entry in enumerate(records.objects(data, "general_skills"))
    ]
    for section in _SECTIONS:
        found = data.get(section, {})
        if not isinstance(found, dict):
            raise SkillRLError(f"{section}: must be an object of lists, one per category")
        for category in found:
            for index, entry in enumerate(records.objects(found, category, where=section)):
                where = f"{section}.{category}[{index}]"
                skills.append(_read(entry, where, category=category, section=section))
    for index, entry in enumerate(records.objects(data, "common_mistakes")):
        skills.append(_read(entry, f"common_mistakes[{index}]", kind="mistake"))
    known = ("general_skills", *_SECTIONS, "common_mistakes")
    rest = _plain({key: value for key, value in data.items() if key not in known}, "the bank")
    if not isinstance(rest.get("metadata", {}), dict):
        raise SkillRLError(f"metadata: is {records.show(rest['metadata'])}; must be an object")
    notes = {NOTES: {"fields": rest}} if rest else {}
    return rename_categories(SkillBank(tuple(skills), notes=notes), aliases)


def _read(
    entry: Mapping[str, Any],
    where: str,
    *,
    category: str = GENERAL,
    section: str = "",
    kind: str = "skill",
) -> Skill:
    """Reads one entry; what it says beyond its words goes into the notes."""
    id_, title, principle, when = _FIELDS[kind]
    known = [id_, title, principle, when]
    if kind == "mistake":
        known.append("category")
        category = _text(entry, "category", where, required=False) or GENERAL
    rest = _plain({key: value for key, value in entry.items() if key not in known}, where)
    noted: dict[str, Any] = {"fields": rest} if rest else {}
    ours = CATEGORY_ALIASES.get(category, category)
    if category != _WRITTEN_AS.get(ours, ours):  # would not be written by this name
        noted["category"] = category
    if section == "query_type_skills":
        noted["section"] = section
    return Skill(
        id=_text(entry, id_, where),
        title=_text(entry, title, where),
        principle=_text(entry, principle, where),
        when_to_apply=_text(entry, when, where, required=False),
        category=category,
        kind=kind,
        notes={NOTES: noted} if noted else {},
    )


def _plain(rest: dict[str, Any], where: str) -> dict[str, Any]:
    if not records.is_plain(rest):
        raise SkillRLError(
            f"{where}: {records.show(rest)} has a number that is not finite, or is nested too "
            "deeply; remove it"
        )
    return rest


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
