"""Phase 2: the teacher turns trajectories into a skill bank."""

from __future__ import annotations

from pathlib import Path

from skillrl.io.files import write_sealed
from skillrl.phases.collect import load
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.distill import distill as distill_skills
from skillrl.skills.store import save_bank


def distill(session: Session, trajectories: Path, *, output: Path | None = None) -> SkillBank:
    """Writes and returns the bank; answers already on disk are not asked for again."""
    path = output or session.run.file("distill", "bank.json")
    with session.timed("distill"), session.progress("distill", 1, unit="question") as bar:

        def on_answer(done: int, total: int, label: str) -> None:
            bar.total = total
            bar.update(max(0, done - bar.done))

        bank, report = distill_skills(
            load(session, trajectories),
            teacher=session.teacher,
            categories=session.suite.categories,
            embedder=session.embedder,
            max_per_category=session.config.distill.max_trajectories_per_category,
            progress=on_answer,
        )
    write_sealed(path.with_name(f"{path.stem}-report.json"), report.to_json())
    save_bank(bank, path)
    return bank
