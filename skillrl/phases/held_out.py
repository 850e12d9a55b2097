"""Evaluates a session on one split, with a progress bar."""

from __future__ import annotations

from typing import Any

from skillrl.evaluation.evaluate import evaluate, manifest
from skillrl.phases.session import Session
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.retrieval import Retrieve
from skillrl.types import Trajectory


def evaluate_split(
    session: Session,
    player: Player,
    *,
    bank: SkillBank,
    split: str,
    label: str,
    temperature: float | None = None,
    repeats: int | None = None,
    limit: int | None = None,
    concurrency: int = 0,
    retrieve: Retrieve | None = None,
) -> tuple[dict[str, Any], list[Trajectory]]:
    """Evaluates the published policy on a split; what is not given is the config's.

    Args:
      session: of the run.
      player: its engine has parameters.
      bank: the skills, which are only read; may be empty.
      split: the name of a manifest.
      label: for the progress bar.
      temperature: of sampling; 0 is greedy.
      repeats: how often each task is played.
      limit: how many of the first tasks are played; 0 is all.
      concurrency: episodes alive at once; changes speed alone.
      retrieve: chooses the skills of a prompt; None for the player's own way.

    Returns:
      The result (see `skillrl.evaluation.evaluate.summarise`) and the trajectories in manifest
      order.

    Raises:
      SkillRLError: the split has no tasks, or playing ended the run.
    """
    config = session.config.evaluation
    repeats = repeats or config.repeats
    tasks = manifest(session.suite, split, limit=config.max_tasks if limit is None else limit)
    with session.display.progress(label, len(tasks) * repeats, unit="episode") as bar:
        won: list[bool] = []

        def on_done(trajectory: Trajectory) -> None:
            won.append(trajectory.won)
            bar.update(success=sum(won) / len(won))

        return evaluate(
            player,
            bank,
            tasks=tasks,
            temperature=config.temperature if temperature is None else temperature,
            repeats=repeats,
            concurrency=concurrency,
            on_done=on_done,
            retrieve=retrieve,
        )
