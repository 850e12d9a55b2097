"""``--dry_run``: what a command would do, what it takes, and everything that is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skillrl import estimate, preflight, presets, start
from skillrl.config import Config, public_dict
from skillrl.envs import SPLITS, make_suite
from skillrl.errors import SkillRLError


def settings(resolved: presets.Resolved) -> str:
    """The resolved config, and where its values came from."""
    lines = [json.dumps(public_dict(resolved.config), indent=2), "", "set by:"]
    lines += [f"  {field}: {source}" for field, source in sorted(resolved.sources.items())]
    return "\n".join([*lines, ""])


def report(name: str, config: Config, workdir: Path, chosen: dict[str, Any]) -> str:
    """What would run, real and simulated parts, and what it takes.

    Raises:
      Problems: everything that the start would refuse or fail at.
    """
    config = preflight.hurried(config)
    problems, said = start.examine(name, config, workdir, chosen)
    found = preflight.ask(name, config, workdir, chosen)
    problems = list(dict.fromkeys([*problems, *found.problems]))
    if problems:
        raise start.Problems(problems)
    given = {flag: value for flag, value in chosen.items() if value is not None}
    lines = [said, "", f"would run in {workdir}:"]
    lines += [f"  {line}" for line in plan(name, config, chosen)]
    if given:
        lines.append("  with " + ", ".join(f"--{k}={v}" for k, v in given.items()))
    lines += ["", *_takes(name, config, workdir, chosen, found)]
    lines += [f"note: {note}" for note in found.notes]
    lines.append("Nothing is missing; --show_config prints all settings.")
    return "\n".join(lines)


def plan(name: str, config: Config, chosen: dict[str, Any]) -> list[str]:
    """What a command does, one line per phase; its flags win over the config."""
    rl, evolution, evaluation = config.rl, config.evolution, config.evaluation
    flags = {flag: value for flag, value in chosen.items() if value is not None}
    splits = evaluation.final_splits if name == "train" else evaluation.splits
    every = f"evolving the bank every {evolution.validation_interval}"
    shown = config.collect.expert_episodes
    phases = {
        "collect": f"collect: {flags.get('episodes', config.collect.episodes)} episodes "
        "with the base policy" + (f" and {shown} of the expert" if shown else ""),
        "distill": "distill: skills from at most "
        f"{config.distill.max_trajectories_per_category} trajectories per category",
        "sft": f"sft: {config.sft.epochs} epochs of at most "
        f"{flags.get('num_examples', config.sft.num_examples) or 'all'} examples",
        "rl": f"rl: {rl.training_epochs} iterations of {rl.batch_size} episodes "
        f"({rl.batch_size // rl.group_size} tasks x {rl.group_size}), "
        + (every if evolution.enabled else "the bank fixed"),
        "evaluate": f"evaluate: {flags.get('split') or ', '.join(splits)}, temperature "
        f"{flags.get('temperature', evaluation.temperature):g}, "
        f"{flags.get('repeats', evaluation.repeats)} x "
        + (f"the first {evaluation.max_tasks} tasks" if evaluation.max_tasks else "each task"),
    }
    return list(phases.values()) if name == "train" else [phases[name]]


def _takes(
    name: str, config: Config, workdir: Path, chosen: dict[str, Any], found: preflight.Found
) -> list[str]:
    """Tokens, teacher calls, time, memory and disk, with what they rest on."""
    from skillrl.models.flops import sizes_of

    suite = make_suite(config.env.name, config.env)
    sizes = sizes_of(found.model) if found.model is not None else None
    there = [split for split in SPLITS if start.has_tasks(suite, split)]
    tasks = {split: len(suite.tasks(split)) for split in there}
    loads = estimate.loads(
        name, config, sizes, tasks=tasks, categories=len(suite.categories), chosen=chosen
    )
    lines = [f"takes about, {estimate.assumptions()}:"]
    if sizes is None or found.mesh is None:
        return [*lines, estimate.show(loads, None)]
    from skillrl.parallel import speed

    device = found.mesh.devices.flat[0]
    peak = speed.of_device(config.model.dtype)
    count = 1 if device.platform == "cpu" else found.mesh.size
    lines.append(estimate.show(loads, peak, count))
    lines.append(
        f"time on {count} {device.device_kind} at {estimate.REACHED:.0%} of its {peak.source} "
        f"{estimate.short(peak.flops or 0)}FLOP/s, without compiling, environments and teacher"
    )
    training = name in ("train", "sft", "rl")
    memory = sum(estimate.memory(config, sizes, training=training).values())
    limit = speed.memory_of_device()
    lines.append(
        f"memory {memory / estimate.GIB:.1f} GiB per device"
        + (f" of {limit / estimate.GIB:.0f}" if limit else "")
    )
    if limit and memory > limit:
        lines.append(
            "note: that is more than there is; spread it with mesh.fsdp, or lower "
            "train_batch.tokens and rollout.slots, or train an adapter (lora.rank)"
        )
    if training:
        needed, free = estimate.disk(config, sizes), preflight.free_space(workdir)
        lines[-1 if not (limit and memory > limit) else -2] += (
            f"; disk {needed / estimate.GIB:.1f} GiB, {free / estimate.GIB:.0f} free"
        )
        if needed > free:
            raise SkillRLError(
                f"--workdir={workdir}: checkpoints and policy take about "
                f"{needed / estimate.GIB:.1f} GiB, and {free / estimate.GIB:.1f} are free there. "
                "Name another place, or lower checkpoint.keep."
            )
    return lines
