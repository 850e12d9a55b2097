"""Runs phase 2: the teacher turns trajectories into a skill bank."""

from __future__ import annotations

from pathlib import Path

from skillrl.io.files import write_sealed
from skillrl.parallel import processes
from skillrl.phases.collect import load
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.distill import distill as distill_skills
from skillrl.skills.store import bank_from_json, bank_to_json, save_bank
from skillrl.teacher.base import Embedder, Teacher
from skillrl.teacher.once import alone


def distill(
    session: Session,
    trajectories: Path,
    *,
    teacher: Teacher,
    embedder: Embedder,
    output: Path | None = None,
) -> SkillBank:
    """Distils a bank, writes it and returns it; answers already on disk are not asked for again.

    Args:
      session: of the run.
      trajectories: the file to learn from.
      teacher: writes the skills.
      embedder: finds skills that say the same.
      output: another file for the bank than the run's own.
    """
    path = output or session.run.file("distill", "bank.json")
    with (
        session.clock.timed("distill"),
        session.display.progress("distill", 1, unit="question") as bar,
    ):

        def on_answer(done: int, total: int, label: str) -> None:
            bar.total = total
            bar.update(max(0, done - bar.done))

        def work() -> SkillBank:
            bank, report = distill_skills(
                load(session, trajectories),
                teacher=teacher,
                categories=session.suite.categories,
                embedder=alone(embedder),
                max_per_category=session.config.distill.max_trajectories_per_category,
                general_count=session.config.distill.general_skills,
                max_request_tokens=session.config.distill.max_request_tokens,
                progress=on_answer,
            )
            write_sealed(path.with_name(f"{path.stem}-report.json"), report.to_json())
            save_bank(bank, path)
            return bank

        return processes.on_first(
            "distilled bank", work, encode=bank_to_json, decode=bank_from_json
        )
