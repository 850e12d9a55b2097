"""Writes a bank as a table that a person can read."""

from __future__ import annotations

import textwrap

from skillrl.skills.bank import SkillBank
from skillrl.types import GENERAL, Skill


def describe_bank(bank: SkillBank, *, width: int = 100, history: int = 10) -> str:
    """Returns counts, a block per category and the newest `history` events as text."""
    counts = bank.summary()
    lines = [
        f"Skill bank, version {bank.version}: {counts['total']} entries = {counts['general']} "
        f"general + {counts['task_specific']} task-specific + {counts['mistakes']} mistakes "
        f"({counts['evolved']} added during training)"
    ]
    for category in (GENERAL, *bank.categories):
        skills = bank.select(category=category)
        if not skills:
            continue
        lines += ["", f"{category} ({len(skills)})"]
        for skill in skills:
            lines += _entry(skill, width)
    if bank.history and history > 0:
        lines += ["", f"History (newest {min(history, len(bank.history))} of {len(bank.history)})"]
        for event in bank.history[-history:]:
            text = f"v{event.version} step {event.step} {event.action} {event.skill or '-'}"
            text += f" {event.title!r}" + (f": {event.reason}" if event.reason else "")
            lines.append(textwrap.shorten(text, max(width - 2, 20)).join(("  ", "")))
    return "\n".join(lines)


def _entry(skill: Skill, width: int) -> list[str]:
    mark = "!" if skill.kind == "mistake" else " "
    use = f"{skill.use.wins}/{skill.use.episodes} won" if skill.use.episodes else "unused"
    source = skill.provenance.teacher or "unknown teacher"
    head = f" {mark}{skill.id:<8} {skill.title}  [{use}; {source}, step {skill.provenance.step}, "
    head += f"{len(skill.provenance.sources)} sources]"
    lines = [head]
    words = {"because" if skill.kind == "mistake" else "when": skill.when_to_apply}
    for label, text in ({"": skill.principle} | words).items():
        if text:
            lines += textwrap.wrap(
                f"{label}: {text}" if label else text,
                max(width, 30),
                initial_indent=" " * 11,
                subsequent_indent=" " * 11,
            )
    return lines
