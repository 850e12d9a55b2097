"""The arms of ``evaluate --bank``: their banks read from a run, their skills tried in prompts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from skillrl.agent.prompt import render_skills
from skillrl.errors import SkillRLError
from skillrl.models.policy import Model
from skillrl.parallel import processes
from skillrl.phases import prerequisites, prompts
from skillrl.phases.report import bank_on_first, first_bank
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.controls import INITIAL, NONE, OWN, Arm, AskedArm, make_arms
from skillrl.skills.retrieval import Retriever
from skillrl.skills.store import load_bank
from skillrl.types import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arms:
    """What an evaluation plays.

    Attributes:
      played: the arms in the order asked for; the first one is the result.
      chosen: whether ``--bank`` chose them, so that they are named and compared.
      added: whether ``none`` is the last of them and was not asked for.
    """

    played: tuple[Arm, ...]
    chosen: bool = False
    added: bool = False


def open_arms(
    session: Session,
    asked: str | None,
    *,
    checkpoint: str,
    own: SkillBank,
    retriever: Retriever,
    model: Model | None,
    tasks: Sequence[Task],
) -> Arms:
    """Reads the banks that ``--bank`` names, and looks at prompts with their skills.

    Args:
      session: of the run.
      asked: the value of ``--bank``; None for the bank that belongs to the checkpoint.
      checkpoint: the value of ``--checkpoint``.
      own: the bank that belongs to it.
      retriever: retrieval as the run does it.
      model: the policy, whose tokenizer measures neutral text; None where a server has it.
      tasks: that will be played.

    Raises:
      SkillRLError: there is no such bank, it is empty, or its skills do not fit into prompts.
    """
    if asked is None:
        name = OWN if own.skills else NONE
        named: tuple[AskedArm, ...] = (AskedArm(name, name),)
    else:
        named = processes.on_first(
            "arms",
            lambda: prerequisites.arms(session.run, asked, checkpoint=checkpoint),
            encode=lambda found: [dataclasses.asdict(arm) for arm in found],
            decode=lambda found: tuple(AskedArm(**arm) for arm in found),
        )
    added = (
        asked is not None
        and named != (AskedArm(NONE, NONE),)
        and NONE not in {arm.name for arm in named}
    )
    banks: dict[str, SkillBank] = {}
    for arm in named:
        if arm.source != NONE and arm.source not in banks:
            banks[arm.source] = bank_on_first(functools.partial(_read, session, arm, own=own))
    for bank in banks.values():
        prompts.look(session, bank, model=model, retriever=retriever, phase="evaluate", tasks=tasks)
    tokenizer = model.tokenizer if model is not None else None
    arms = make_arms(
        (*named, AskedArm(NONE, NONE)) if added else named,
        banks,
        retriever=retriever,
        count_tokens=(lambda skill: len(tokenizer.encode(render_skills([skill]))))
        if tokenizer
        else None,
    )
    return Arms(played=arms, chosen=asked is not None, added=added)


def _read(session: Session, arm: AskedArm, *, own: SkillBank) -> SkillBank:
    if arm.source == OWN:
        bank = own
    elif arm.source == INITIAL:
        bank = first_bank(session)
    else:
        bank = load_bank(arm.source)
    if not bank.skills:
        raise SkillRLError(
            f"--bank={arm.name:.200}: this bank has no skills, so the arm would be none. Name "
            "another, or leave it out."
        )
    return bank
