"""Runs SkillRL, Algorithm 1 of arXiv 2602.08234, from top to bottom.

    collect -> distil -> cold start -> RL with an evolving bank

with held-out evaluation of the base, the cold-started and the final policy, which
never feeds back. Every function may be called again on the same work directory: what
is finished is read back, what is not goes on from its last checkpoint.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skillrl.config.settings import Config
from skillrl.envs import SPLITS
from skillrl.errors import Corrupt, SkillRLError
from skillrl.evaluation import protocol
from skillrl.io.checksums import check_directory
from skillrl.io.text import printable
from skillrl.models.flops import sizes_of
from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.parallel import processes, speed
from skillrl.phases import prerequisites, prompts, report
from skillrl.phases.arms import open_arms
from skillrl.phases.build import (
    export,
    load_policy,
    open_agent,
    open_mesh,
    open_model,
    open_player,
    open_retriever,
    open_teacher,
    publish,
)
from skillrl.phases.collect import collect as collect_phase
from skillrl.phases.distill import distill as distill_phase
from skillrl.phases.rl import rl as rl_phase
from skillrl.phases.run_directory import OnMetrics
from skillrl.phases.session import Session, open_session
from skillrl.phases.sft import load_sft
from skillrl.phases.sft import sft as sft_phase
from skillrl.phases.stages import evaluate_command, evaluate_stage, load_stage
from skillrl.preflight import estimate
from skillrl.preflight.static_checks import has_tasks
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import load_bank, save_bank
from skillrl.teacher.base import Teacher

_LOG = logging.getLogger(__name__)


def train(config: Config, workdir: Path, *, on_metrics: OnMetrics | None = None) -> None:
    """Runs all four phases and their evaluations; `on_metrics` is given each row of metrics."""
    with open_session(config, workdir, on_metrics=on_metrics) as run:
        if processes.on_first("whether it is finished", lambda: _is_finished(run)):
            print(processes.on_first("report", lambda: printable(report.report_finished(run))))
            return
        model = open_model(config, open_mesh(config))
        _announce(run, model, "train")
        _warn_of_departures(run, splits=config.evaluation.final_splits)
        teacher, retriever = open_teacher(run), open_retriever(run, model)
        player = open_player(run, model, retriever)
        base = load_policy(run, model)

        # 1. The base policy plays; it has no skills yet.
        publish(config, player, params=base, version=0)
        evaluate_stage(run, player, stage="base", bank=SkillBank(), splits=config.evaluation.splits)
        trajectories = run_phase_once(run, "collect", collect_phase, player)
        trajectories = trajectories or _trajectories(run)

        # 2. The teacher distils skills from successes and failures.
        bank = run_phase_once(
            run, "distill", distill_phase, trajectories, teacher=teacher,
            embedder=retriever.embedder,
        )  # fmt: skip
        bank = bank or report.bank_on_first(lambda: load_bank(run.run.file("distill", "bank.json")))

        # 3. Cold start: the policy learns to use skills. This policy is also pi_ref.
        prompts.look(
            run, bank, model=model, retriever=retriever, phase="sft", tasks=run.suite.tasks("train")
        )
        policy = _cold_start(
            run, base, model=model, player=player, teacher=teacher, bank=bank,
            trajectories=trajectories,
        )  # fmt: skip
        del base  # its memory is wanted for RL
        publish(config, player, params=policy, version=0)
        evaluate_stage(run, player, stage="sft", bank=bank, splits=config.evaluation.splits)

        # 4. GRPO with retrieved skills; the bank evolves from failures of weak categories.
        prompts.look(
            run, bank, model=model, retriever=retriever, phase="rl", tasks=run.suite.tasks("train")
        )
        policy, bank = rl_phase(run, policy, bank, model=model, player=player, teacher=teacher)
        publish(
            config, player, params=policy, version=config.rl.training_epochs * config.rl.minibatches
        )
        evaluate_stage(run, player, stage="rl", bank=bank, splits=config.evaluation.final_splits)
        export(config, model, params=policy, directory=run.run.file("policy"))
        report.finish(run, bank)
        run.run.finish("train", training_epochs=config.rl.training_epochs)


def collect(
    config: Config, workdir: Path, *, episodes: int | None = None, output: str | None = None
) -> None:
    """Runs phase 1 alone.

    Args:
      config: the settings.
      workdir: the run directory.
      episodes: of the policy; ``collect.episodes`` by default.
      output: a file of one's own for the trajectories; the run remembers where it is.

    Raises:
      SkillRLError: there is nothing to play, or `output` holds something else.
    """
    with open_session(config, workdir) as run:
        model = _local_model(config)
        _announce(run, model, "collect", episodes=episodes)
        player = open_player(run, model, open_retriever(run, model))
        if model is not None:
            publish(config, player, params=load_policy(run, model), version=0)
        path = collect_phase(
            run, player, episodes=episodes, output=Path(output) if output else None
        )
        print(f"trajectories: {path}")
        if output is not None:
            processes.on_first("output", lambda: prerequisites.remember(run.run, "collect", path))
            return
        processes.on_first("output", lambda: prerequisites.forget(run.run, "collect"))
        wanted = config.collect.episodes
        if episodes is None or episodes >= wanted:
            run.run.finish("collect")
        else:
            print(
                f"--episodes={episodes} is fewer than collect.episodes={wanted}: train, or collect "
                "without --episodes, will add the rest to this file"
            )


def distill(
    config: Config, workdir: Path, *, trajectories: str | None = None, output: str | None = None
) -> None:
    """Runs phase 2 alone.

    Args:
      config: the settings.
      workdir: the run directory.
      trajectories: a file to learn from; by default what collect wrote for this run.
      output: a file of one's own for the bank; the run remembers where it is.

    Raises:
      SkillRLError: there are no trajectories, or the teacher does not answer.
    """
    with open_session(config, workdir) as run:
        path = _trajectories(run, trajectories)
        bank = distill_phase(
            run,
            path,
            teacher=open_teacher(run),
            embedder=open_retriever(run, None).embedder,
            output=Path(output) if output else None,
        )
        if output is None:
            run.run.finish("distill")
        else:
            made = Path(output)
            processes.on_first("output", lambda: prerequisites.remember(run.run, "distill", made))
        print(
            f"skill bank: {len(bank)} entries in {output or run.run.file('distill', 'bank.json')}"
        )


def sft(
    config: Config,
    workdir: Path,
    *,
    skill_bank: str | None = None,
    num_examples: int | None = None,
    trajectories: str | None = None,
) -> None:
    """Runs phase 3 alone.

    Args:
      config: the settings.
      workdir: the run directory.
      skill_bank: a file; by default the bank that distill wrote for this run.
      num_examples: the most steps to imitate; ``sft.num_examples`` by default.
      trajectories: a file to imitate; by default what collect wrote for this run.

    Raises:
      SkillRLError: one of the two is missing, or there is no success to imitate.
    """
    with open_session(config, workdir) as run:
        path = _trajectories(run, trajectories)
        bank = report.bank_on_first(lambda: prerequisites.bank(run.run, skill_bank))
        model = open_model(config, open_mesh(config))
        retriever = open_retriever(run, model)
        _announce(run, model, "sft", num_examples=num_examples)
        prompts.look(
            run, bank, model=model, retriever=retriever, phase="sft", tasks=run.suite.tasks("train")
        )
        policy = sft_phase(
            run,
            load_policy(run, model),
            bank=bank,
            trajectories=path,
            model=model,
            agent=open_agent(config, run.suite, model),
            retriever=retriever,
            teacher=open_teacher(run),
            num_examples=num_examples,
        )
        save_bank(bank, run.run.file(*prerequisites.SFT_BANK))  # its evaluation wants the same
        run.run.finish("sft")
        export(config, model, params=policy, directory=run.run.file("sft", "policy"))
        print(f"cold-started policy: {run.run.file('sft', 'policy')}")


def rl(config: Config, workdir: Path, *, skill_bank: str | None = None) -> None:
    """Runs phase 4 alone: from this run's cold start, or from ``model.policy_path``.

    Args:
      config: the settings.
      workdir: the run directory.
      skill_bank: a file; by default the bank of the cold start.

    Raises:
      SkillRLError: there is no policy or no bank to start from, or training diverged.
    """
    with open_session(config, workdir) as run:
        cold_started = prerequisites.cold_started(run.run)
        bank = report.bank_on_first(lambda: prerequisites.bank(run.run, skill_bank))
        model = open_model(config, open_mesh(config))
        retriever = open_retriever(run, model)
        _announce(run, model, "rl")
        prompts.look(
            run, bank, model=model, retriever=retriever, phase="rl", tasks=run.suite.tasks("train")
        )
        policy = _sft_policy(run, model) if cold_started else load_policy(run, model)
        player = open_player(run, model, retriever)
        policy, bank = rl_phase(
            run, policy, bank, model=model, player=player, teacher=open_teacher(run)
        )
        export(config, model, params=policy, directory=run.run.file("policy"))
        report.finish(run, bank)


def evaluate(
    config: Config,
    workdir: Path,
    *,
    checkpoint: str = "rl",
    split: str | None = None,
    concurrency: int | None = None,
    repeats: int | None = None,
    temperature: float | None = None,
    output: str | None = None,
    bank: str | None = None,
) -> None:
    """Evaluates a policy on fixed manifests and prints the table; changes nothing in the run.

    Args:
      config: the settings.
      workdir: the run directory.
      checkpoint: ``base``, ``sft``, ``rl``, or a Hugging Face directory.
      split: names of splits with commas between them; ``evaluation.splits`` by default.
      concurrency: episodes alive at once; changes speed alone.
      repeats: how often each task is played; ``evaluation.repeats`` by default.
      temperature: of sampling, 0 is greedy; ``evaluation.temperature`` by default.
      output: a JSON file for the result; trajectories go beside it.
      bank: arms with commas between them, see `skillrl.skills.controls`: ``none``, ``own``,
        ``initial``, a file, ``shuffled`` or ``neutral``; ``none`` is played too, for the others to
        be compared with. By default the bank that belongs to the checkpoint, and no comparison.

    Raises:
      SkillRLError: there is no such checkpoint, split or bank.
    """
    config = prerequisites.evaluated(config, checkpoint)
    with open_session(config, workdir, lock=False) as run:
        model = _local_model(config)
        retriever = open_retriever(run, model)
        _announce(run, model, "evaluate", split=split, repeats=repeats, bank=bank)
        policy, own = load_stage(run, model, checkpoint)
        player = open_player(run, model, retriever)
        if policy is not None:
            publish(config, player, params=policy, version=0)
        splits = split.split(",") if split else list(config.evaluation.splits)
        _warn_of_departures(run, splits=splits, temperature=temperature, repeats=repeats)
        limit = config.evaluation.max_tasks or None
        held_out = [task for name in splits for task in run.suite.tasks(name)[:limit]]
        arms = open_arms(
            run, bank, checkpoint=checkpoint, own=own, retriever=retriever, model=model,
            tasks=held_out,
        )  # fmt: skip
        evaluate_command(
            run,
            player,
            checkpoint=checkpoint,
            arms=arms,
            splits=splits,
            temperature=temperature,
            repeats=repeats,
            concurrency=concurrency or 0,
            output=Path(output) if output else None,
        )


def _trajectories(run: Session, given: str | None = None) -> Path:
    """Finds the trajectories to learn from; see `prerequisites.trajectories`."""
    return processes.on_first(
        "trajectories",
        lambda: prerequisites.trajectories(run.run, given),
        encode=str,
        decode=Path,
    )


def _local_model(config: Config) -> Model | None:
    """Opens the policy, unless a server has it."""
    return open_model(config, open_mesh(config)) if config.model.policy == "local" else None


def _announce(run: Session, model: Model | None, name: str, **chosen: Any) -> None:
    """Warns before phases that will take hours on these devices, with the estimate."""
    if model is None:
        return
    found = estimate.loads(
        name,
        run.config,
        sizes_of(model.config),
        tasks={
            split: len(run.suite.tasks(split)) for split in SPLITS if has_tasks(run.suite, split)
        },
        categories=len(run.suite.categories),
        chosen=chosen,
    )
    if not estimate.may_be_long(found):
        return
    device = model.mesh.devices.flat[0]
    devices = 1 if device.platform == "cpu" else model.mesh.size
    peak = speed.of_device(run.config.model.dtype)
    said = estimate.announcement(found, peak, devices=devices, kind=device.device_kind)
    if said:
        print(f"warning: {said}", file=sys.stderr, flush=True)


def _warn_of_departures(run: Session, **played: Any) -> None:
    """Warns where the protocol that ``evaluation.protocol`` names is not followed."""
    said = protocol.warning(run.config, run.suite, **played)
    if said:
        print(f"warning: evaluate: {said}", file=sys.stderr, flush=True)


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


def run_phase_once(
    run: Session, phase: str, work: Callable[..., Any], *arguments: Any, **options: Any
) -> Any:
    """Does ``work(run, *arguments, **options)`` unless `phase` is finished; None if it was."""
    if run.run.finished(phase) is not None:
        return None
    result = work(run, *arguments, **options)
    run.run.finish(phase)
    return result


def _cold_start(
    run: Session,
    base: Params,
    *,
    model: Model,
    player: Player,
    teacher: Teacher,
    bank: SkillBank,
    trajectories: Path,
) -> Params:
    """Trains the cold-started policy or reads it; what of it is corrupt is trained again."""
    again = functools.partial(
        sft_phase,
        run,
        base,
        bank=bank,
        trajectories=trajectories,
        model=model,
        agent=player.agent,
        retriever=player.retriever,
        teacher=teacher,
    )
    if run.run.finished("sft") is None:
        policy = again()
        run.run.finish("sft")
        return policy
    try:
        return _sft_policy(run, model)
    except Corrupt as error:
        _LOG.warning("%s", error)
        return again()  # to the same bits


def _sft_policy(run: Session, model: Model) -> Params:
    policy = load_sft(run, model)
    if policy is None:
        raise SkillRLError(
            f"{run.run.path}: the cold start is marked as finished but checkpoints/sft is gone. "
            "Restore it from a copy, repeat it (skillrl sft with this --workdir), or start in a "
            "new --workdir."
        )
    return policy
