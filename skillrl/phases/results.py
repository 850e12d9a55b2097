"""Reads the evaluations that a run has on disk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from skillrl.evaluation.shapes import check_result
from skillrl.io.files import read_sealed
from skillrl.phases.prerequisites import STAGES
from skillrl.phases.run_directory import RunDirectory


def read_results(
    run: RunDirectory, categories: Iterable[str] = ()
) -> dict[str, dict[str, dict[str, Any]]]:
    """Reads what the run has evaluated of its own, by stage and split.

    Args:
      run: the run directory.
      categories: of the environment; each result must have them.

    Raises:
      SkillRLError: a file holds something else than a run writes.
    """
    settings = run.config.evaluation
    found: dict[str, dict[str, dict[str, Any]]] = {}
    wanted = tuple(categories)
    for stage in STAGES:
        for split in sorted({*settings.splits, *settings.final_splits}):
            path = run.file("evaluation", f"{stage}-{split}.json")
            if path.exists():  # others there may be of evaluate --output
                result = check_result(read_sealed(path), path, wanted)
                found.setdefault(stage, {})[split] = result
    return found
