"""Loads the policies of a run again by stage (base, sft, rl), and evaluates them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.evaluation.evaluate import results_table
from skillrl.io.files import read_sealed, write_json, write_sealed
from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.phases import prerequisites
from skillrl.phases.build import load_policy
from skillrl.phases.held_out import evaluate_split
from skillrl.phases.report import first_bank, newest_bank
from skillrl.phases.rl import load_rl
from skillrl.phases.session import Session
from skillrl.phases.sft import load_sft
from skillrl.rollouts import store
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank


def evaluate_stage(
    session: Session, player: Player, *, stage: str, bank: SkillBank, splits: Sequence[str]
) -> None:
    """Evaluates the published policy once per split, unless that has been done.

    A result on disk is kept if it is of the same policy and bank: a run that was given
    more training_epochs is evaluated again.

    Args:
      session: the run.
      player: its engine has the parameters of the policy.
      stage: ``base``, ``sft`` or ``rl``; names the files of the results.
      bank: the skills, which are only read; may be empty.
      splits: names of the splits to evaluate on.
    """
    versions = {"policy_version": player.engine.version, "bank_version": bank.version}
    for split in splits:
        path = session.run.file("evaluation", f"{stage}-{split}.json")
        if path.exists() and versions.items() <= read_sealed(path).items():
            continue
        with session.clock.timed(f"evaluate {stage}"):
            result, _ = evaluate_split(
                session, player, bank=bank, split=split, label=f"evaluate {stage} {split}"
            )
        write_sealed(path, result | versions)


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
        return None, newest_bank(session)
    if checkpoint == "base":
        return load_policy(session, model), SkillBank()
    if checkpoint == "sft":
        policy = load_sft(session, model)
        if policy is not None:
            taught = session.run.file(*prerequisites.SFT_BANK)
            return policy, load_bank(taught) if taught.exists() else first_bank(session)
    elif checkpoint == "rl":
        found = load_rl(session, model)
        if found is not None:
            return found
    else:
        return load_policy(session, model), newest_bank(session)
    raise SkillRLError(
        f"--checkpoint={checkpoint}: {session.run.path} has no such checkpoint yet. Train there "
        "first, name the run with --workdir, or use --checkpoint=base."
    )


def evaluate_command(
    session: Session,
    player: Player,
    *,
    checkpoint: str,
    bank: SkillBank,
    splits: Sequence[str],
    temperature: float | None,
    repeats: int | None,
    concurrency: int,
    output: Path | None,
) -> None:
    """Evaluates, prints the table, and writes result and trajectories if asked to.

    Args:
      session: of the run.
      player: its engine has parameters.
      checkpoint: the name under which the table shows the policy.
      bank: the skills, which are only read.
      splits: names of manifests.
      temperature: of sampling; None is the config's.
      repeats: how often each task is played; None is the config's.
      concurrency: episodes alive at once, 0 for as many as is fast.
      output: a JSON file for the result, or None.
    """
    results: dict[str, Any] = {}
    for split in splits:
        results[split], played = evaluate_split(
            session,
            player,
            bank=bank,
            split=split,
            label=f"evaluate {checkpoint} {split}",
            temperature=temperature,
            repeats=repeats,
            concurrency=concurrency,
        )
        if output is not None:
            store.write(output.with_suffix(f".{split}.jsonl"), played)
    print(results_table({checkpoint: results}, session.suite.categories))
    if output is not None:
        write_json(output, {"checkpoint": checkpoint, "eval": results})
        print(f"written: {output}, trajectories beside it")
