"""The append-only record of what happened to a skill bank."""

from __future__ import annotations

import dataclasses

from skillrl.types import valid_texts

ACTIONS = ("added", "refined", "merged", "retired", "refused")
"""What may have happened to a skill."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BankEvent:
    """One line of a bank's history.

    Attributes:
      version: version of the bank after the event.
      step: training iteration (0 before training).
      action: one of `ACTIONS`. A merge is ``merged`` for the skill that stays and ``retired`` for
        each of the others.
      skill: id of the skill; for a refusal, of the skill that it would have repeated or changed
        ("" if none).
      title: title of the skill that was added, refined, merged, retired or refused.
      reason: why.
      policy_version: number of updates that the policy had had then.
      sources: ids of the trajectories that are the evidence.
      before: the words that went; "" for an addition and a refusal.
      after: the words that came, for a refusal those that did not; "" for a retirement.
    """

    version: int
    step: int
    action: str
    skill: str
    title: str = ""
    reason: str = ""
    policy_version: int = 0
    sources: tuple[str, ...] = ()
    before: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        valid_texts(self, "skill", "title", "reason", "sources", "before", "after")
