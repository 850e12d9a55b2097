"""Writes the report of ``--dry_run``: what a command would do and take, and what it lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrl.config import presets
from skillrl.config.settings import Config, public_dict
from skillrl.envs import SPLITS, make_suite
from skillrl.errors import SkillRLError
from skillrl.evaluation.protocol import PROTOCOLS, warning
from skillrl.io.numbers import short_number
from skillrl.models.flops import Sizes, sizes_of
from skillrl.preflight import estimate, live_checks, static_checks
from skillrl.skills.controls import num_played


def describe_settings(resolved: presets.Resolved) -> str:
    """Writes out the resolved config, and where its values came from."""
    lines = [json.dumps(public_dict(resolved.config), indent=2), "", "set by:"]
    lines += [f"  {field}: {source}" for field, source in sorted(resolved.sources.items())]
    return "\n".join([*lines, ""])


def report(
    command: str, config: Config, *, workdir: Path, chosen: Mapping[str, Any]
) -> tuple[str, list[str]]:
    """Makes every check of a command and estimates what it takes.

    Args:
      command: name of the command.
      config: its settings.
      workdir: where it would run.
      chosen: its own flags, None where not given.

    Returns:
      What would run and what it takes, in words; and what the start would refuse or fail at.
    """
    config = live_checks.with_short_timeouts(config)
    problems, said = static_checks.find_problems(command, config, workdir=workdir, chosen=chosen)
    found = live_checks.run_live_checks(command, config, workdir=workdir, chosen=chosen)
    problems += found.problems
    if not problems and not found.notes:  # with all that is asked for it at hand
        try:
            live_checks.check_prompts_fit(command, config, workdir=workdir, chosen=chosen)
        except SkillRLError as error:
            problems.append(str(error))
    given = {flag: value for flag, value in chosen.items() if value is not None}
    lines = [said, ""] if said else []
    lines += [
        f"would run in {workdir}:",
        *(f"  {line}" for line in describe_phases(command, config, chosen)),
    ]
    if given:
        lines.append("  with " + ", ".join(f"--{k}={v}" for k, v in given.items()))
    if said:  # the environment is there
        lines += _departures(command, config, chosen)
        lines += ["", *_takes(command, config, workdir=workdir, chosen=chosen, found=found)]
    lines += [f"note: {note}" for note in found.notes]
    if not problems:
        lines.append("Nothing is missing; --show_config prints all settings.")
    return "\n".join(lines), list(dict.fromkeys(problems))


def describe_phases(command: str, config: Config, chosen: Mapping[str, Any]) -> list[str]:
    """Says what a command does, one line per phase; its flags win over the config."""
    rl, evolution, evaluation = config.rl, config.evolution, config.evaluation
    flags = {flag: value for flag, value in chosen.items() if value is not None}
    splits = evaluation.final_splits if command == "train" else evaluation.splits
    every = f"evolving the bank every {evolution.validation_interval}"
    if evolution.exam_share:
        every += f", examining skills in {100 * evolution.exam_share:g} % as many episodes"
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
        + (f"the first {evaluation.max_tasks} tasks" if evaluation.max_tasks else "each task")
        + (f", {num_played(flags['bank'])} banks" if "bank" in flags else ""),
    }
    return list(phases.values()) if command == "train" else [phases[command]]


def _departures(command: str, config: Config, chosen: Mapping[str, Any]) -> list[str]:
    """Notes what of an evaluation departs from the protocol that the settings name."""
    if command not in ("train", "evaluate") or config.evaluation.protocol not in PROTOCOLS:
        return []
    asked, settings = chosen.get("split"), config.evaluation
    splits = settings.final_splits if command == "train" else settings.splits
    note = warning(
        config,
        make_suite(config.env.name, config.env),
        splits=asked.split(",") if asked else splits,
        temperature=chosen.get("temperature"),
        repeats=chosen.get("repeats"),
    )
    return [f"note: {note}"] if note else []


def _takes(
    command: str,
    config: Config,
    *,
    workdir: Path,
    chosen: Mapping[str, Any],
    found: live_checks.LiveFindings,
) -> list[str]:
    """Estimates tokens, teacher calls, time, memory and disk, and says what that rests on."""
    suite = make_suite(config.env.name, config.env)
    sizes = sizes_of(found.model) if found.model is not None else None
    there = [split for split in SPLITS if static_checks.has_tasks(suite, split)]
    tasks = {split: len(suite.tasks(split)) for split in there}
    loads = estimate.loads(
        command, config, sizes, tasks=tasks, categories=len(suite.categories), chosen=chosen
    )
    lines = [f"takes about, {estimate.assumptions()}:"]
    limit = None
    if found.mesh is None or sizes is None:
        lines.append(estimate.show(loads, None))
    else:
        from skillrl.parallel import speed

        device, limit = found.mesh.devices.flat[0], speed.memory_of_device()
        peak = speed.of_device(config.model.dtype)
        count = 1 if device.platform == "cpu" else found.mesh.size
        lines.append(estimate.show(loads, peak, count))
        lines.append(
            f"time on {count} {device.device_kind} at {estimate.REACHED:.0%} of its {peak.source} "
            f"{short_number(peak.flops or 0)}FLOP/s, without compiling, environments and teacher"
        )
    if sizes is None:
        return lines
    return lines + _memory_and_disk(command, config, workdir=workdir, sizes=sizes, limit=limit)


def _memory_and_disk(
    command: str, config: Config, *, workdir: Path, sizes: Sizes, limit: float | None
) -> list[str]:
    """Estimates memory of a device and disk, and says what to do where there is less."""
    gib, training = estimate.GIB, command in ("train", "sft", "rl")
    memory = sum(estimate.memory(config, sizes, training=training).values())
    said = f"memory {memory / gib:.1f} GiB per device"
    said += f" of {limit / gib:.0f}" if limit else ""
    notes = []
    if limit and memory > limit:
        notes.append(
            "note: that is more memory than there is; spread it with mesh.fsdp, lower "
            "train_batch.tokens and rollout.slots, or train an adapter (lora.rank)"
        )
    if training:
        needed, free = estimate.disk(config, sizes), live_checks.free_space(workdir)
        said += f"; disk {needed / gib:.1f} GiB of {free / gib:.0f} free"
        if needed > free:
            notes.append(
                f"note: checkpoints and policy do not fit at {workdir}; name another --workdir, "
                "or lower checkpoint.keep"
            )
    return [said, *notes]
