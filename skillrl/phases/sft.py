"""Runs phase 3: the cold start on skill-augmented demonstrations."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skillrl.agent.agent import SkillAgent
from skillrl.config.settings import CollectConfig, Config
from skillrl.errors import Corrupt, SkillRLError
from skillrl.io import records
from skillrl.io.atomic import atomic_write
from skillrl.io.checksums import digest
from skillrl.io.files import read_jsonl, sealed_line
from skillrl.models.policy import Model
from skillrl.models.transformer import Params
from skillrl.parallel import processes, random_keys
from skillrl.phases import saved
from skillrl.phases.build import (
    export,
    export_adapter,
    load_policy,
    make_partition,
    make_shapes,
    make_updater,
)
from skillrl.phases.collect import load
from skillrl.phases.health import Skips, Watch
from skillrl.phases.session import Session
from skillrl.skills.bank import SkillBank
from skillrl.skills.demonstrations import rewrite_thoughts
from skillrl.skills.retrieval import Retriever
from skillrl.teacher.base import Teacher
from skillrl.teacher.once import alone
from skillrl.training.batch import Sample, make_minibatch
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.demonstrations import Example, examples, sample_of
from skillrl.training.losses import sft_loss
from skillrl.training.partition import Partition
from skillrl.training.update import LossFn, Updater, host_metrics
from skillrl.types import Trajectory

_LOG = logging.getLogger(__name__)


def sft(
    session: Session,
    base: Params,
    *,
    bank: SkillBank,
    trajectories: Path,
    model: Model,
    agent: SkillAgent,
    retriever: Retriever,
    teacher: Teacher,
    num_examples: int | None = None,
) -> Params:
    """Fine-tunes a policy on skill-augmented demonstrations.

    Args:
      session: of the run; a phase that was cut short goes on from its last epoch.
      base: parameters to start from.
      bank: the skills that demonstrations show.
      trajectories: the file of episodes; successes are imitated.
      model: the policy's architecture.
      agent: builds the prompts.
      retriever: chooses the skills of a prompt.
      teacher: writes the thoughts of the policy's own successes anew.
      num_examples: the most steps to imitate; ``sft.num_examples`` by default, 0 is all.

    Returns:
      Parameters of the whole policy; they are in ``checkpoints/sft`` too.

    Raises:
      SkillRLError: there is nothing to imitate, or training diverged.
    """
    config = session.config.sft
    if not config.epochs:
        return _no_cold_start(session, base, model=model)
    limit = config.num_examples if num_examples is None else num_examples
    with session.clock.timed("sft"):
        inputs = processes.on_first("fingerprint", lambda: _fingerprint(bank, trajectories, limit))

        def make() -> list[Example]:
            asked = dataclasses.replace(retriever, embedder=alone(retriever.embedder))
            found = make_examples(
                load(session, trajectories),
                bank,
                agent=agent,
                retriever=asked,
                teacher=teacher,
                rewrite_expert=config.rewrite_expert,
            )
            return found[:limit] if limit else found

        data = _examples_before(session, inputs)
        if data is None:
            data = processes.on_first("examples", make, encode=_plain, decode=_read)
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
        partition = make_partition(session.config, model, seed=session.seed)
        updater = sft_updater(session.config, model, partition, total_steps=total)
        shapes = make_shapes(session.config, model, samples_per_row=1)
        state, frozen = updater.init(partition.trained(base)), partition.frozen(base)
        with saved.checkpoints(session.run, "sft") as checkpoints:
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
            stops = session.config.logging.stop_on_alarm
            watch = Watch("sft", session.metrics.rows("sft"), ends_phase=stops)
            bar = session.display.progress("sft", total, unit="update", done=done * per_epoch)
            wait_for = session.display.wait_for
            with bar:
                for epoch in range(done, config.epochs):
                    batches = _batches(
                        data, config.batch_size, [session.seed, random_keys.SFT, epoch]
                    )
                    for number, samples in enumerate(batches, epoch * per_epoch + 1):
                        batch = make_minibatch(samples, shapes)
                        state, metrics = wait_for("update", updater.update, state, batch, frozen)
                        numbers = wait_for("update", host_metrics, metrics)
                        numbers |= {"padding": batch.padding}
                        watch.look(session.metrics.write("sft", number, numbers))
                        bar.update(loss=numbers["loss"])
                        skips.count(numbers)
                        if skips.too_many or watch.ends:
                            checkpoints.settle()
                            good = _last_good(checkpoints)
                            skips.check(good)
                            watch.check(good)
                    wait = not session.config.checkpoint.asynchronous
                    checkpoints.save(epoch + 1, state, taught, wait=wait)
        policy = partition.merge(state.params, base)
        if session.config.lora.rank:
            folder = session.run.file("sft", "adapter")
            export_adapter(
                session.config, model, trained=state.params, directory=folder, base=model.directory
            )
            # The policy is the base of the adapter that RL trains.
            export(
                session.config, model, params=policy, directory=session.run.file("sft", "policy")
            )
    return policy


def _no_cold_start(session: Session, base: Params, *, model: Model) -> Params:
    """Leaves the base policy as it is (``sft.epochs=0``), with a checkpoint as of a cold start.

    Args:
      session: of the run.
      base: the parameters that stay.
      model: the policy's architecture.

    Returns:
      `base`, as the later phases will read it again.
    """
    partition = make_partition(session.config, model, seed=session.seed)
    updater = sft_updater(session.config, model, partition, total_steps=0)
    with session.clock.timed("sft"):
        state = updater.init(partition.trained(base))
        with Checkpoints(session.run.file("checkpoints", "sft")) as checkpoints:
            if checkpoints.latest() is None:
                checkpoints.save(0, state, {"examples": 0})
        policy = partition.merge(state.params, base)
        if session.config.lora.rank:
            folder = session.run.file("sft", "policy")  # the base of the adapter that RL trains
            export(session.config, model, params=policy, directory=folder)
    return policy


def _batches(data: Sequence[Example], size: int, seed: Sequence[int]) -> Iterator[list[Sample]]:
    """Yields the examples of an epoch, shuffled by `seed`, `size` at a time."""
    order = np.random.default_rng(seed).permutation(len(data))
    for at in range(0, len(data), size):
        yield [sample_of(data[i], int(i)) for i in sorted(order[at : at + size])]


def _fingerprint(bank: SkillBank, trajectories: Path, limit: int) -> str:
    """Hashes all that examples are made of, except the teacher's answers.

    Args:
      bank: the skills that the examples show.
      trajectories: the file of the episodes that they are made of.
      limit: the largest number of examples.

    Returns:
      The sha256 in hexadecimal digits.
    """
    content = [digest(trajectories), [dataclasses.astuple(skill)[:6] for skill in bank.skills]]
    return hashlib.sha256(json.dumps([*content, limit]).encode()).hexdigest()


def _examples_before(session: Session, inputs: str) -> list[Example] | None:
    """Reads the examples that an interrupted cold start was trained on, so that it keeps them.

    A teacher that is asked again may write other thoughts: then the rest of the phase would
    be about other data than its beginning.

    Args:
      session: the run.
      inputs: the `_fingerprint` of what examples would be made of now.

    Returns:
      The examples, or None if there is no checkpoint or they were made of something else.
    """
    path = session.run.file("sft", "examples.jsonl")
    with Checkpoints(session.run.file("checkpoints", "sft")) as checkpoints:
        for step in reversed(checkpoints.steps()):
            try:
                extra = checkpoints.extra(step)
            except Corrupt:
                continue  # the phase says so when it resumes
            if extra.get("inputs") != inputs:
                return None
            kept = processes.on_first(
                "kept examples",
                functools.partial(_kept, path, extra["sha256"]),
                encode=lambda found: found and _plain(found),
                decode=lambda rows: rows and _read(rows),
            )
            return kept or None
    return None


def _kept(path: Path, sha256: str) -> list[Example]:
    """Reads the examples of a file; none where it is not there or holds others."""
    if not path.exists():
        return []
    found = _read(list(read_jsonl(path, required=True)))
    lines = "".join(_line(example) for example in found)
    return found if hashlib.sha256(lines.encode()).hexdigest() == sha256 else []


def _last_good(checkpoints: Checkpoints) -> str:
    """Says which state is left when the cold start ends before its time."""
    latest = checkpoints.latest()
    if latest is None:
        return "There is no checkpoint yet; the base policy is as it was."
    return f"The last good state is that after epoch {latest}, in {checkpoints.directory}."


def _too_few(there: int, asked: int, config: CollectConfig) -> str:
    """Says that only `there` of the `asked` examples could be made, and how to get more."""
    return (
        f"{there} examples, fewer than the {asked} asked for: all valid steps of the successes "
        f"that were collected. For more, collect more episodes (--episodes, now "
        f"{config.episodes} by default) or demonstrations (collect.expert_episodes, now "
        f"{config.expert_episodes}) in a new --workdir."
    )


def _check_same_data(session: Session, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks that a cold start that resumes has the examples that it began with.

    Args:
      session: the run.
      before: what the checkpoint says of its examples.
      now: the same of the examples at hand.

    Raises:
      SkillRLError: they differ.
    """
    if before["sha256"] != now["sha256"]:
        count, other = before["examples"], now["examples"]
        raise SkillRLError(
            f"sft: {session.run.path} was cold-started on {count} examples, now there are "
            + (f"{other}" if other != count else "as many others")
            + ": repeat --num_examples and --skill_bank as they were, or name another --workdir"
        )


def make_examples(
    trajectories: Sequence[Trajectory],
    bank: SkillBank,
    *,
    agent: SkillAgent,
    retriever: Retriever,
    teacher: Teacher,
    rewrite_expert: bool,
) -> list[Example]:
    """Makes demonstrations of own successes, rewritten by the teacher, and of the expert's.

    Args:
      trajectories: episodes; those that were not won are left out.
      bank: the skills that demonstrations show.
      agent: builds the prompts.
      retriever: chooses the skills of a prompt.
      teacher: writes thoughts for the policy's own successes.
      rewrite_expert: it writes them for the expert's too; otherwise those keep their own.

    Raises:
      SkillRLError: the teacher wrote thoughts for none of the policy's successes.
    """
    found: list[Example] = []
    written = without = 0
    for trajectory in trajectories:
        if not trajectory.won:
            continue
        skills = retriever(bank, trajectory.task)
        if trajectory.source == "expert" and not rewrite_expert:
            thoughts: tuple[str, ...] | None = tuple(
                agent.thought(step.response) for step in trajectory.steps
            )
        else:
            thoughts = rewrite_thoughts(trajectory, teacher=teacher, skills=skills)
            written, without = (
                (written, without + 1) if thoughts is None else (written + 1, without)
            )
        if thoughts is not None:
            found += examples(trajectory, thoughts, skills=skills, agent=agent)
    if without and not written:
        raise SkillRLError(
            f"sft: the teacher wrote thoughts for none of the {without} success(es) it was asked "
            "about, so something stands in its way (the log has its last words). Mend that and "
            "start the same command again; to learn from demonstrations alone, give sft "
            "trajectories without the policy's own."
        )
    if without:
        _LOG.warning("sft: the teacher wrote no thoughts for %d success(es), left out", without)
    return found


def make_loss() -> LossFn:
    """Builds the loss of imitation, as `training.update` takes it."""

    def loss(logprobs, batch):
        value = sft_loss(logprobs, batch.weights)
        return value, {"loss": value}

    return loss


def sft_updater(
    settings: Config, model: Model, partition: Partition, *, total_steps: int | None = None
) -> Updater:
    """Builds the jitted SFT step that ``settings.sft`` describes.

    Args:
      settings: of the run.
      model: what is trained.
      partition: which of its parameters.
      total_steps: updates of the phase, over which the learning rate climbs and falls; where
        nobody knows how many there will be (None), it stays.
    """
    config, steps = settings.sft, total_steps or 0
    return make_updater(
        settings,
        model,
        partition,
        loss=make_loss(),
        learning_rate=config.learning_rate,
        schedule="constant" if total_steps is None else "linear",
        total_steps=steps + 1,
        warmup_steps=min(steps, math.ceil(config.warmup_fraction * steps)),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
    )


def load_sft(session: Session, model: Model) -> Params | None:
    """Reads the parameters of a finished cold start in this run directory, or None."""
    return saved.cold_started(session.run, model, base=lambda: load_policy(session, model))


def _plain(data: Sequence[Example]) -> list[dict[str, Any]]:
    return [example.to_json() for example in data]


def _read(rows: Sequence[Any]) -> list[Example]:
    return [records.read(Example, row) for row in rows]


def _line(example: Example) -> str:
    return json.dumps(example.to_json(), ensure_ascii=False) + "\n"
