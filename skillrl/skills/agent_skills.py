"""Banks as directories of Agent Skills: one folder a skill, in it ``SKILL.md`` and what it needs.

The format is that of https://agentskills.io/specification: YAML front matter with ``name`` (that of
the folder), ``description`` and what else there may be, then Markdown. What a bank knows of a skill
beyond that stands under ``metadata`` in keys that begin with ``skillrl-``, all of them texts as the
specification wants them, so that a bank comes back as it was but for its version and history.

Of somebody else's skill the body is the principle and the description says when to apply it;
without a body the description is the principle. Other front matter is kept in `Skill.notes` and
written back; files beside ``SKILL.md`` are named there, and stay where they are.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from skillrl.errors import SkillRLError
from skillrl.io import front_matter, json_text, records
from skillrl.io.atomic import explained, replace_directory, temporary_name
from skillrl.skills.bank import SkillBank, check_counts, check_skill
from skillrl.types import GENERAL, Exams, Provenance, Skill, SkillUse

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

FILE = "SKILL.md"
NOTES = "agent_skills"
"""Under this key `Skill.notes` has ``name`` (only if somebody else wrote the file),
``front_matter`` and ``files``."""

_LONGEST_NAME, _LONGEST_DESCRIPTION, _LARGEST_FILE = 64, 1024, 1 << 20
_FILES = 200  # files beside SKILL.md that are named
_OURS = "skillrl-"
_WRITTEN = _OURS + "format"
_VERSION = "1"
_KEYS = (
    "format", "position", "id", "category", "kind", "title", "principle", "when-to-apply",
    "provenance", "use", "exams", "notes",
)  # fmt: skip


def is_directory(path: Path) -> bool:
    """Tells whether `path` is a folder with a skill, or one of such folders."""
    return path.is_dir() and bool(_folders(path))


def read_directory(path: Path) -> SkillBank:
    """Reads the skills of a directory, or the one skill whose folder it is.

    They come in the order of the bank that was written there, else by the names of their folders.

    Raises:
      SkillRLError: there is no skill, or one is malformed; names the file, the field and a remedy.
    """
    folders = _folders(path)
    if not folders:
        raise SkillRLError(
            f"{path}: has no folder with a {FILE}, so it is no directory of Agent Skills. Name a "
            "bank file, or the directory that holds the folders of the skills."
        )
    others = [p.name for p in sorted(path.iterdir()) if p.is_dir() and p not in folders]
    others = [name for name in others if not name.startswith(".")]
    if others and path not in folders:
        _LOG.warning("%s: %s without %s, not read", path, ", ".join(others[:5]), FILE)
    found = []
    for folder in folders:
        try:
            found.append(_read(folder))
        except SkillRLError as error:
            raise SkillRLError(f"{folder / FILE}: {error}.") from None
    found.sort(key=lambda entry: entry[0])  # stable
    return SkillBank(tuple(skill for _, skill in found))


def write_directory(bank: SkillBank, path: Path) -> None:
    """Writes a folder for each skill into the directory `path`, all of them or none.

    Raises:
      SkillRLError: something is there already, the bank is empty, or it cannot be written.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise SkillRLError(
            f"{path}: something is there already. Name a directory that does not exist yet."
        )
    if not bank.skills:
        raise SkillRLError(f"{path}: not written, since the bank has no skill.")
    names = _names(bank.skills)
    sorted_already = names == sorted(names)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / temporary_name()
        temporary.mkdir()
        try:
            for position, (name, skill) in enumerate(zip(names, bank.skills, strict=True)):
                text = _text(skill, name, position=None if sorted_already else position)
                (temporary / name).mkdir()
                (temporary / name / FILE).write_bytes(text.encode("utf-8"))
            replace_directory(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def files_left_out(bank: SkillBank) -> tuple[str, ...]:
    """Names the files beside ``SKILL.md`` of imported skills, which a bank does not hold."""
    return tuple(
        f"{_noted(skill).get('name', skill.id)}/{file}"
        for skill in bank.skills
        for file in _noted(skill).get("files", ())
    )


# Reading --------------------------------------------------------------------


def _folders(path: Path) -> list[Path]:
    """Finds the folders that have a skill: `path` itself, or those in it, by name."""
    if (path / FILE).is_file():
        return [path]
    try:
        return sorted(p for p in path.iterdir() if p.name[:1] != "." and (p / FILE).is_file())
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None


def _read(folder: Path) -> tuple[float, Skill]:
    """Reads one skill, and its place in the bank (infinite where the file does not say)."""
    values, body = front_matter.split(_content(folder / FILE))
    name, description = _field(values, "name"), _field(values, "description")
    _check_name(name, folder.resolve().name)
    if len(description) > _LONGEST_DESCRIPTION:
        raise SkillRLError(
            f"'description' has {len(description):,} characters; at most {_LONGEST_DESCRIPTION:,} "
            "are allowed. Shorten it, and say the rest below the front matter"
        )
    metadata = values.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise SkillRLError(f"'metadata' is {records.show(metadata)}; it must be a mapping")
    own = _own(metadata)
    rest = {k: v for k, v in values.items() if k not in ("name", "description", "metadata")}
    if theirs := {k: v for k, v in metadata.items() if not k.startswith(_OURS)}:
        rest["metadata"] = theirs
    noted: dict[str, Any] = {"name": "" if "format" in own else name}
    noted |= {"front_matter": rest, "files": _files(folder)}
    noted = {key: value for key, value in noted.items() if value}
    title, principle, when = _words(name, description, body)
    skill = Skill(
        id=own.get("id", name),
        title=own.get("title", title),
        principle=own.get("principle", principle),
        when_to_apply=own.get("when-to-apply", when),
        category=own.get("category", GENERAL),
        kind=own.get("kind", "skill"),
        provenance=_part(Provenance, own, "provenance"),
        use=_part(SkillUse, own, "use"),
        exams=_part(Exams, own, "exams"),
        notes=_json(own, "notes") | ({NOTES: noted} if noted else {}),
    )
    check_counts(skill)
    check_skill(skill)
    return _position(own), _as_edited(skill, description=description, body=body.strip())


def _content(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise SkillRLError(
                f"has {size:,} bytes; at most {_LARGEST_FILE:,} are read. Move long material into "
                "files beside it"
            )
        return json_text.decoded(path.read_bytes())
    except OSError as error:
        raise SkillRLError(f"cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SkillRLError(f"is {error}; save it as UTF-8") from None


def _field(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise SkillRLError(f"{name!r} is {records.show(value)}; write a text that is not empty")
    return value.strip()


def _check_name(name: str, folder: str) -> None:
    """Raises `SkillRLError` unless `name` is one that the specification allows in `folder`."""
    if len(name) > _LONGEST_NAME or not _is_name(name):
        raise SkillRLError(
            f"'name' is {records.show(name)}; it has 1 to {_LONGEST_NAME} lowercase letters, "
            "digits and single hyphens inside. Rename it, and its folder"
        )
    if unicodedata.normalize("NFKC", name) != unicodedata.normalize("NFKC", folder):
        raise SkillRLError(
            f"'name' is {name!r}, and its folder is called {records.show(folder)}; make them equal"
        )


def _is_name(name: str) -> bool:
    letters = name.replace("-", "")
    hyphens = name.startswith("-") or name.endswith("-") or "--" in name
    return letters.isalnum() and name == name.lower() and not hyphens


def _own(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a bank has written under ``metadata``, without the beginnings of the keys."""
    found = {}
    for key, value in metadata.items():
        if not key.startswith(_OURS):
            continue
        if key.removeprefix(_OURS) not in _KEYS:
            raise SkillRLError(
                f"unknown metadata {records.show(key)}; those of this version are "
                f"{', '.join(_KEYS)} behind {_OURS!r}. Remove it"
            )
        if not isinstance(value, str):
            raise SkillRLError(
                f"metadata {key!r} is {records.show(value)}; it must be a text, so put it in quotes"
            )
        found[key.removeprefix(_OURS)] = value
    if found.get("format", _VERSION) != _VERSION:
        raise SkillRLError(
            f"metadata {_WRITTEN!r} is {records.show(found['format'])}; this version reads "
            f"{_VERSION!r}. Use the skillrl version that wrote it"
        )
    return found


def _json(own: Mapping[str, str], name: str) -> dict[str, Any]:
    """Reads a key of ours that holds a JSON object; one that is missing is empty."""
    try:
        value = json_text.decode_json(own.get(name, "{}"))
    except ValueError as error:
        raise SkillRLError(f"metadata '{_OURS}{name}' is not JSON ({error}); remove it") from None
    if not isinstance(value, dict) or not records.is_plain(value):
        raise SkillRLError(
            f"metadata '{_OURS}{name}' is {records.show(value)}; it must be an object; remove it"
        )
    return value


def _part(kind: type[T], own: Mapping[str, str], name: str) -> T:
    return records.read(kind, _json(own, name), f"metadata '{_OURS}{name}'")


def _position(own: Mapping[str, str]) -> float:
    text = own.get("position")
    if text is None:
        return float("inf")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise SkillRLError(
            f"metadata '{_OURS}position' is {records.show(text)}; it must be a whole number"
        )
    return int(text)


def _files(folder: Path) -> list[str]:
    """Names the files in and below a skill's folder, but for its ``SKILL.md``."""
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(place, name).relative_to(folder).as_posix() for name in sorted(names)]
        if len(found) > _FILES:
            break
    return [name for name in found if name != FILE][:_FILES]


def _words(name: str, description: str, body: str) -> tuple[str, str, str]:
    """Returns title, principle and when_to_apply as a file has them that somebody else wrote."""
    title = name.replace("-", " ")
    body = body.replace("\r\n", "\n").strip()
    title = title[:1].upper() + title[1:]
    return (title, body, description) if body else (title, description, "")


def _as_edited(skill: Skill, *, description: str, body: str) -> Skill:
    """Takes the words that the file shows, where somebody has changed them since it was written."""
    shown_description, shown_body = _faces(skill)
    if (description, body) == (shown_description.strip(), shown_body.strip()):
        return skill
    if not body:
        return dataclasses.replace(skill, principle=description, when_to_apply="")
    if description != shown_description.strip():
        skill = dataclasses.replace(skill, when_to_apply=description)
    if body != shown_body.strip():
        skill = dataclasses.replace(skill, principle=body)
    return skill


# Writing --------------------------------------------------------------------


def _text(skill: Skill, name: str, *, position: int | None) -> str:
    """Returns the content of a skill's ``SKILL.md``."""
    noted = _noted(skill)
    description, body = _faces(skill)
    read_back = _words(name, description.strip(), body)
    own: dict[str, str] = {} if "name" in noted else {"format": _VERSION, "id": skill.id}
    if position is not None:
        own["position"] = str(position)
    words = zip(
        ("id", "title", "principle", "when-to-apply", "category", "kind"),
        (skill.id, skill.title, skill.principle, skill.when_to_apply, skill.category, skill.kind),
        (name, *read_back, GENERAL, "skill"),
        strict=True,
    )
    own |= {key: value for key, value, shown in words if value != shown}
    for key, part in (("provenance", skill.provenance), ("use", skill.use), ("exams", skill.exams)):
        if part != type(part)():
            own[key] = _compact(dataclasses.asdict(part))
    if others := {key: value for key, value in skill.notes.items() if key != NOTES}:
        own["notes"] = _compact(others)
    rest = dict(noted.get("front_matter", {}))
    metadata = rest.pop("metadata", {}) | {_OURS + key: value for key, value in own.items()}
    values = {"name": name, "description": description, **rest}
    if metadata:
        values["metadata"] = metadata
    try:
        return front_matter.join(values, body)
    except SkillRLError as error:
        raise SkillRLError(f"skill {skill.id!r}: {error}.") from None


def _faces(skill: Skill) -> tuple[str, str]:
    """Returns description and body as a file of the skill shows them.

    A description says what a skill is and when to use it, because agents choose by it alone.
    """
    if "name" in _noted(skill):  # somebody else's: as it was
        if not skill.when_to_apply.strip() and len(skill.principle) <= _LONGEST_DESCRIPTION:
            return skill.principle, ""
        if 0 < len(skill.when_to_apply.strip()) <= _LONGEST_DESCRIPTION:
            return skill.when_to_apply, skill.principle
    what, label = skill.title, "When"
    if skill.kind == "mistake":
        what, label = f"Avoid: {skill.title}", "Why it happens"
    when = f" {label}: {skill.when_to_apply}" if skill.when_to_apply.strip() else ""
    said = " ".join(f"{what}.{when}".split())
    return said[:_LONGEST_DESCRIPTION].strip(), skill.principle


def _noted(skill: Skill) -> Mapping[str, Any]:
    found = skill.notes.get(NOTES)
    return found if isinstance(found, Mapping) else {}


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _names(skills: Iterable[Skill]) -> list[str]:
    """Gives each skill a folder: the name it came with, else its title, made unique."""
    names: dict[str, None] = {}
    for skill in skills:
        wanted = _noted(skill).get("name")
        if not isinstance(wanted, str) or not _is_name(wanted) or len(wanted) > _LONGEST_NAME:
            wanted = _slug(skill.title) or _slug(skill.id) or "skill"
        name, number = wanted, 1
        while name in names:
            number += 1
            end = f"-{number}"
            name = wanted[: _LONGEST_NAME - len(end)].rstrip("-") + end
        names[name] = None
    return list(names)


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_NAME].rstrip("-")
