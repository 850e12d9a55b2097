"""Writes a bank as a table: what it says, what it is worth, how it came to be."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from skillrl.skills.bank import SkillBank
from skillrl.skills.history import BankEvent
from skillrl.skills.worth import Estimated, told
from skillrl.types import GENERAL, Skill


def describe_bank(
    bank: SkillBank,
    *,
    utility: Mapping[str, Estimated] | None = None,
    width: int = 100,
    history: int = 10,
) -> str:
    """Returns counts, a block per category and the newest events as text.

    Args:
      bank: what to show.
      utility: id of a skill -> what it was measured to be worth; the others are unmeasured.
      width: columns of the text.
      history: most events that are shown.
    """
    utility = utility or {}
    counts = bank.summary()
    lines = [
        f"Skill bank, version {bank.version}: {counts['total']} entries = {counts['general']} "
        f"general + {counts['task_specific']} task-specific + {counts['mistakes']} mistakes "
        f"({counts['evolved']} added during training)",
        _states(bank, utility),
    ]
    for category in (GENERAL, *bank.categories):
        skills = bank.select(category=category)
        if not skills:
            continue
        lines += ["", f"{category} ({len(skills)})"]
        for skill in skills:
            lines += _entry(skill, utility, width)
    if bank.history and history > 0:
        lines += ["", f"History (newest {min(history, len(bank.history))} of {len(bank.history)})"]
        for event in bank.history[-history:]:
            text = f"{when(event)} {event.action} {event.skill or '-'} {event.title!r}"
            text += f": {event.reason}" if event.reason else ""
            lines.append(textwrap.shorten(text, max(width - 2, 20)).join(("  ", "")))
    return "\n".join(lines)


def when(event: BankEvent) -> str:
    """Says when an event was: version of the bank, training iteration, updates of the policy."""
    policy = f" policy {event.policy_version}" if event.policy_version else ""
    return f"v{event.version} step {event.step}{policy}"


def wrapped(label: str, text: str, width: int, *, indent: int = 11) -> list[str]:
    """Breaks "label: text" into indented lines; without a label the text alone."""
    margin = " " * indent
    said = f"{label}: {text}" if label else text
    return textwrap.wrap(said, max(width, 30), initial_indent=margin, subsequent_indent=margin)


def _states(bank: SkillBank, utility: Mapping[str, Estimated]) -> str:
    """Says how many skills are measured, and how sure it is that these help or hurt."""
    measured = [utility[skill.id] for skill in bank.skills if skill.id in utility]
    if not measured:
        return "Utility: none of them is measured"
    helps = sum(estimate.low > 0 for estimate in measured)
    hurts = sum(estimate.high < 0 for estimate in measured)
    return (
        f"Utility: {len(measured)} measured ({helps} surely help, {hurts} surely hurt, "
        f"{len(measured) - helps - hurts} undecided), {len(bank) - len(measured)} unmeasured"
    )


def _entry(skill: Skill, utility: Mapping[str, Estimated], width: int) -> list[str]:
    mark = "!" if skill.kind == "mistake" else " "
    use = f"{skill.use.wins}/{skill.use.episodes} won" if skill.use.episodes else "unused"
    source = skill.provenance.teacher or "unknown teacher"
    head = f" {mark}{skill.id:<8} {skill.title}  [{told(utility.get(skill.id))}; {use}; {source}, "
    head += f"step {skill.provenance.step}, {len(skill.provenance.sources)} sources]"
    return [head, *words(skill, width)]


def words(skill: Skill, width: int, *, indent: int = 11) -> list[str]:
    """Writes the principle of a skill and when it applies, or of a mistake how it comes about."""
    label = "because" if skill.kind == "mistake" else "when"
    lines = wrapped("", skill.principle, width, indent=indent)
    if skill.when_to_apply:
        lines += wrapped(label, skill.when_to_apply, width, indent=indent)
    return lines
