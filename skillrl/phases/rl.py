"""Runs phase 4: GRPO with retrieved skills, while the bank evolves from training failures.

One iteration: tasks -> retrieve skills -> G episodes each -> advantages -> minibatches
of whole groups -> updates. Every ``evolution.validation_interval`` iterations skills are examined
(``evolution.exam_share``), and the failures of weak categories since the last event go to the
teacher.

Departures from GRPO (arXiv 2402.03300, section 4.1.2) that hold by default, each a setting:

- The sample is an episode of many steps: its return is 1 if it was won (``rl.reward``), it is
  compared with the other episodes of its task, and all its steps are trained with its advantage.
- The loss is a mean over all response tokens of a minibatch, not of each response first
  (``rl.loss_aggregation``): a long response counts by its tokens.
- Log-probabilities of the old policy are those that sampling saw, not computed again
  (``rl.old_logprobs``); the gap between the two is a metric.
- A ratio above 3 at a negative advantage has no gradient (``rl.clip_ratio_c``), and the KL
  estimator k3 ends in its tangent (``rl.kl_estimator``), so that no single token owns an update.
- With ``rollout.max_staleness`` above 0 a server plays ahead while this process learns; then the
  old policy is the one before the iteration's updates, and ``rl.importance`` weighs what an
  earlier one has sampled (`phases.ahead`).

Left out: the outer loop that replaces the reference policy (pi_ref stays the cold-started one),
the reward model, and process supervision.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skillrl.evaluation.evaluate import outcome
from skillrl.io.files import append_sealed
from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.parallel import host_memory, processes
from skillrl.phases import rl_files, saved, stopping
from skillrl.phases.ahead import Rollouts, read_episodes
from skillrl.phases.build import (
    export_adapter,
    load_policy,
    make_partition,
    make_shapes,
    rl_updater,
)
from skillrl.phases.examine import hold_exams
from skillrl.phases.health import Skips, Watch
from skillrl.phases.held_out import evaluate_split
from skillrl.phases.session import Session
from skillrl.phases.sft import load_sft
from skillrl.rollouts.player import Player
from skillrl.skills.bank import SkillBank
from skillrl.skills.evolve import evolve
from skillrl.skills.store import bank_from_json, bank_to_json, save_bank
from skillrl.skills.utility import estimates
from skillrl.teacher.base import Teacher
from skillrl.teacher.once import alone
from skillrl.training.bare import single_skill_exams, skill_gain, with_skills
from skillrl.training.batch import Sample
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.grpo import Learner, make_minibatches, train_on
from skillrl.training.rollouts import to_samples, zero_variance
from skillrl.training.update import TrainState, Updater
from skillrl.types import Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cursor:
    """Holds what the host knows between two iterations; saved with every checkpoint.

    Attributes:
      iteration: how many are done.
      bank: the skills that the next iteration retrieves from.
      since_event: training episodes with skills that the next look at failures will see.
    """

    iteration: int
    bank: SkillBank
    since_event: tuple[Trajectory, ...] = ()


def rl(
    session: Session,
    reference: Params,
    bank: SkillBank,
    *,
    model: Model,
    player: Player,
    teacher: Teacher,
) -> tuple[Params, SkillBank]:
    """Trains a policy with GRPO while its skill bank evolves.

    Args:
      session: of the run; a phase that was cut short goes on from its last checkpoint.
      reference: parameters to start from, the cold-started ones; they stay pi_ref.
      bank: the skills to start with.
      model: the policy's architecture.
      player: plays the episodes.
      teacher: writes new skills.

    Returns:
      Parameters of the trained policy, and the bank that evolved beside it.

    Raises:
      SkillRLError: training diverged, or what is on disk does not fit this run.
    """
    config = session.config.rl
    partition = make_partition(session.config, model, seed=session.seed)
    learner = Learner(
        updater=rl_updater(session.config, model, partition),
        shapes=make_shapes(
            session.config, model, samples_per_row=session.config.train_batch.members
        ),
        reference=reference,
        frozen=partition.frozen(reference),
        join=partition.join,
    )
    state = learner.updater.init(partition.trained(reference))
    with (
        session.clock.timed("rl"),
        saved.checkpoints(session.run, "rl") as checkpoints,
        Rollouts(session, player) as rollouts,
    ):
        state, now = _resume(session, checkpoints, updater=learner.updater, state=state, bank=bank)
        skips = Skips(config.max_skipped_updates, "rl.max_skipped_updates")
        watch = Watch(
            "rl",
            session.metrics.rows("rl"),
            ends_phase=session.config.logging.stop_on_alarm,
        )
        if now.iteration < config.training_epochs:
            watch.check(f"The run has come to iteration {now.iteration}.")
        with session.display.progress(
            "rl", config.training_epochs, unit="iteration", done=now.iteration
        ) as bar:
            while now.iteration < config.training_epochs:
                version = now.iteration * config.minibatches
                saves = functools.partial(
                    _checkpoint, session, checkpoints, state=state, now=now, due=True
                )
                # What is played ahead is not finished, so the checkpoint before it stands.
                stops = stopping.saving(saves, at=now.iteration)
                with contextlib.nullcontext() if session.config.rollout.max_staleness else stops:
                    trajectories = rollouts.take(
                        now.iteration, now.bank, params=learner.policy(state), version=version
                    )
                host_memory.release()  # the update wants more of it than the rollout
                state, metrics = _update(
                    session, learner, state=state, trajectories=trajectories, skips=skips
                )
                checkpoints.settle()  # before a row of metrics says that the run has gone on
                metrics |= outcome(trajectories) | skill_gain(trajectories, config)
                metrics |= rollouts.report | _staleness(session, trajectories, version=version)
                now = _advance(session, now, trajectories)
                if _evolves(session, now):
                    now, found = _evolve(
                        session,
                        now,
                        teacher,
                        player=player,
                        rollouts=rollouts,
                        policy=learner.policy(state),
                    )
                    metrics |= found
                metrics["bank_version"], metrics["bank_size"] = now.bank.version, len(now.bank)
                metrics |= _periodic_evaluation(
                    session, player, rollouts=rollouts, policy=learner.policy(state), now=now
                )
                watch.look(session.metrics.write("rl", now.iteration, metrics))
                _checkpoint(
                    session,
                    checkpoints,
                    state=state,
                    now=now,
                    due=skips.too_many or watch.ends,
                    success=metrics["success"],
                    before=rollouts.drain,
                )
                skips.check(f"The last good state is checkpoint {now.iteration}, just saved.")
                watch.check(f"Checkpoint {now.iteration} is just saved.")
                bar.update(success=metrics["success"], invalid=metrics["invalid"])
        if session.config.lora.rank:
            export_adapter(
                session.config,
                model,
                trained=state.params,
                directory=session.run.file("adapter"),
                base=session.run.file("sft", "policy"),
            )
    return partition.merge(state.params, reference), now.bank


def _staleness(
    session: Session, trajectories: Sequence[Trajectory], *, version: int
) -> dict[str, float]:
    """Counts the iterations between the policy that played and `version`, which is to be updated.

    Returns:
      Metrics by name; none where nothing is played ahead.
    """
    if not session.config.rollout.max_staleness:
        return {}
    oldest = min(trajectory.policy_version for trajectory in trajectories)
    return {"staleness": (version - oldest) / session.config.rl.minibatches}


def _update(
    session: Session,
    learner: Learner,
    *,
    state: TrainState,
    trajectories: Sequence[Trajectory],
    skips: Skips,
) -> tuple[TrainState, dict[str, float]]:
    """Passes once over the iteration in minibatches of whole groups.

    Args:
      session: the run.
      learner: what the state learns with.
      state: the state of training, which is donated.
      trajectories: the episodes of the iteration, group after group.
      skips: counts updates that change nothing, and ends the phase at too many.

    Returns:
      The new state, and metrics by name.
    """
    config = session.config.rl
    groups = to_samples(trajectories, config)
    batches = make_minibatches(groups, config, learner.shapes)
    state, metrics = train_on(
        state,
        batches,
        learner,
        config=config,
        stale=session.config.rollout.max_staleness > 0,
        wait_for=session.display.wait_for,
        on_update=skips.count,
    )
    flat: list[Sample] = [sample for group in groups for sample in group]
    metrics |= {
        "padding": float(np.mean([batch.padding for batch in batches])) if batches else 0.0,
        "rows": float(len(flat)),
        "zero_variance_groups": float(zero_variance(trajectories, config)),
        "response_tokens": float(np.mean([len(s.response_ids) for s in flat])) if flat else 0.0,
        "prompt_tokens": float(np.mean([len(s.prefix_ids) + len(s.suffix_ids) for s in flat]))
        if flat
        else 0.0,
    }
    return state, metrics


def _advance(session: Session, now: Cursor, trajectories: Sequence[Trajectory]) -> Cursor:
    """Counts an iteration, the use of its skills, and its episodes for the next event."""
    config = session.config
    seen = with_skills(trajectories, config.rl) if config.evolution.enabled else ()
    exams = single_skill_exams(
        trajectories,
        config.rl,
        step=now.iteration + 1,
        policy_version=now.iteration * config.rl.minibatches,
    )
    return Cursor(
        iteration=now.iteration + 1,
        bank=now.bank.record_use(trajectories).record_exams(exams),
        since_event=now.since_event + seen,
    )


def _evolves(session: Session, now: Cursor) -> bool:
    """Tells whether the iteration just counted ends with an event of evolution."""
    config = session.config.evolution
    return config.enabled and now.iteration % config.validation_interval == 0


def _evolve(
    session: Session,
    now: Cursor,
    teacher: Teacher,
    *,
    player: Player,
    rollouts: Rollouts,
    policy: Params,
) -> tuple[Cursor, dict[str, float]]:
    """Examines skills, and lets the bank evolve from the failures since the last event.

    Args:
      session: the run, where event and bank are written.
      now: the bank, and the episodes since the last event.
      teacher: proposes new skills.
      player: plays examinations; its embedder compares new skills with those of the bank.
      rollouts: plays ahead with the same engine, which it lends.
      policy: the parameters to be examined with.

    Returns:
      The cursor with the new bank and no episodes, and metrics by name.
    """
    config = session.config.evolution
    if config.exam_share:
        rollouts.publish(policy, now.iteration * session.config.rl.minibatches)
    tested, exams = hold_exams(session, player, now.bank, iteration=now.iteration)

    def work() -> tuple[SkillBank, dict[str, float]]:
        bank, event = evolve(
            tested,
            now.since_event,
            teacher=teacher,
            step=now.iteration,
            policy_version=now.iteration * session.config.rl.minibatches,
            embedder=alone(player.retriever.embedder),
            utility=estimates(tested),
            evolution_threshold=config.evolution_threshold,
            min_episodes=config.min_episodes,
            max_new_skills=config.max_new_skills,
            max_skills=config.max_skills,
            max_analysis_deep=config.max_analysis_deep,
            max_analysis_shallow=config.max_analysis_shallow,
            max_request_tokens=session.config.distill.max_request_tokens,
        )
        row = event.to_json() | {"bank_before": now.bank.version, "exams": exams.to_json()}
        append_sealed(session.run.file("rl", "evolution.jsonl"), row)
        save_bank(bank, session.run.file("banks", f"{bank.version}.json"))
        return bank, {
            "evolved": float(len((*event.added, *event.refined, *event.merged))),
            "retired": float(len((*event.retired, *exams.retired))),
        }

    bank, metrics = processes.on_first(
        "evolution",
        work,
        encode=lambda made: (bank_to_json(made[0]), made[1]),
        decode=lambda made: (bank_from_json(made[0]), made[1]),
    )
    return Cursor(iteration=now.iteration, bank=bank), metrics | exams.metrics()


def _periodic_evaluation(
    session: Session, player: Player, *, rollouts: Rollouts, policy: Params, now: Cursor
) -> dict[str, float]:
    """Measures greedy success on the first few held-out tasks: for the curve, not to decide by.

    Args:
      session: the run.
      player: plays the episodes.
      rollouts: plays ahead with the same engine, which it lends.
      policy: the parameters to play with.
      now: the iteration, and the bank whose skills are shown.

    Returns:
      Metrics by name; empty where no evaluation is due.
    """
    config = session.config.evaluation
    if not config.quick_tasks or now.iteration % config.quick_interval:
        return {}
    rollouts.publish(policy, now.iteration * session.config.rl.minibatches)
    values = {}
    for split in config.splits:
        result, _ = evaluate_split(
            session,
            player,
            bank=now.bank,
            split=split,
            label=f"periodic {split}",
            limit=config.quick_tasks,
            repeats=1,
        )
        if result["n"]:
            values[f"quick_{split}"] = result["success"]
    return values


def _checkpoint(
    session: Session,
    checkpoints: Checkpoints,
    *,
    state: TrainState,
    now: Cursor,
    due: bool,
    success: float | None = None,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Saves a checkpoint at the end of an interval and of the phase, and where one is `due`.

    Args:
      session: the run.
      checkpoints: those of the phase.
      state: the state of training.
      now: what the host knows beside it.
      due: whether to save in any case, and to wait until it is on disk.
      success: of the iteration's episodes, where it is known.
      before: called before something is saved.
    """
    total = session.config.rl.training_epochs
    if due:
        checkpoints.settle()
    if not due and now.iteration % session.config.checkpoint.interval and now.iteration != total:
        return
    if now.iteration in checkpoints.steps():
        return
    interval = session.config.evolution.validation_interval
    extra: dict[str, Any] = {
        "iteration": now.iteration,
        "bank": bank_to_json(now.bank),
        "since_event": now.iteration % interval if session.config.evolution.enabled else 0,
    }
    before()
    wait = due or not session.config.checkpoint.asynchronous
    checkpoints.save(now.iteration, state, extra, score=success, wait=wait)


def _resume(
    session: Session,
    checkpoints: Checkpoints,
    *,
    updater: Updater,
    state: TrainState,
    bank: SkillBank,
) -> tuple[TrainState, Cursor]:
    """Goes back to the latest whole checkpoint, or else to the beginning of the phase.

    What the run wrote after that point is cut off or deleted, so that it can be written again.

    Args:
      session: the run.
      checkpoints: those of the phase.
      updater: says what the arrays of a state look like.
      state: the state at the beginning.
      bank: the skill bank at the beginning.

    Returns:
      The state of training and what the host knew then.

    Raises:
      SkillRLError: the phase began with another bank, a checkpoint is of another model, or the
        run has come far and has no checkpoint.
    """
    now = Cursor(iteration=0, bank=bank)
    if checkpoints.latest() is not None:
        processes.on_first("first bank", lambda: rl_files.check_start(session, bank))
    found = checkpoints.resume(updater.abstract_state)
    if found is not None:
        _, state, extra = found
        done = extra["iteration"]
        played = read_episodes(session, range(done - extra["since_event"], done))
        now = Cursor(
            iteration=done,
            bank=bank_from_json(extra["bank"]),
            since_event=with_skills(played, session.config.rl),
        )
    else:
        rl_files.check_beginning(session)
        save_bank(bank, session.run.file("banks", f"{bank.version}.json"))
    session.metrics.resume("rl", now.iteration)
    ahead = session.config.rollout.max_staleness if found is not None else 0
    processes.on_first(
        "files of later iterations",
        lambda: rl_files.cut_off(
            session, iteration=now.iteration, ahead=ahead, bank_version=now.bank.version
        ),
    )
    return state, now


def load_rl(session: Session, model: Model) -> tuple[Params, SkillBank] | None:
    """Reads policy and bank of the latest RL checkpoint in this run directory, or None."""
    found = saved.read(session.run, model, "rl")
    if found is None:
        return None
    policy = saved.whole(
        session.run,
        model,
        found,
        base=lambda: load_sft(session, model) or load_policy(session, model),
    )
    return policy, bank_from_json(found.extra["bank"])
