"""What lies between two versions of a bank."""

from __future__ import annotations

import dataclasses

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.describe import when, words, wrapped
from skillrl.skills.history import BankEvent
from skillrl.types import Skill


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The changes that lead from one version of a bank to another.

    Attributes:
      added: skills that are new.
      refined: skills with new words, before and after.
      merged: likewise, where the new words also stand for skills that went.
      retired: skills that went, those that went into a merged one too.
      events: what the history says of them, oldest first, without refusals.
    """

    added: tuple[Skill, ...] = ()
    refined: tuple[tuple[Skill, Skill], ...] = ()
    merged: tuple[tuple[Skill, Skill], ...] = ()
    retired: tuple[Skill, ...] = ()
    events: tuple[BankEvent, ...] = ()


def difference(old: SkillBank, new: SkillBank) -> Difference:
    """Compares two versions of one bank; statistics of use and examinations count for nothing.

    Raises:
      SkillRLError: `new` is the older one.
    """
    if old.version > new.version:
        raise SkillRLError(
            f"version {old.version} is newer than version {new.version}; swap the two"
        )
    before = {skill.id: skill for skill in old.skills}
    after = {skill.id: skill for skill in new.skills}
    events = tuple(
        event
        for event in new.history
        if old.version < event.version <= new.version and event.action != "refused"
    )
    merges = {event.skill for event in events if event.action == "merged"}
    changed = [
        (before[name], skill)
        for name, skill in after.items()
        if name in before and _words(before[name]) != _words(skill)
    ]
    return Difference(
        added=tuple(skill for name, skill in after.items() if name not in before),
        refined=tuple(pair for pair in changed if pair[1].id not in merges),
        merged=tuple(pair for pair in changed if pair[1].id in merges),
        retired=tuple(skill for name, skill in before.items() if name not in after),
        events=events,
    )


def describe_difference(old: SkillBank, new: SkillBank, *, width: int = 100) -> str:
    """Returns the changes between two versions as text: counts, then each with its words.

    Raises:
      SkillRLError: `new` is the older one.
    """
    found = difference(old, new)
    lines = [
        f"Skill bank, version {old.version} to {new.version}: {len(found.added)} added, "
        f"{len(found.refined)} refined, {len(found.merged)} merged, {len(found.retired)} retired; "
        f"{len(old)} entries became {len(new)}"
    ]
    for title, skills in (("Added", found.added), ("Retired", found.retired)):
        lines += ["", f"{title} ({len(skills)})"] if skills else []
        for skill in skills:
            lines += [*_head(skill, found), *words(skill, width, indent=4)]
    for title, pairs in (("Refined", found.refined), ("Merged", found.merged)):
        lines += ["", f"{title} ({len(pairs)})"] if pairs else []
        for was, now in pairs:
            lines += _head(now, found)
            for label, skill in (("before", was), ("after", now)):
                said = [f"[{skill.category}] " if was.category != now.category else ""]
                said += [skill.title, *filter(None, (skill.principle, skill.when_to_apply))]
                lines += wrapped(label, said[0] + " | ".join(said[1:]), width, indent=4)
    return "\n".join(lines)


def _head(skill: Skill, found: Difference) -> list[str]:
    """Names a skill, and says when and why it changed."""
    lines = [f"  {skill.id}  {skill.title}  ({skill.category})"]
    for event in found.events:
        if event.skill == skill.id:
            reason = f": {event.reason}" if event.reason else ""
            lines.append(f"    {when(event)} {event.action}{reason}")
    return lines


def _words(skill: Skill) -> tuple[str, ...]:
    return (skill.title, skill.principle, skill.when_to_apply, skill.category, skill.kind)
