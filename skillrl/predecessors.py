"""What a command takes from those before it: asked before anything is created, and again.

Nothing here imports JAX, so that ``--dry_run`` reports it as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl import paths
from skillrl.config import Config
from skillrl.errors import SkillRLError
from skillrl.run import RunDirectory
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank

STAGES = ("base", "sft", "rl")
"""Policies of a run, as ``evaluate --checkpoint`` names them."""


def check(name: str, run: RunDirectory, chosen: Mapping[str, Any]) -> None:
    """Whether the command `name` finds what it needs in `run` or in its own flags `chosen`.

    Raises:
      SkillRLError: it does not; the message says which command makes it.
    """
    if name == "distill":
        trajectories(run, chosen["trajectories"])
    elif name == "sft":
        trajectories(run)
        bank(run, chosen["skill_bank"])
    elif name == "rl":
        cold_started(run)
        bank(run, chosen["skill_bank"])


def trajectories(run: RunDirectory, given: str | None = None) -> Path:
    """The file of ``--trajectories``, else the one collected in `run`."""
    if given:
        if not Path(given).is_file():
            raise SkillRLError(
                f"--trajectories={given}: no such file. Name a file that collect has written, or "
                "leave the flag out to use the one in the workdir."
            )
        return Path(given)
    path = run.file("collect", "trajectories.jsonl")
    if not path.exists():
        raise SkillRLError(
            f"{run.path} has no collected trajectories. Run collect there first, or name the "
            "directory of a run that has them with --workdir."
        )
    return path


def bank(run: RunDirectory, given: str | None) -> SkillBank:
    """The bank of ``--skill_bank``, else the one distilled in `run`."""
    if given:
        return load_bank(given)
    own = run.file("distill", "bank.json")
    if not own.exists():
        raise SkillRLError(
            f"{run.path} has no skill bank. Run distill there first, name the directory of a "
            "run that has one with --workdir, or a bank with --skill_bank."
        )
    return load_bank(own)


def cold_started(run: RunDirectory) -> bool:
    """Whether RL starts from the cold start in `run`; if not, from a policy of one's own."""
    if run.finished("sft") is not None:
        return True
    own = run.config.model.policy_path
    if not own or own.startswith("asset:"):
        raise SkillRLError(
            f"rl: {run.path} has no finished cold start. Run sft there first (or name its "
            "directory with --workdir), or start from a policy of your own with "
            "--set model.policy_path=DIR."
        )
    return False


def evaluated(config: Config, checkpoint: str) -> Config:
    """`config` with the policy of ``--checkpoint``, if that is a Hugging Face directory.

    Sizes and tokenizer are then the directory's own, not those of the run's base policy.
    """
    if checkpoint in STAGES or config.model.policy != "local":
        return config
    if not Path(paths.expand(checkpoint), "config.json").is_file():
        raise SkillRLError(
            f"--checkpoint={checkpoint}: neither base, sft or rl nor a Hugging Face directory "
            "(no config.json in it)"
        )
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, policy_path=checkpoint)
    )
