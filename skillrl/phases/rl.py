"""Phase 4: GRPO with retrieved skills, while the bank evolves from training failures.

One iteration: tasks -> retrieve skills -> G episodes each -> advantages -> minibatches
of whole groups -> updates. Every ``evolution.validation_interval`` iterations the
failures of weak categories since the last event go to the teacher.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.config.settings import RLConfig
from skillrl.errors import SkillRLError
from skillrl.evaluation.evaluate import evaluate
from skillrl.io.files import append_sealed, truncate_jsonl
from skillrl.models.transformer import Params
from skillrl.parallel import random_keys
from skillrl.phases.health import Skips, Watch
from skillrl.phases.session import Session, outcome
from skillrl.phases.sft import load_sft
from skillrl.rollout import store
from skillrl.skills.bank import SkillBank
from skillrl.skills.evolve import evolve
from skillrl.skills.store import bank_from_json, bank_to_json, load_bank, save_bank
from skillrl.training.batch import Sample, make_minibatch
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.losses import combine_metrics, grpo_loss
from skillrl.training.packing import Shapes
from skillrl.training.rollouts import choose_tasks, episode_return, to_samples
from skillrl.training.steps import build_updater
from skillrl.training.update import (
    TrainState,
    Updater,
    host_metrics,
    with_old,
    with_reference,
)
from skillrl.types import Trajectory

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class Cursor:
    """What the host knows at the start of an iteration; saved with every checkpoint."""

    iteration: int
    bank: SkillBank
    since_event: list[Trajectory]


@dataclasses.dataclass(frozen=True)
class Learner:
    """What an iteration learns with; it stays the same throughout.

    Attributes:
      updater: of GRPO.
      shapes: compiled ones of a minibatch.
      reference: pi_ref, a whole policy.
      frozen: what of it is not trained and belongs to every later policy.
      join: ``(trained, frozen) -> whole policy``.
    """

    updater: Updater
    shapes: Shapes
    reference: Params
    frozen: Params
    join: Callable[[Params, Params], Params]

    def policy(self, state: TrainState) -> Params:
        """The policy of a state; its trained part goes with the next update."""
        return self.join(state.params, self.frozen)


def rl(session: Session, reference: Params, bank: SkillBank) -> tuple[Params, SkillBank]:
    """Trains from `reference` (the SFT policy, which stays pi_ref); returns policy and bank."""
    config, partition = session.config.rl, session.partition
    learner = Learner(
        _updater(session),
        session.shapes(samples_per_row=session.config.train_batch.members),
        reference,
        partition.frozen(reference),
        partition.join,
    )
    state = learner.updater.init(partition.trained(reference))
    keep = session.config.checkpoint.keep
    with (
        session.timed("rl"),
        Checkpoints(session.run.file("checkpoints", "rl"), keep=keep) as checkpoints,
    ):
        state, now = _resume(session, checkpoints, learner.updater, state, bank)
        skips = Skips(config.max_skipped_updates, "rl.max_skipped_updates")
        watch = Watch("rl", session.metrics.rows("rl"))
        bar = session.progress("rl", config.training_epochs, unit="iteration", done=now.iteration)
        with bar:
            while now.iteration < config.training_epochs:
                trajectories = _rollouts(session, learner.policy(state), now)
                state, metrics = _update(session, learner, state, trajectories, skips)
                now.bank = now.bank.record_use(trajectories)
                if session.config.evolution.enabled:
                    now.since_event += trajectories
                now.iteration += 1
                metrics |= outcome(trajectories) | _evolution(session, now)
                metrics |= _quick_look(session, learner.policy(state), now)
                watch.look(session.metrics.write("rl", now.iteration, metrics))
                _checkpoint(session, checkpoints, state, now, due=skips.too_many)
                skips.check(f"The last good state is checkpoint {now.iteration}, just saved.")
                bar.update(success=metrics["success"], invalid=metrics["invalid"])
        if session.config.lora.rank:
            session.export_adapter(
                state.params, session.run.file("adapter"), base=session.run.file("sft", "policy")
            )
    return partition.merge(state.params, reference), now.bank


def _rollouts(session: Session, policy: Params, now: Cursor) -> list[Trajectory]:
    """G episodes of each of the iteration's tasks, in canonical order; also on disk."""
    config = session.config.rl
    tasks = choose_tasks(
        session.suite.tasks("train"),
        config.batch_size // config.group_size,
        iteration=now.iteration,
        seed=session.seed,
    )
    session.publish(policy, now.iteration * config.minibatches)
    jobs = [
        session.job(
            task,
            now.bank,
            phase=random_keys.RL,
            iteration=now.iteration,
            member=member,
            repeat=tasks[:at].count(task),  # above 0 only where tasks are fewer than groups
        )
        for at, task in enumerate(tasks)
        for member in range(config.group_size)
    ]
    trajectories = session.play(jobs, temperature=config.temperature)
    store.write(
        session.run.file("rl", "trajectories", f"{now.iteration + 1:05d}.jsonl"), trajectories
    )
    return trajectories


def _update(
    session: Session,
    learner: Learner,
    state: TrainState,
    trajectories: Sequence[Trajectory],
    skips: Skips,
) -> tuple[TrainState, dict[str, float]]:
    """One pass over the iteration in minibatches of whole groups."""
    config, updater = session.config.rl, learner.updater
    groups = to_samples(trajectories, config)
    minibatches = [
        [sample for index in part for sample in groups[index]]
        for part in np.array_split(np.arange(len(groups)), config.minibatches)
    ]
    batches = [
        make_minibatch(
            samples,
            learner.shapes,
            aggregation=config.loss_aggregation,
            micro_batch=config.loss_micro_batch,
        )
        for samples in minibatches
        if samples
    ]
    if config.old_logprobs == "recomputed":
        policy = learner.policy(state)
        batches = [
            with_old(batch, session.wait_for("scoring", updater.score, policy, batch))
            for batch in batches
        ]
    totals: dict[str, float] = {}
    fresh: dict[str, float] = {}  # the gap before any update of this iteration
    for number, batch in enumerate(batches, 1):
        doing = f"update {number} of {len(batches)}"
        ref = session.wait_for(f"scoring for {doing}", updater.score, learner.reference, batch)
        state, metrics = session.wait_for(
            doing, updater.update, state, with_reference(batch, ref), learner.frozen
        )
        numbers = session.wait_for(doing, host_metrics, metrics)
        skips.count(numbers)
        fresh = fresh or {"sampler_gap_fresh": numbers["sampler_gap"]}
        totals = combine_metrics(totals, numbers) if totals else numbers
    count = max(1, len(batches))
    means = {
        name: value if name.endswith(("_max", "skipped")) else value / count
        for name, value in totals.items()
    }
    means |= fresh
    flat: list[Sample] = [sample for group in groups for sample in group]
    means |= {
        "padding": float(np.mean([batch.padding for batch in batches])) if batches else 0.0,
        "rows": float(len(flat)),
        "zero_variance_groups": float(_zero_variance(trajectories, config)),
        "response_tokens": float(np.mean([len(s.response_ids) for s in flat])) if flat else 0.0,
        "prompt_tokens": float(np.mean([len(s.prefix_ids) + len(s.suffix_ids) for s in flat]))
        if flat
        else 0.0,
    }
    return state, means


def _zero_variance(trajectories: Sequence[Trajectory], config: RLConfig) -> float:
    """Share of groups whose episodes all ended alike: they teach through the KL term alone."""
    size = config.group_size
    groups = [trajectories[at : at + size] for at in range(0, len(trajectories), size)]
    same = [
        len({episode_return(t, config.reward) for t in group if not t.error}) <= 1
        for group in groups
    ]
    return sum(same) / max(1, len(same))


def _evolution(session: Session, now: Cursor) -> dict[str, float]:
    """Lets the bank evolve if this iteration ends an interval."""
    config = session.config.evolution
    if not config.enabled or now.iteration % config.validation_interval:
        return {"bank_version": now.bank.version, "bank_size": len(now.bank)}
    now.bank, event = evolve(
        now.bank,
        now.since_event,
        teacher=session.teacher,
        step=now.iteration,
        embedder=session.embedder,
        evolution_threshold=config.evolution_threshold,
        min_episodes=config.min_episodes,
        max_new_skills=config.max_new_skills,
        max_analysis_deep=config.max_analysis_deep,
        max_analysis_shallow=config.max_analysis_shallow,
    )
    now.since_event = []
    append_sealed(session.run.file("rl", "evolution.jsonl"), event.to_json())
    save_bank(now.bank, session.run.file("banks", f"{now.bank.version}.json"))
    return {
        "bank_version": now.bank.version,
        "bank_size": len(now.bank),
        "evolved": len(event.added) + len(event.refined),
    }


def _quick_look(session: Session, policy: Params, now: Cursor) -> dict[str, float]:
    """Greedy success on the first few held-out tasks; for the curve, never for a decision."""
    config = session.config.evaluation
    if not config.quick_tasks or now.iteration % config.quick_interval:
        return {}
    session.publish(policy, now.iteration * session.config.rl.minibatches)
    values = {}
    for split in config.splits:
        result, _ = evaluate(
            session, now.bank, split, label=f"look {split}", limit=config.quick_tasks, repeats=1
        )
        if result["n"]:
            values[f"quick_{split}"] = result["success"]
    return values


def _checkpoint(
    session: Session, checkpoints: Checkpoints, state: TrainState, now: Cursor, *, due: bool
) -> None:
    """Saves at the end of an interval and of the phase, and where it is `due` before."""
    total = session.config.rl.training_epochs
    if not due and now.iteration % session.config.checkpoint.interval and now.iteration != total:
        return
    interval = session.config.evolution.validation_interval
    extra: dict[str, Any] = {
        "iteration": now.iteration,
        "bank": bank_to_json(now.bank),
        "since_event": now.iteration % interval if session.config.evolution.enabled else 0,
    }
    checkpoints.save(now.iteration, state, extra)


def _resume(
    session: Session,
    checkpoints: Checkpoints,
    updater: Updater,
    state: TrainState,
    bank: SkillBank,
) -> tuple[TrainState, Cursor]:
    """The latest whole checkpoint, with all files cut back to it; or the beginning."""
    now = Cursor(0, bank, [])
    if checkpoints.latest() is not None:
        _check_start(session, bank)
    found = checkpoints.resume(updater.abstract_state)
    if found is not None:
        _, state, extra = found
        now = Cursor(extra["iteration"], bank_from_json(extra["bank"]), [])
        for iteration in range(now.iteration - extra["since_event"], now.iteration):
            path = session.run.file("rl", "trajectories", f"{iteration + 1:05d}.jsonl")
            now.since_event += store.read(path)
    else:
        _check_beginning(session)
        save_bank(bank, session.run.file("banks", f"{bank.version}.json"))
    session.metrics.resume("rl", now.iteration)
    events = session.run.file("rl", "evolution.jsonl")
    truncate_jsonl(events, lambda row: row["step"] <= now.iteration, required=True)
    _unlink_later(session.run.file("rl", "trajectories").glob("*.jsonl"), now.iteration)
    _unlink_later(session.run.file("banks").glob("*.json"), now.bank.version)
    return state, now


def _check_beginning(session: Session) -> None:
    """Refuses to begin anew where a checkpoint must have been: it would delete what is later."""
    rows = session.metrics.rows("rl")
    last = max((row["step"] for row in rows), default=0)
    if last > session.config.checkpoint.interval:
        raise SkillRLError(
            f"{session.run.path}: RL has come to iteration {last} here, but "
            f"{session.run.file('checkpoints', 'rl')} has no checkpoint. Restore that directory "
            "from where the run was copied, or start in a new --workdir; nothing was changed."
        )
    if last:
        _LOG.warning("rl: no checkpoint yet, so iterations 1 to %d are played again", last)


def _unlink_later(paths: Iterable[Path], last: int) -> None:
    """Removes files numbered above `last`; one with another name is not ours."""
    for path in paths:
        if path.stem.isdecimal() and int(path.stem) > last:
            path.unlink()


def _check_start(session: Session, bank: SkillBank) -> None:
    """Refuses another initial bank than the one that the phase began with."""
    path = session.run.file("banks", f"{bank.version}.json")

    def words(bank: SkillBank) -> list[tuple[str, ...]]:
        return [
            (s.id, s.category, s.kind, s.title, s.principle, s.when_to_apply) for s in bank.skills
        ]

    if not path.exists() or words(load_bank(path)) != words(bank):
        raise SkillRLError(
            f"{session.run.path}: RL began here with another skill bank than the one given now, "
            "and a checkpoint carries its evolved successor. Continue without --skill_bank (or "
            "with the same one), or start in a new --workdir."
        )


def load_rl(session: Session) -> tuple[Params, SkillBank] | None:
    """Policy and bank of the latest RL checkpoint in this run directory, or None."""
    with Checkpoints(session.run.file("checkpoints", "rl")) as checkpoints:
        latest = checkpoints.latest()
        if latest is None:
            return None
        state, extra = checkpoints.restore(latest, _updater(session).abstract_state)
        trained, bank = state.params, bank_from_json(extra["bank"])
    if session.partition.whole:
        return trained, bank
    return session.partition.merge(trained, load_sft(session) or session.load_policy()), bank


def _updater(session: Session) -> Updater:
    config = session.config.rl
    total = max(1, config.training_epochs) * config.minibatches

    def loss(logprobs, batch):
        return grpo_loss(
            logprobs,
            old=batch.old,
            ref=batch.ref,
            advantages=batch.advantages,
            weights=batch.weights,
            clip_low=config.clip_epsilon,
            clip_high=config.clip_epsilon_high or config.clip_epsilon,
            kl_coeff=config.kl_coeff,
            kl_estimator=config.kl_estimator,
            clip_ratio_c=config.clip_ratio_c,
        )

    return build_updater(
        config=session.model,
        partition=session.partition,
        mesh=session.mesh,
        loss=loss,
        remat=session.config.model.remat,
        logprob_chunk=session.config.train_batch.logprob_chunk,
        entropy_coeff=config.entropy_coeff,
        learning_rate=config.learning_rate,
        schedule=config.lr_schedule,
        total_steps=total + 1,
        warmup_steps=config.warmup_iterations * config.minibatches,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
    )
