"""Finds what a command takes from those before it: before anything is created, and again.

Nothing here imports JAX, so that ``--dry_run`` reports it as well.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.config.presets import resolve_path
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.io.files import read_sealed, write_sealed
from skillrl.models import adapter_config
from skillrl.models import directory as model_directory
from skillrl.phases.run_directory import RunDirectory
from skillrl.skills.bank import SkillBank
from skillrl.skills.controls import INITIAL, NONE, OWN, AskedArm, parse_arms
from skillrl.skills.store import load_bank

STAGES = ("base", "sft", "rl")
"""Policies of a run, as ``evaluate --checkpoint`` names them."""

SFT_BANK = ("sft", "bank.json")
"""Where the cold start keeps the bank that it was taught with."""

_NOTES = "outputs.json"


def check(name: str, run: RunDirectory, chosen: Mapping[str, Any]) -> None:
    """Checks that the command `name` finds what it needs in `run` or in its own flags `chosen`.

    Raises:
      SkillRLError: something is missing; the message says which command makes it.
    """
    if name == "distill":
        trajectories(run, chosen["trajectories"])
    elif name == "sft":
        trajectories(run, chosen["trajectories"])
        bank(run, chosen["skill_bank"])
    elif name == "rl":
        cold_started(run)
        bank(run, chosen["skill_bank"])
    elif name == "evaluate" and chosen["bank"] is not None:
        arms(run, chosen["bank"], checkpoint=chosen["checkpoint"])


def remember(run: RunDirectory, phase: str, output: Path) -> None:
    """Notes where ``--output`` put what a phase makes, so that the later ones find it.

    A run that has finished the phase keeps its own, and what is put elsewhere is a copy.
    """
    if run.finished(phase) is not None:
        return
    place, home = output.absolute(), run.path.absolute()
    inside = place.is_relative_to(home)  # then a copy of the run has one of its own
    noted = _noted(run) | {phase: str(place.relative_to(home) if inside else place)}
    write_sealed(run.file(_NOTES), noted)


def forget(run: RunDirectory, phase: str) -> None:
    """Drops the note of `remember`: the phase writes into the run itself now."""
    noted = _noted(run)
    if noted.pop(phase, None) is not None:
        write_sealed(run.file(_NOTES), noted)


def trajectories(run: RunDirectory, given: str | None = None) -> Path:
    """Finds the trajectories to learn from.

    Args:
      run: the run directory.
      given: the value of ``--trajectories``; without one, what collect wrote for `run` is taken,
        wherever ``--output`` put it.

    Returns:
      The path of a file that exists.

    Raises:
      SkillRLError: there is no such file; the message says how to get one.
    """
    if given:
        if not Path(given).is_file():
            raise SkillRLError(
                f"--trajectories={given}: no such file. Name a file that collect has written, or "
                "leave the flag out to use the one in the workdir."
            )
        return Path(given)
    found = collected(run)
    if found is None:
        raise SkillRLError(
            f"{run.path} has no collected trajectories. Run collect there first, or name the "
            "directory of a run that has them with --workdir, or a file with --trajectories."
        )
    return found


def collected(run: RunDirectory) -> Path | None:
    """Finds the file of trajectories that collect wrote for `run`, or None if it wrote none.

    Raises:
      SkillRLError: collect wrote it elsewhere (``--output``), and it is gone.
    """
    return _written(run, "collect", name="trajectories.jsonl", flag="--trajectories")


def bank(run: RunDirectory, given: str | None) -> SkillBank:
    """Reads the skill bank that a command starts with.

    Args:
      run: the run directory.
      given: the value of ``--skill_bank``; without one, the bank that distill or the cold start
        left for `run` is taken.

    Raises:
      SkillRLError: there is no bank, or the file is not one.
    """
    if given:
        return load_bank(given)
    found = first_bank(run)
    if found is None:
        raise SkillRLError(
            f"{run.path} has no skill bank. Run distill there first, name the directory of a "
            "run that has one with --workdir, or a bank with --skill_bank."
        )
    return load_bank(found)


def arms(run: RunDirectory, text: str, *, checkpoint: str) -> tuple[AskedArm, ...]:
    """Reads ``evaluate --bank``, and checks that the banks which it names are there.

    Args:
      run: the run directory.
      text: the value of the flag.
      checkpoint: the value of ``--checkpoint``.

    Raises:
      SkillRLError: no such arm or bank, or the base policy is asked for a bank of its own.
    """
    found = parse_arms(text)
    for arm in found:
        if arm.source == OWN and checkpoint == "base":
            other = f"{arm.control}:{INITIAL}" if arm.control else INITIAL
            raise SkillRLError(
                f"--bank={arm.name}: the base policy has no bank of its own. Name one, as "
                f"--bank={other} (the first that the run distilled) or a file, or use "
                "--checkpoint=sft or rl."
            )
        if arm.source == INITIAL and first_bank(run) is None:
            raise SkillRLError(
                f"--bank={arm.name}: {run.path} has distilled no bank yet. Run distill there "
                "first, name the run with --workdir, or name the file of a bank."
            )
        if arm.source not in (NONE, OWN, INITIAL):
            load_bank(arm.source)
    return found


def first_bank(run: RunDirectory) -> Path | None:
    """Finds the file of the bank that RL begins with: the distilled one, else the cold start's.

    Returns:
      Its path, or None if there is neither.

    Raises:
      SkillRLError: distill wrote one elsewhere (``--output``), and it is gone.
    """
    distilled = _written(run, "distill", name="bank.json", flag="--skill_bank")
    return distilled or _if_file(run.file(*SFT_BANK))


def _written(run: RunDirectory, phase: str, *, name: str, flag: str) -> Path | None:
    """Finds what a phase wrote: in `run` once it is finished there, else where ``--output`` said.

    Args:
      run: the run directory.
      phase: the phase that wrote it.
      name: the name of the file in the phase's folder.
      flag: the flag that names another such file, for the message.

    Returns:
      The path of the file, or None if the phase wrote none.

    Raises:
      SkillRLError: the file was written elsewhere and is gone.
    """
    own, noted = _if_file(run.file(phase, name)), _noted(run).get(phase)
    if noted is None or run.finished(phase) is not None:
        return own
    noted = str(run.path.absolute() / noted)
    if not Path(noted).is_file():
        raise SkillRLError(
            f"{noted}: {phase} wrote it there for {run.path} (--output), and it is gone. Bring it "
            f"back, name another with {flag}, or run {phase} again."
        )
    return Path(noted)


def _noted(run: RunDirectory) -> dict[str, str]:
    """Reads where ``--output`` put what phases made, by phase; see `remember`."""
    path = run.file(_NOTES)
    if not path.exists():
        return {}
    notes = read_sealed(path)
    return {phase: place for phase, place in notes.items() if isinstance(place, str)}


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def cold_started(run: RunDirectory) -> bool:
    """Tells which policy RL starts from, and checks that there is one.

    Returns:
      True for the cold start of `run`, False for the policy that ``model.policy_path`` names.

    Raises:
      SkillRLError: there is neither.
    """
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


def check_policy(config: Config) -> None:
    """Checks that the directories of ``model`` hold what their settings say: policy and adapter.

    Raises:
      SkillRLError: one is missing or holds something else.
    """
    model = config.model
    if model.policy != "local":
        return
    if model.policy_path:
        path = resolve_path(model.policy_path)
        if model_directory.is_adapter(path):
            model_directory.check(path, named=model.policy_path)
    if model.adapter_path:
        adapter_config.read(model_directory.expanded(model.adapter_path))


def trained(run: RunDirectory, checkpoint: str) -> None:
    """Checks that there is a checkpoint of a stage of `run`, without looking into it.

    Raises:
      SkillRLError: `checkpoint` is ``sft`` or ``rl``, and there is none.
    """
    if checkpoint not in ("sft", "rl"):
        return
    steps = run.file("checkpoints", checkpoint).glob("*")
    done = checkpoint == "rl" or run.finished("sft") is not None
    if not done or not any(path.name.isdecimal() for path in steps):
        raise SkillRLError(
            f"--checkpoint={checkpoint}: {run.path} has no such checkpoint yet. Train there "
            "first, name the run with --workdir, or use --checkpoint=base."
        )


def evaluated(config: Config, checkpoint: str, *, adapter: bool = True) -> Config:
    """Returns `config` with the policy of ``--checkpoint``, if that is a Hugging Face directory.

    Sizes and tokenizer are then the directory's own, not those of the run's base policy. A
    directory with a LoRA adapter is played on the model that the adapter names as its base.

    Args:
      config: the settings of the run.
      checkpoint: base, sft or rl, or a directory.
      adapter: whether ``model.adapter_path`` of `config` is meant for the directory; that of a
        run was for its base, and is in all policies that came of it.

    Raises:
      SkillRLError: `checkpoint` is neither one of the names nor such a directory.
    """
    if checkpoint in STAGES or config.model.policy != "local":
        return config
    said = f"--checkpoint={model_directory.shown(checkpoint)}"
    if checkpoint.startswith("asset:"):
        path = resolve_path(checkpoint)
    else:
        path = model_directory.expanded(checkpoint)
    if os.path.isdir(path) and model_directory.is_adapter(path):
        return _adapted(config, path, said, merged=config.model.adapter_path if adapter else "")
    if not os.path.isfile(path / model_directory.CONFIG):
        raise SkillRLError(
            f"{said}: neither base, sft or rl nor a Hugging Face directory "
            f"({_why_not(path, checkpoint)})"
        )
    if model_directory.is_run(path):
        raise SkillRLError(
            f"{said}: is the directory of a run. Evaluate the run with --workdir={path}, or give "
            f"its policy: --checkpoint={path / 'policy'}."
        )
    model = dataclasses.replace(config.model, policy_path=checkpoint)
    if not adapter:
        model = dataclasses.replace(model, adapter_path="")
    return dataclasses.replace(config, model=model)


def _adapted(config: Config, adapter: Path, said: str, *, merged: str) -> Config:
    """Returns `config` with an adapter and the model that it names as its base.

    Args:
      config: the settings to change.
      adapter: the directory of the adapter.
      said: the flag as it was given; begins every message.
      merged: an adapter that the settings name already, or "".

    Raises:
      SkillRLError: the adapter cannot be read or names no base, or `merged` is another one.
    """
    try:
        base = adapter_config.read(adapter).base
    except SkillRLError as error:  # of one kind or another, which stays
        raise type(error)(f"{said} is a LoRA adapter, and cannot be read: {error}") from None
    if merged and model_directory.expanded(merged) != adapter:
        raise SkillRLError(
            f"{said} is a LoRA adapter, and model.adapter_path={merged} names another: leave one "
            "of the two out."
        )
    model = dataclasses.replace(config.model, adapter_path=str(adapter), policy_path=base)
    if not base or not os.path.isdir(model_directory.expanded(base)):
        model = dataclasses.replace(model, policy_path="", policy_model_id=base)
    if not model.policy_path and not model_directory.hub_name(base):
        named = f"names {model_directory.shown(base)!r}, which is not there" if base else "is empty"
        raise SkillRLError(
            f"{said}: is a LoRA adapter, but base_model_name_or_path in its "
            f"{model_directory.ADAPTER_CONFIG} {named}. Give the model that it was made for with "
            f"--checkpoint=MODEL --set model.adapter_path={adapter}."
        )
    return dataclasses.replace(config, model=model)


def _why_not(path: Path, named: str) -> str:
    """Says why `path`, given as `named`, is no Hugging Face directory, and what may help."""
    if not os.path.isdir(path):
        hub = model_directory.hub_name(named)
        if hub and not os.path.exists(path):
            return (
                "no such directory; for a name on the Hugging Face hub use --checkpoint=base "
                f"--set model.policy_path= --set model.policy_model_id={hub}"
            )
        if os.path.isfile(path):
            return model_directory.missing_advice(named)
        return "no such directory"
    return f"{model_directory.instead(path)}no {model_directory.CONFIG} in it"
