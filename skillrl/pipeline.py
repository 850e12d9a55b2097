"""SkillRL, Algorithm 1 of arXiv 2602.08234, from top to bottom.

    collect -> distil -> cold start -> RL with an evolving bank

with held-out evaluation of the base, the cold-started and the final policy, which
never feeds back. Every function may be called again on the same work directory: what
is finished is read back, what is not goes on from its last checkpoint.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skillrl.config.settings import Config
from skillrl.envs import SPLITS
from skillrl.errors import Corrupt, SkillRLError
from skillrl.io.checksums import check_directory
from skillrl.io.text import printable
from skillrl.models.flops import sizes_of
from skillrl.models.transformer import Params
from skillrl.parallel import speed
from skillrl.phases import prerequisites, prompts, report
from skillrl.phases.collect import collect as collect_phase
from skillrl.phases.distill import distill as distill_phase
from skillrl.phases.rl import rl as rl_phase
from skillrl.phases.session import Session, open_session
from skillrl.phases.sft import load_sft
from skillrl.phases.sft import sft as sft_phase
from skillrl.preflight import estimate
from skillrl.preflight.static_checks import has_tasks
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank, save_bank

_LOG = logging.getLogger(__name__)


def train(config: Config, workdir: Path, *, seed: int) -> None:
    """All four phases and their evaluations."""
    with open_session(config, workdir, seed=seed) as run:
        if _is_finished(run):
            print(printable(report.report_finished(run)))
            return
        _announce(run, "train")
        base = run.load_policy()

        # 1. The base policy plays; it has no skills yet.
        run.publish(base, 0)
        report.evaluate_stage(run, "base", SkillBank(), config.evaluation.splits)
        trajectories = _once(run, "collect", collect_phase)
        trajectories = trajectories or prerequisites.trajectories(run.run)

        # 2. The teacher distils skills from successes and failures.
        bank = _once(run, "distill", distill_phase, trajectories)
        bank = bank or load_bank(run.run.file("distill", "bank.json"))

        # 3. Cold start: the policy learns to use skills. This policy is also pi_ref.
        prompts.look(run, "sft", bank, run.suite.tasks("train"))
        policy = _once(run, "sft", sft_phase, base, bank, trajectories)
        policy = policy or _sft_policy_or_again(run, base, bank, trajectories)
        del base  # its memory is wanted for RL
        run.publish(policy, 0)
        report.evaluate_stage(run, "sft", bank, config.evaluation.splits)

        # 4. GRPO with retrieved skills; the bank evolves from failures of weak categories.
        prompts.look(run, "rl", bank, run.suite.tasks("train"))
        policy, bank = rl_phase(run, policy, bank)
        run.publish(policy, config.rl.training_epochs * config.rl.minibatches)
        report.evaluate_stage(run, "rl", bank, config.evaluation.final_splits)
        report.finish(run, policy, bank)
        run.run.finish("train", training_epochs=config.rl.training_epochs)


def collect(
    config: Config, workdir: Path, *, seed: int, episodes: int | None, output: str | None
) -> None:
    """Phase 1 alone."""
    with open_session(config, workdir, seed=seed) as run:
        _announce(run, "collect", episodes=episodes)
        if config.model.policy == "local":
            run.publish(run.load_policy(), 0)
        path = collect_phase(run, episodes=episodes, output=Path(output) if output else None)
        print(f"trajectories: {path}")
        if output is not None:
            prerequisites.remember(run.run, "collect", path)
            return
        prerequisites.forget(run.run, "collect")
        wanted = config.collect.episodes
        if episodes is None or episodes >= wanted:
            run.run.finish("collect")
        else:
            print(
                f"--episodes={episodes} is fewer than collect.episodes={wanted}: train, or collect "
                "without --episodes, will add the rest to this file"
            )


def distill(
    config: Config, workdir: Path, *, seed: int, trajectories: str | None, output: str | None
) -> None:
    """Phase 2 alone, on this run's trajectories or on a file."""
    with open_session(config, workdir, seed=seed) as run:
        path = prerequisites.trajectories(run.run, trajectories)
        bank = distill_phase(run, path, output=Path(output) if output else None)
        if output is None:
            run.run.finish("distill")
        else:
            prerequisites.remember(run.run, "distill", Path(output))
        print(
            f"skill bank: {len(bank)} entries in {output or run.run.file('distill', 'bank.json')}"
        )


def sft(
    config: Config,
    workdir: Path,
    *,
    seed: int,
    skill_bank: str | None,
    num_examples: int | None,
    trajectories: str | None = None,
) -> None:
    """Phase 3 alone, on what collect and distill wrote for this run, or on files."""
    with open_session(config, workdir, seed=seed) as run:
        path = prerequisites.trajectories(run.run, trajectories)
        bank = prerequisites.bank(run.run, skill_bank)
        _announce(run, "sft", num_examples=num_examples)
        prompts.look(run, "sft", bank, run.suite.tasks("train"))
        policy = sft_phase(run, run.load_policy(), bank, path, num_examples=num_examples)
        save_bank(bank, run.run.file(*prerequisites.SFT_BANK))  # its evaluation wants the same
        run.run.finish("sft")
        run.export(policy, run.run.file("sft", "policy"))
        print(f"cold-started policy: {run.run.file('sft', 'policy')}")


def rl(config: Config, workdir: Path, *, seed: int, skill_bank: str | None) -> None:
    """Phase 4 alone: from this run's cold start, or from ``model.policy_path``."""
    with open_session(config, workdir, seed=seed) as run:
        cold_started = prerequisites.cold_started(run.run)
        bank = prerequisites.bank(run.run, skill_bank)
        _announce(run, "rl")
        prompts.look(run, "rl", bank, run.suite.tasks("train"))
        policy = _sft_policy(run) if cold_started else run.load_policy()
        policy, bank = rl_phase(run, policy, bank)
        report.finish(run, policy, bank)


def evaluate(
    config: Config,
    workdir: Path,
    *,
    seed: int,
    checkpoint: str = "rl",
    split: str | None = None,
    concurrency: int | None = None,
    repeats: int | None = None,
    temperature: float | None = None,
    output: str | None = None,
) -> None:
    """Evaluates base, sft, rl or a directory on fixed manifests; changes nothing in the run."""
    config = prerequisites.evaluated(config, checkpoint)
    with open_session(config, workdir, seed=seed, lock=False) as run:
        _announce(run, "evaluate", split=split, repeats=repeats)
        policy, bank = report.load_stage(run, checkpoint)
        if policy is not None:
            run.publish(policy, 0)
        splits = split.split(",") if split else list(config.evaluation.splits)
        limit = config.evaluation.max_tasks or None
        held_out = [task for name in splits for task in run.suite.tasks(name)[:limit]]
        prompts.look(run, "evaluate", bank, held_out)
        report.evaluate_command(
            run,
            checkpoint,
            bank,
            splits,
            temperature=temperature,
            repeats=repeats,
            concurrency=concurrency or 0,
            output=Path(output) if output else None,
        )


def _announce(run: Session, name: str, **chosen: Any) -> None:
    """Warns before phases that will take hours on these devices, with the estimate."""
    if run.config.model.policy != "local":
        return
    found = estimate.loads(
        name,
        run.config,
        sizes_of(run.model),
        tasks={
            split: len(run.suite.tasks(split)) for split in SPLITS if has_tasks(run.suite, split)
        },
        categories=len(run.suite.categories),
        chosen=chosen,
    )
    if not estimate.may_be_long(found):
        return
    device = run.mesh.devices.flat[0]
    devices = 1 if device.platform == "cpu" else run.mesh.size
    peak = speed.of_device(run.config.model.dtype)
    said = estimate.announcement(found, peak, devices, device.device_kind)
    if said:
        print(f"warning: {said}", file=sys.stderr, flush=True)


def _is_finished(run: Session) -> bool:
    """Whether `train` has nothing left to do here; more training_epochs make it go on."""
    asked = {"training_epochs": run.config.rl.training_epochs}
    left = [run.run.file("summary.json"), run.run.file("policy", "config.json")]
    if run.run.finished("train") != asked or not all(path.exists() for path in left):
        return False
    try:
        check_directory(run.run.file("policy"))
    except Corrupt as error:
        _LOG.warning("%s It is exported again from the last checkpoint.", error)
        return False
    return True


def _once(run: Session, phase: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Does a phase unless it is finished; None if it was."""
    if run.run.finished(phase) is not None:
        return None
    result = work(run, *arguments)
    run.run.finish(phase)
    return result


def _sft_policy(run: Session) -> Params:
    policy = load_sft(run)
    if policy is None:
        raise SkillRLError(
            f"{run.run.path}: the cold start is marked as finished but checkpoints/sft is gone. "
            "Restore it from a copy, repeat it (skillrl sft with this --workdir), or start in a "
            "new --workdir."
        )
    return policy


def _sft_policy_or_again(run: Session, base: Params, bank: SkillBank, trajectories: Path) -> Params:
    """The cold-started policy; what of it is corrupt is trained again, to the same bits."""
    try:
        return _sft_policy(run)
    except Corrupt as error:
        _LOG.warning("%s", error)
        return sft_phase(run, base, bank, trajectories)
