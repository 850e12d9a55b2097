"""Checks and cuts the files of RL when it begins or goes on; what they hold is in `rl`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from skillrl.errors import SkillRLError
from skillrl.io.files import truncate_jsonl
from skillrl.phases import unfinished
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank

_LOG = logging.getLogger(__name__)


def cut_off(session: Session, *, iteration: int, ahead: int, bank_version: int) -> None:
    """Removes what the run wrote after the point that it goes on from.

    Args:
      session: the run.
      iteration: how many are done at that point.
      ahead: of how many more the episodes had been played by then, which stay.
      bank_version: of the bank of that point.
    """
    events = session.run.file("rl", "evolution.jsonl")
    truncate_jsonl(events, lambda row: row["step"] <= iteration, required=True)
    _unlink_later(session.run.file("rl", "trajectories").glob("*.jsonl"), iteration + ahead)
    _unlink_later(session.run.file("rl", "exams").glob("*.jsonl"), iteration)
    unfinished.remove(session, but=iteration)
    _unlink_later(session.run.file("banks").glob("*.json"), bank_version)


def check_beginning(session: Session) -> None:
    """Checks that no checkpoint has been lost before the phase begins anew and deletes its files.

    Raises:
      SkillRLError: the metrics say that there must have been one.
    """
    rows = session.metrics.rows("rl")
    last = max((row["step"] for row in rows), default=0)
    if last > session.config.checkpoint.interval:
        raise SkillRLError(
            f"{session.run.path}: RL has come to iteration {last} here, but "
            f"{session.run.file('checkpoints', 'rl')} has no checkpoint. Restore that directory "
            "from where the run was copied, or start in a new --workdir; nothing was changed."
        )
    if last:
        _LOG.warning("rl: no checkpoint yet, so iterations 1 to %d are played again", last)


def _unlink_later(paths: Iterable[Path], last: int) -> None:
    """Removes files numbered above `last`; one with another name is not ours."""
    for path in paths:
        if path.stem.isdecimal() and int(path.stem) > last:
            path.unlink()


def check_start(session: Session, bank: SkillBank) -> None:
    """Checks that the initial bank is the one that the phase began with.

    Raises:
      SkillRLError: it is another one.
    """
    path = session.run.file("banks", f"{bank.version}.json")

    def words(bank: SkillBank) -> list[tuple[str, ...]]:
        return [
            (s.id, s.category, s.kind, s.title, s.principle, s.when_to_apply) for s in bank.skills
        ]

    if not path.exists() or words(load_bank(path)) != words(bank):
        raise SkillRLError(
            f"{session.run.path}: RL began here with another skill bank than the one given now, "
            "and a checkpoint carries its evolved successor. Continue without --skill_bank (or "
            "with the same one), or start in a new --workdir."
        )
