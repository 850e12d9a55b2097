"""Phase 3: cold start on skill-augmented demonstrations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.config.settings import CollectConfig
from skillrl.errors import Corrupt, SkillRLError
from skillrl.io import records
from skillrl.io.checksums import digest
from skillrl.io.files import atomic_write, read_jsonl, sealed_line
from skillrl.models.transformer import Params
from skillrl.parallel.random_keys import SFT
from skillrl.phases.collect import load
from skillrl.phases.health import Skips, Watch
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.demonstrations import rewrite_thoughts
from skillrl.training.batch import make_minibatch
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.demonstrations import Example, examples, sample_of
from skillrl.training.losses import sft_loss
from skillrl.training.steps import build_updater
from skillrl.training.update import TrainState, host_metrics
from skillrl.types import Trajectory

_LOG = logging.getLogger(__name__)


def sft(
    session: Session,
    base: Params,
    bank: SkillBank,
    trajectories: Path,
    *,
    num_examples: int | None = None,
) -> Params:
    """Fine-tunes `base` and returns the parameters; also in ``checkpoints/sft``."""
    config = session.config.sft
    limit = config.num_examples if num_examples is None else num_examples
    with session.timed("sft"):
        inputs = _fingerprint(bank, trajectories, limit)
        data = _examples_before(session, inputs)
        if data is None:
            data = make_examples(session, bank, load(session, trajectories))
            data = data[:limit] if limit else data
        if not data:
            raise SkillRLError(
                f"{trajectories} holds no success to imitate: collect more episodes "
                "(collect.episodes), or add expert ones (collect.expert_episodes)"
            )
        if len(data) < limit:
            print(_too_few(len(data), limit, session.config.collect), flush=True)
        lines = "".join(_line(example) for example in data)
        taught = {
            "examples": len(data),
            "sha256": hashlib.sha256(lines.encode()).hexdigest(),
            "inputs": inputs,
        }

        per_epoch = math.ceil(len(data) / config.batch_size)
        total = per_epoch * config.epochs
        updater = build_updater(
            config=session.model,
            partition=session.partition,
            mesh=session.mesh,
            loss=lambda logprobs, batch: (
                (loss := sft_loss(logprobs, batch.weights)),
                {"loss": loss},
            ),
            remat=session.config.model.remat,
            logprob_chunk=session.config.train_batch.logprob_chunk,
            learning_rate=config.learning_rate,
            schedule="linear",
            total_steps=total + 1,
            warmup_steps=min(total, math.ceil(config.warmup_fraction * total)),
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
        )
        shapes, partition = session.shapes(samples_per_row=1), session.partition
        state, frozen = updater.init(partition.trained(base)), partition.frozen(base)
        with Checkpoints(
            session.run.file("checkpoints", "sft"), keep=session.config.checkpoint.keep
        ) as checkpoints:
            done, found = 0, checkpoints.resume(updater.abstract_state)
            if found is not None:
                done, state, extra = found
                _check_same_data(session, extra, taught)
            atomic_write(
                session.run.file("sft", "examples.jsonl"),
                "".join(sealed_line(example.to_json()) for example in data),
            )
            skips = Skips(config.max_skipped_updates, "sft.max_skipped_updates")
            session.metrics.resume("sft", done * per_epoch)
            watch = Watch("sft", session.metrics.rows("sft"))
            with session.progress("sft", total, unit="update", done=done * per_epoch) as bar:
                for epoch in range(done, config.epochs):
                    order = np.random.default_rng([session.seed, SFT, epoch]).permutation(len(data))
                    for at in range(per_epoch):
                        chosen = order[at * config.batch_size : (at + 1) * config.batch_size]
                        batch = make_minibatch(
                            [sample_of(data[i], int(i)) for i in sorted(chosen)], shapes
                        )
                        state, metrics = session.wait_for(
                            "update", updater.update, state, batch, frozen
                        )
                        numbers = session.wait_for("update", host_metrics, metrics)
                        numbers |= {"padding": batch.padding}
                        row = session.metrics.write("sft", epoch * per_epoch + at + 1, numbers)
                        watch.look(row)
                        bar.update(loss=numbers["loss"])
                        skips.count(numbers)
                        skips.check(_last_good(checkpoints))
                    checkpoints.save(epoch + 1, state, taught)
        policy = partition.merge(state.params, base)
        if session.config.lora.rank:
            folder = session.run.file("sft", "adapter")
            session.export_adapter(state.params, folder, base=session.policy_dir)
            session.export(policy, session.run.file("sft", "policy"))  # the next adapter's base
    return policy


def _fingerprint(bank: SkillBank, trajectories: Path, limit: int) -> str:
    """Of all that the examples are made of but the teacher's words."""
    content = [digest(trajectories), [dataclasses.astuple(skill)[:6] for skill in bank.skills]]
    return hashlib.sha256(json.dumps([*content, limit]).encode()).hexdigest()


def _examples_before(session: Session, inputs: str) -> list[Example] | None:
    """The examples that a phase cut short had begun with, if they were made of the same.

    A teacher that is asked again may write other thoughts: then the rest of the phase would
    be about other data than its beginning.
    """
    path = session.run.file("sft", "examples.jsonl")
    with Checkpoints(session.run.file("checkpoints", "sft")) as checkpoints:
        for step in reversed(checkpoints.steps()):
            try:
                extra = checkpoints.extra(step)
            except Corrupt:
                continue  # the phase says so when it resumes
            if extra.get("inputs") != inputs or not path.exists():
                return None
            found = [records.read(Example, row) for row in read_jsonl(path, required=True)]
            lines = "".join(_line(example) for example in found)
            same = hashlib.sha256(lines.encode()).hexdigest() == extra["sha256"]
            return found if same else None
    return None


def _last_good(checkpoints: Checkpoints) -> str:
    latest = checkpoints.latest()
    if latest is None:
        return "There is no checkpoint yet; the base policy is as it was."
    return f"The last good state is that after epoch {latest}, in {checkpoints.directory}."


def _too_few(there: int, asked: int, config: CollectConfig) -> str:
    return (
        f"{there} examples, fewer than the {asked} asked for: all valid steps of the successes "
        f"that were collected. For more, collect more episodes (--episodes, now "
        f"{config.episodes} by default) or demonstrations (collect.expert_episodes, now "
        f"{config.expert_episodes}) in a new --workdir."
    )


def _check_same_data(session: Session, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if before["sha256"] != now["sha256"]:
        count, other = before["examples"], now["examples"]
        raise SkillRLError(
            f"sft: {session.run.path} was cold-started on {count} examples, now there are "
            + (f"{other}" if other != count else "as many others")
            + ": repeat --num_examples and --skill_bank as they were, or name another --workdir"
        )


def make_examples(
    session: Session, bank: SkillBank, trajectories: Sequence[Trajectory]
) -> list[Example]:
    """Own successes rewritten by the teacher, and the expert's episodes as they are."""
    found: list[Example] = []
    written = without = 0
    for trajectory in trajectories:
        if not trajectory.won:
            continue
        skills = session.skills(bank, trajectory.task)
        if trajectory.source == "expert":
            thoughts: tuple[str, ...] | None = tuple(
                session.agent.thought(step.response) for step in trajectory.steps
            )
        else:
            thoughts = rewrite_thoughts(trajectory, teacher=session.teacher, skills=skills)
            written, without = (
                (written, without + 1) if thoughts is None else (written + 1, without)
            )
        if thoughts is not None:
            found += examples(trajectory, thoughts, skills=skills, agent=session.agent)
    if without and not written:
        raise SkillRLError(
            f"sft: the teacher wrote thoughts for none of the {without} success(es) of the policy, "
            "so something stands in its way (the log has its last words). Mend that and start the "
            "same command again; to learn from demonstrations alone, give sft trajectories without "
            "the policy's own."
        )
    if without:
        _LOG.warning("sft: the teacher wrote no thoughts for %d success(es), left out", without)
    return found


def load_sft(session: Session) -> Params | None:
    """Parameters of a finished cold start in this run directory, or None."""
    with Checkpoints(session.run.file("checkpoints", "sft")) as checkpoints:
        step = checkpoints.latest()
        if step is None or session.run.finished("sft") is None:
            return None
        updater = build_updater(
            config=session.model,
            partition=session.partition,
            mesh=session.mesh,
            loss=lambda logprobs, batch: (logprobs.sum(), {}),
            remat=session.config.model.remat,
            logprob_chunk=session.config.train_batch.logprob_chunk,
            learning_rate=0.0,
            total_steps=1,
        )
        restored, _ = checkpoints.restore(step, updater.abstract_state)
        assert isinstance(restored, TrainState)
        if session.partition.whole:
            return restored.params
        return session.partition.merge(restored.params, session.load_policy())


def _line(example: Example) -> str:
    return json.dumps(example.to_json(), ensure_ascii=False) + "\n"
