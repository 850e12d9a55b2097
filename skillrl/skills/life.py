"""One skill's life: where it came from, what changed it and why, and what it is worth."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.describe import when, words, wrapped
from skillrl.skills.history import BankEvent
from skillrl.skills.worth import Estimated, told
from skillrl.types import Skill

_SHOWN = 12  # trajectories behind one change


def sources_of(banks: Sequence[SkillBank], skill_id: str) -> tuple[str, ...]:
    """Returns the ids of all trajectories behind a skill and its changes, each once.

    Args:
      banks: versions of one bank, oldest first.
      skill_id: the skill.
    """
    found = [event.sources for event in _events(banks, skill_id)]
    found += [s.provenance.sources for bank in banks for s in bank.skills if s.id == skill_id]
    return tuple(dict.fromkeys(name for names in found for name in names))


def describe_life(
    banks: Sequence[SkillBank],
    skill_id: str,
    *,
    utility: Mapping[str, Estimated],
    evidence: Mapping[str, str],
    width: int = 100,
) -> str:
    """Returns one skill's life as text.

    Args:
      banks: versions of one bank, oldest first, at least one; the last one has the whole history.
      skill_id: the skill; it may have left the bank.
      utility: what the skills of the last bank were measured to be worth.
      evidence: id of a trajectory -> what is known of it, in one line.
      width: columns of the text.

    Raises:
      SkillRLError: no version has the skill, nor does the history name it.
    """
    events = _events(banks, skill_id)
    versions = [skill for bank in banks for skill in bank.skills if skill.id == skill_id]
    if not events and not versions:
        raise _unknown(banks, skill_id)
    lines = []
    if versions:
        lines += _now(versions[-1], width, gone=not _has(banks[-1], skill_id))
    else:
        lines.append(f"{skill_id}: no longer in the bank, and no file has it any more")
    lines += ["", "Origin", *_origin(versions, events, evidence, width)]
    changes = [event for event in events if event.action != "added"]
    lines += ["", f"Changes ({len(changes)})"]
    for event in changes:
        lines += _change(event, evidence, width)
    if not changes:
        lines.append("    none")
    if versions:
        lines += ["", *_worth(versions[-1], utility)]
    return "\n".join(lines)


def _events(banks: Sequence[SkillBank], skill_id: str) -> list[BankEvent]:
    return [event for event in banks[-1].history if event.skill == skill_id]


def _has(bank: SkillBank, skill_id: str) -> bool:
    return any(skill.id == skill_id for skill in bank.skills)


def _now(skill: Skill, width: int, *, gone: bool) -> list[str]:
    where = "no longer in the bank; its last words" if gone else "in the bank"
    head = f"{skill.id}  {skill.title}  ({skill.kind} of {skill.category}, {where})"
    return [head, *words(skill, width, indent=4)]


def _origin(
    versions: Sequence[Skill],
    events: Sequence[BankEvent],
    evidence: Mapping[str, str],
    width: int,
) -> list[str]:
    """Says who proposed the skill, when and from what; a bank from elsewhere may not know."""
    added = next((event for event in events if event.action == "added"), None)
    first = versions[0] if versions else None
    teacher = (first.provenance.teacher if first else "") or "unknown teacher"
    if added is None:
        step = first.provenance.step if first else 0
        lines = [f"    proposed by {teacher}, step {step}; the history does not say how it came"]
    else:
        lines = [f"    proposed by {teacher}, {when(added)}"]
        lines += wrapped("reason", added.reason, width, indent=4) if added.reason else []
        if first is None:
            lines += wrapped("words", added.after, width, indent=4) if added.after else []
    sources = added.sources if added is not None and added.sources else ()
    sources = sources or (first.provenance.sources if first else ())
    return lines + _evidence(sources, evidence, width)


def _change(event: BankEvent, evidence: Mapping[str, str], width: int) -> list[str]:
    about = f" {event.title!r}" if event.action == "refused" else ""
    lines = [f"    {when(event)} {event.action}{about}"]
    for label in ("reason", "before", "after"):
        if text := getattr(event, label):
            lines += wrapped(label, text, width, indent=8)
    return lines + _evidence(event.sources, evidence, width, indent=8)


def _evidence(
    sources: Sequence[str], evidence: Mapping[str, str], width: int, *, indent: int = 4
) -> list[str]:
    if not sources:
        return []
    margin = " " * indent
    lines = [f"{margin}from {len(sources)} trajectories:"]
    for name in sources[:_SHOWN]:
        lines.append(f"{margin}  {name}")
        lines += wrapped("", evidence.get(name, "not on disk here"), width, indent=indent + 6)
    if len(sources) > _SHOWN:
        lines.append(f"{margin}  and {len(sources) - _SHOWN} more")
    return lines


def _worth(skill: Skill, utility: Mapping[str, Estimated]) -> list[str]:
    """Says how often a skill was used and what its examinations gave."""
    use, exams = skill.use, skill.exams
    used = (
        f"in {use.episodes} prompts, {use.wins} of these episodes won" if use.episodes else "none"
    )
    lines = [f"Use: {used}"]
    if not exams.pairs:
        return [*lines, "Examinations: none, so its utility is unmeasured"]
    better, worse = (exams.squares + exams.gain) // 2, (exams.squares - exams.gain) // 2
    lines.append(
        f"Examinations: {exams.pairs} tasks played with and without it, {better} won only with it, "
        f"{worse} only without; latest at step {exams.step}, policy {exams.policy_version}"
    )
    said = utility.get(skill.id)
    if said is None:  # it has left the bank, so nobody estimates it any more
        return lines
    verdict = "surely helps" if said.low > 0 else "surely hurts" if said.high < 0 else "undecided"
    return [*lines, f"Utility: {told(said)}: {verdict}"]


def _unknown(banks: Sequence[SkillBank], skill_id: str) -> SkillRLError:
    known = {skill.id for bank in banks for skill in bank.skills}
    known |= {event.skill for event in banks[-1].history if event.skill}
    near = difflib.get_close_matches(skill_id, sorted(known), n=3, cutoff=0.4)
    hint = f"Near to it: {', '.join(near)}." if near else "See skillrl inspect for the ids."
    return SkillRLError(
        f"no skill {skill_id!r:.80} in {len(banks)} versions of the bank or its history. {hint}"
    )
