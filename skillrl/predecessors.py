"""What a command takes from those before it: asked before anything is created, and again.

Nothing here imports JAX, so that ``--dry_run`` reports it as well.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl import checksums
from skillrl.config import Config
from skillrl.errors import SkillRLError
from skillrl.files import read_json, write_json
from skillrl.run import RunDirectory
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank

STAGES = ("base", "sft", "rl")
"""Policies of a run, as ``evaluate --checkpoint`` names them."""

SFT_BANK = ("sft", "bank.json")
"""Where the cold start keeps the bank that it was taught with."""

_NOTES = "outputs.json"


def check(name: str, run: RunDirectory, chosen: Mapping[str, Any]) -> None:
    """Whether the command `name` finds what it needs in `run` or in its own flags `chosen`.

    Raises:
      SkillRLError: it does not; the message says which command makes it.
    """
    if name == "distill":
        trajectories(run, chosen["trajectories"])
    elif name == "sft":
        trajectories(run, chosen["trajectories"])
        bank(run, chosen["skill_bank"])
    elif name == "rl":
        cold_started(run)
        bank(run, chosen["skill_bank"])


def remember(run: RunDirectory, phase: str, output: Path) -> None:
    """Notes where ``--output`` put what a phase makes, so that the later ones find it.

    A run that has finished the phase keeps its own, and what is put elsewhere is a copy.
    """
    if run.finished(phase) is not None:
        return
    noted = _noted(run) | {phase: str(output.absolute())}
    write_json(run.file(_NOTES), checksums.seal(noted))


def trajectories(run: RunDirectory, given: str | None = None) -> Path:
    """The file of ``--trajectories``, else what collect wrote for `run`, wherever that is."""
    if given:
        if not Path(given).is_file():
            raise SkillRLError(
                f"--trajectories={given}: no such file. Name a file that collect has written, or "
                "leave the flag out to use the one in the workdir."
            )
        return Path(given)
    found = _written(run, "collect", "trajectories.jsonl", "--trajectories")
    if found is None:
        raise SkillRLError(
            f"{run.path} has no collected trajectories. Run collect there first, or name the "
            "directory of a run that has them with --workdir, or a file with --trajectories."
        )
    return found


def bank(run: RunDirectory, given: str | None) -> SkillBank:
    """The bank of ``--skill_bank``, else the one that `run` was given by its phases."""
    if given:
        return load_bank(given)
    found = first_bank(run)
    if found is None:
        raise SkillRLError(
            f"{run.path} has no skill bank. Run distill there first, name the directory of a "
            "run that has one with --workdir, or a bank with --skill_bank."
        )
    return load_bank(found)


def first_bank(run: RunDirectory) -> Path | None:
    """The file of the bank that RL begins with: distilled, else that of the cold start."""
    distilled = _written(run, "distill", "bank.json", "--skill_bank")
    return distilled or _if_file(run.file(*SFT_BANK))


def _written(run: RunDirectory, phase: str, name: str, flag: str) -> Path | None:
    """What a phase wrote: in `run` once it is finished there, else where ``--output`` said."""
    own, noted = _if_file(run.file(phase, name)), _noted(run).get(phase)
    if noted is None or run.finished(phase) is not None:
        return own
    if not Path(noted).is_file():
        raise SkillRLError(
            f"{noted}: {phase} wrote it there for {run.path} (--output), and it is gone. Bring it "
            f"back, name another with {flag}, or run {phase} again."
        )
    return Path(noted)


def _noted(run: RunDirectory) -> dict[str, str]:
    path = run.file(_NOTES)
    if not path.exists():
        return {}
    notes = checksums.unseal(read_json(path), path, required=True)
    return {phase: place for phase, place in notes.items() if isinstance(place, str)}


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


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


def trained(run: RunDirectory, checkpoint: str) -> None:
    """Refuses a stage of `run` that has no checkpoint; what is in one is not looked at."""
    if checkpoint not in ("sft", "rl"):
        return
    steps = run.file("checkpoints", checkpoint).glob("*")
    done = checkpoint == "rl" or run.finished("sft") is not None
    if not done or not any(path.name.isdecimal() for path in steps):
        raise SkillRLError(
            f"--checkpoint={checkpoint}: {run.path} has no such checkpoint yet. Train there "
            "first, name the run with --workdir, or use --checkpoint=base."
        )


def evaluated(config: Config, checkpoint: str) -> Config:
    """`config` with the policy of ``--checkpoint``, if that is a Hugging Face directory.

    Sizes and tokenizer are then the directory's own, not those of the run's base policy.
    """
    if checkpoint in STAGES or config.model.policy != "local":
        return config
    if not Path(os.path.expanduser(checkpoint), "config.json").is_file():
        raise SkillRLError(
            f"--checkpoint={checkpoint}: neither base, sft or rl nor a Hugging Face directory "
            "(no config.json in it)"
        )
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, policy_path=checkpoint)
    )
