"""Estimates what a command takes: tokens, teacher calls, memory, disk and time.

They follow from its settings and the policy's sizes, and are an order of magnitude to decide by
before anything runs. What cannot be known is assumed (`TYPICAL`): how far episodes, prompts and
responses use what the settings allow. Compiling and the environments are not counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skillrl.config.settings import Config
from skillrl.io.console import table
from skillrl.io.numbers import rough_duration, short_number
from skillrl.models.flops import Sizes, rollout_flops, step_flops
from skillrl.skills.controls import num_played

if TYPE_CHECKING:
    from skillrl.parallel.speed import Peak

TYPICAL = 0.5
"""Share of env.max_steps, rl.max_prompt_length and rl.max_response_length that is used."""

REACHED = 0.35
"""Share of a device's peak that sampling and training come to."""

LONG = 3600.0
"""Seconds from which on a phase is announced with its estimate."""

GIB = 2**30
_SLOW = 1e10  # operations per second
_WIDTH = {"float32": 4, "bfloat16": 2}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLoad:
    """Holds the work of one phase.

    Attributes:
      phase: name of the phase.
      episodes: how many episodes the policy plays.
      read: number of prompt tokens, those of a prefix once per episode.
      sampled: number of response tokens.
      calls: most requests to the teacher.
      flops: operations of sampling and training; 0 where the sizes are not known.
      moved: bytes of the weights that decoding reads.
    """

    phase: str
    episodes: int
    read: float
    sampled: float
    calls: int
    flops: float = 0.0
    moved: float = 0.0

    def seconds(self, peak: Peak, devices: int = 1) -> float:
        """Estimates the time on `devices` of this peak; operations and reading weights add up."""
        compute = self.flops / (REACHED * (peak.flops or math.inf))
        return (compute + self.moved / (peak.bandwidth or math.inf)) / devices


def loads(
    command: str,
    config: Config,
    sizes: Sizes | None,
    *,
    tasks: Mapping[str, int],
    categories: int,
    chosen: Mapping[str, Any],
    share: float = TYPICAL,
) -> list[PhaseLoad]:
    """Estimates the work of each phase of a command.

    Args:
      command: name of the command.
      config: its settings.
      sizes: sizes of the policy; None where they are not known, as of one on a server.
      tasks: split -> how many tasks it has.
      categories: how many categories of tasks the environment has.
      chosen: flags of the command that win over the config; None where not given.
      share: share of what the settings allow that is used; 1 is the most that there can be.
    """
    flags = {flag: value for flag, value in chosen.items() if value is not None}
    work = _Work(config, sizes, share)
    collect, rl, sft = config.collect, config.rl, config.sft
    evaluation, evolution = config.evaluation, config.evolution
    episodes = flags.get("episodes", collect.episodes)
    all_steps = math.ceil((episodes + collect.expert_episodes) * work.steps)
    examples = flags.get("num_examples", sft.num_examples) or all_steps
    events = rl.training_epochs // evolution.validation_interval if evolution.enabled else 0

    def held_out(phase: str, splits: Sequence[str], stages: int = 1) -> PhaseLoad:
        most = evaluation.max_tasks or math.inf
        count = sum(min(tasks.get(split, 0), most) for split in splits)
        repeats = flags.get("repeats", evaluation.repeats)
        return work.played(phase, int(stages * repeats * count))

    share = evolution.exam_share * evolution.validation_interval
    examined = events * int(share * rl.batch_size)
    looks = rl.training_epochs // evaluation.quick_interval * len(evaluation.splits)
    quick = work.played("", looks * evaluation.quick_tasks)
    phases = {
        "collect": work.played("collect", episodes),
        "distill": PhaseLoad(
            phase="distill", episodes=0, read=0.0, sampled=0.0, calls=2 + 2 * categories
        ),
        "sft": work.learned(
            PhaseLoad(phase="sft", episodes=0, read=0.0, sampled=0.0, calls=episodes),
            samples=min(examples, all_steps) * sft.epochs,
            passes=1.0,
        ),
        "rl": work.learned(
            dataclasses.replace(
                _sum("rl", work.played("rl", rl.training_epochs * rl.batch_size + examined), quick),
                calls=events,
            ),
            samples=rl.training_epochs * rl.batch_size * work.steps,
            # The reference's scores, and those of the sampler, are a forward pass each.
            passes=1 + (1 + (rl.old_logprobs == "recomputed")) / 3,
        ),
    }
    if command == "train":
        stages = held_out("", evaluation.splits, stages=2)
        last = held_out("", evaluation.final_splits)
        return [*phases.values(), _sum("evaluate", stages, last)]
    if command == "evaluate":
        given, arms = flags.get("split"), num_played(flags.get("bank"))
        splits = given.split(",") if given else evaluation.splits
        return [held_out("evaluate", splits, stages=arms)]
    return [phases[command]]


def memory(config: Config, sizes: Sizes, *, training: bool) -> dict[str, float]:
    """Estimates the bytes on one device by what they hold; what the mesh splits is divided."""
    model, rollout, batch, rl = config.model, config.rollout, config.train_batch, config.rl
    held, computed = _WIDTH[model.param_dtype], _WIDTH[model.dtype]
    split = max(1, config.mesh.fsdp) * max(1, config.mesh.tensor)
    rows = split * max(1, config.mesh.data)
    count, rank = sizes.parameters, config.lora.rank
    trained = sizes.adapter(rank) if rank else count
    sampler = count * (1 if rollout.weights == "int8" else computed)
    tokens = rollout.slots * (rl.max_prompt_length + rl.max_response_length)
    found = {
        "weights": count * held / split,
        "copy that samples": sampler / max(1, config.mesh.tensor),
        "keys and values of the slots": tokens * sizes.kv_bytes(computed) / rows,
    }
    if training:
        kept = {"full": 1, "dots": 8, "none": 16}[model.remat] * sizes.width + (
            0 if model.remat == "full" else 2 * sizes.ffn * (1 if model.remat == "dots" else 2)
        )
        chunk = batch.logprob_chunk or batch.tokens
        found |= {
            "gradients and moments": trained * (held + 8) / split,
            "reference policy": 0.0 if rank else count * held / split,
            "kept for the backward pass": batch.tokens * sizes.layers * kept * computed / rows,
            "scores over the vocabulary": 3.0 * chunk * sizes.vocab * 4 / rows,
        }
    return found


def disk(config: Config, sizes: Sizes) -> float:
    """Estimates the bytes of the checkpoints kept, one more while it is written, and the policy."""
    rank = config.lora.rank
    trained = sizes.adapter(rank) if rank else sizes.parameters
    state = trained * (_WIDTH[config.model.param_dtype] + 8)
    kept = config.checkpoint
    more = kept.keep_best + (config.rl.training_epochs // kept.keep_every if kept.keep_every else 0)
    return (2 * kept.keep + more + 1) * state + 2 * sizes.parameters * 4


def show(found: Sequence[PhaseLoad], peak: Peak | None, devices: int = 1) -> str:
    """Lays out a table of phases; times only where the device's `peak` is known."""
    rows = []
    for load in [*found, *([_sum("all", *found)] if len(found) > 1 else [])]:
        time = "-"
        if load.flops:
            time = rough_duration(load.seconds(peak, devices)) if peak else "?"
        read, sampled = short_number(load.read), short_number(load.sampled)
        rows.append([load.phase, load.episodes, read, sampled, load.calls, time])
    headers = ["phase", "episodes", "tokens read", "sampled", "teacher calls", "time"]
    return table(rows, headers)


def assumptions(share: float = TYPICAL) -> str:
    """Says what the numbers of `loads` rest on."""
    return (
        f"if episodes, prompts and responses are {share:g} of the longest allowed (env.max_steps, "
        "rl.max_prompt_length, rl.max_response_length)"
    )


def may_be_long(found: Sequence[PhaseLoad]) -> bool:
    """Tells whether a phase takes hours on a slow laptop: then the device is worth measuring."""
    return any(load.flops / (REACHED * _SLOW) >= LONG for load in found)


def announcement(found: Sequence[PhaseLoad], peak: Peak, *, devices: int, kind: str) -> str:
    """Warns of phases that take hours.

    Args:
      found: the phases, as from `loads`.
      peak: the speed of one device.
      devices: how many there are.
      kind: what they are called.

    Returns:
      The warning, or "" if no phase takes that long.
    """
    slow = [(load, load.seconds(peak, devices)) for load in found]
    slow = [(load, seconds) for load, seconds in slow if seconds >= LONG]
    if not slow:
        return ""
    times = ", ".join(f"{load.phase} {rough_duration(seconds)}" for load, seconds in slow)
    rate = (peak.flops or 0) * REACHED * devices
    return (
        f"this takes long on {devices} {kind}: {times}, {assumptions()}, at "
        f"{short_number(rate)}FLOP/s ({REACHED:.0%} of its {peak.source} speed). A smaller policy, "
        "fewer episodes (collect.episodes, rl.batch_size, rl.training_epochs), shorter responses "
        "(rl.max_response_length) or an accelerator make it shorter; Ctrl-C stops it and the same "
        "command continues."
    )


def _sum(phase: str, *parts: PhaseLoad) -> PhaseLoad:
    """Adds up phases to one that is called `phase`."""
    fields = [f.name for f in dataclasses.fields(PhaseLoad) if f.name != "phase"]
    return PhaseLoad(
        phase=phase, **{name: sum(getattr(part, name) for part in parts) for name in fields}
    )


class _Work:
    """Estimates the work of episodes that have the length that is assumed."""

    def __init__(self, config: Config, sizes: Sizes | None, share: float):
        self.config, self.sizes = config, sizes
        self.steps = max(1.0, share * config.env.max_steps)
        longest, rollout = config.rl.max_prompt_length, config.rollout
        prefix, suffix = (
            min(longest / 2, buckets[-1] if buckets else longest)
            for buckets in (rollout.prefix_buckets, rollout.suffix_buckets)
        )
        self.one = {
            "steps": self.steps,
            "groups": 1,
            "members": 1,
            "prefix": share * prefix,
            "suffix": share * suffix,
            "new": max(1.0, share * config.rl.max_response_length),
        }

    def played(self, phase: str, episodes: int) -> PhaseLoad:
        """Estimates a phase that plays episodes."""
        one, steps = self.one, episodes * self.steps
        load = PhaseLoad(
            phase=phase,
            episodes=episodes,
            read=episodes * one["prefix"] + steps * one["suffix"],
            sampled=steps * one["new"],
            calls=0,
        )
        if self.sizes is None:
            return load
        width = 1 if self.config.rollout.weights == "int8" else _WIDTH[self.config.model.dtype]
        rounds = math.ceil(steps / self.config.rollout.slots) * one["new"]
        return dataclasses.replace(
            load,
            flops=episodes * rollout_flops(self.sizes, one, shared=True),
            moved=rounds * self.sizes.parameters * width,
        )

    def learned(self, load: PhaseLoad, *, samples: float, passes: float) -> PhaseLoad:
        """Adds to `load` the gradients over `samples` steps, in `passes` forward and backward."""
        if self.sizes is None:
            return load
        episodes = samples / self.steps
        flops = passes * episodes * step_flops(self.sizes, self.one, shared=True)
        return dataclasses.replace(load, flops=load.flops + flops)
