"""Loads the policies of a run again by stage (base, sft, rl), and evaluates them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.evaluation.contrasts import arms_table, contrast
from skillrl.evaluation.evaluate import manifest, manifest_hash, results_table
from skillrl.io.files import read_sealed, write_json, write_sealed
from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.parallel import host_memory, processes
from skillrl.phases import prerequisites
from skillrl.phases.arms import Arms
from skillrl.phases.build import load_policy
from skillrl.phases.held_out import evaluate_split
from skillrl.phases.report import bank_on_first, first_bank, newest_bank
from skillrl.phases.rl import load_rl
from skillrl.phases.session import Session
from skillrl.phases.sft import load_sft
from skillrl.rollouts import store
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.controls import NONE
from skillrl.skills.store import load_bank
from skillrl.types import Trajectory


def evaluate_stage(
    session: Session, player: Player, *, stage: str, bank: SkillBank, splits: Sequence[str]
) -> None:
    """Evaluates the published policy once per split, unless that has been done.

    A result on disk is kept if it is of the same policy, bank and tasks: a run that was given
    more training_epochs is evaluated again.

    Args:
      session: the run.
      player: its engine has the parameters of the policy.
      stage: ``base``, ``sft`` or ``rl``; names the files of the results.
      bank: the skills, which are only read; may be empty.
      splits: names of the splits to evaluate on.
    """
    limit = session.config.evaluation.max_tasks
    versions = {"policy_version": player.engine.version, "bank_version": bank.version}
    for split in splits:
        path = session.run.file("evaluation", f"{stage}-{split}.json")
        tasks = manifest_hash(manifest(session.suite, split, limit=limit))
        same = versions | {"manifest": tasks}
        if processes.on_first(f"{stage} on {split}", functools.partial(_has, path, same)):
            continue
        with session.clock.timed(f"evaluate {stage}"):
            result, _ = evaluate_split(
                session, player, bank=bank, split=split, label=f"evaluate {stage} {split}"
            )
        write_sealed(path, result | versions)
        host_memory.release()  # before the next phase compiles


def _has(path: Path, same: Mapping[str, Any]) -> bool:
    """Tells whether a result on disk is of the `same` policy, bank and tasks."""
    return path.exists() and same.items() <= read_sealed(path).items()


def load_stage(
    session: Session, model: Model | None, checkpoint: str
) -> tuple[Params | None, SkillBank]:
    """Reads policy and bank of a stage of this run, or of a Hugging Face directory.

    A directory (by now the model's own, see `prerequisites.evaluated`) is evaluated
    with this run's newest bank, or without skills if it has none. The base policy has an
    empty bank, as in training. A remote policy, which has no
    `model`, has no parameters here either: None.

    Raises:
      SkillRLError: the run has not come that far.
    """
    if model is None:
        return None, bank_on_first(lambda: newest_bank(session))
    if checkpoint == "base":
        return load_policy(session, model), SkillBank()
    if checkpoint == "sft":
        policy = load_sft(session, model)
        if policy is not None:
            taught = session.run.file(*prerequisites.SFT_BANK)
            return policy, bank_on_first(
                lambda: load_bank(taught) if taught.exists() else first_bank(session)
            )
    elif checkpoint == "rl":
        found = load_rl(session, model)
        if found is not None:
            return found
    else:
        return load_policy(session, model), bank_on_first(lambda: newest_bank(session))
    raise SkillRLError(
        f"--checkpoint={checkpoint}: {session.run.path} has no such checkpoint yet. Train there "
        "first, name the run with --workdir, or use --checkpoint=base."
    )


def evaluate_command(
    session: Session,
    player: Player,
    *,
    checkpoint: str,
    arms: Arms,
    splits: Sequence[str],
    temperature: float | None,
    repeats: int | None,
    concurrency: int,
    output: Path | None,
) -> None:
    """Evaluates, prints the tables, and writes results and trajectories if asked to.

    The file has the result of the first arm at ``eval.SPLIT``, and those of all at
    ``arms.ARM.SPLIT``, with ``against_none`` where an arm is compared with the one without skills.
    ``trajectories.ARM.SPLIT`` names the files of the episodes, which lie beside it.

    Args:
      session: of the run.
      player: its engine has parameters.
      checkpoint: the name under which the table shows the policy.
      arms: the skills, which are only read.
      splits: names of manifests.
      temperature: of sampling; None is the config's.
      repeats: how often each task is played; None is the config's.
      concurrency: episodes alive at once, 0 for as many as is fast.
      output: a JSON file for the result, or None.
    """
    results: dict[str, dict[str, Any]] = {arm.name: {} for arm in arms.played}
    files = _trajectory_names([arm.name for arm in arms.played])
    written: dict[str, dict[str, str]] = {arm.name: {} for arm in arms.played}
    for split in splits:
        played: dict[str, list[Trajectory]] = {}
        for arm in arms.played:
            label = f"evaluate {checkpoint} {split}"
            results[arm.name][split], played[arm.name] = evaluate_split(
                session,
                player,
                bank=arm.bank,
                split=split,
                label=f"{label} {arm.name}" if arms.chosen else label,
                temperature=temperature,
                repeats=repeats,
                concurrency=concurrency,
                retrieve=arm.retrieve,
            )
            if output is not None and processes.is_first():
                file = output.with_suffix(f".{split}{files[arm.name]}.jsonl")
                store.write(file, played[arm.name])
                written[arm.name][split] = file.name
        for arm in arms.played:
            if arm.name != NONE and NONE in played:
                found = contrast(played[arm.name], played[NONE])
                results[arm.name][split]["against_none"] = found
    first = results[arms.played[0].name]
    shown = {
        f"{checkpoint} {name}" if arms.chosen else checkpoint: r for name, r in results.items()
    }
    print(results_table(shown, session.suite.categories))
    if arms.chosen:
        print(f"\n{arms_table(results)}")
        if len(arms.played) > 1:
            print(f"\n{_EXPLAINED}{_ADDED if arms.added else ''}")
    if output is not None and processes.is_first():
        whole = {"checkpoint": checkpoint, "eval": first, "arms": results, "trajectories": written}
        write_json(output, whole)
        print(f"written: {output}, trajectories beside it")


_EXPLAINED = (
    "recovery: tasks that fail without skills and are won with these; regression: the reverse; "
    "both, and their difference, in percent of all tasks, paired by task and random draw."
)
_ADDED = " none was not asked for; it is played for this comparison."


def _trajectory_names(arms: Sequence[str]) -> dict[str, str]:
    """Says what the file names of trajectories end with, by arm: nothing for the first."""
    found: dict[str, str] = {}
    for at, name in enumerate(arms):
        word = re.sub(r"[^\w.-]+", "_", name)[-80:]  # a name of a file, which has its limits
        taken = any(other.lower() == f".{word}".lower() for other in found.values())
        found[name] = (f".{word}-{at}" if taken else f".{word}") if at else ""
    return found
