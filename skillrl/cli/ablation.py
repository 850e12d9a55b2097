"""The command `skillrl ablate`: its flags into a plan."""

from __future__ import annotations

import re
from pathlib import Path

from skillrl.cli.flags import ParsedFlags
from skillrl.config import presets
from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.numbers import MAX_INT


def ablate(parsed: ParsedFlags) -> int:
    """Runs `skillrl ablate`; returns 1 if an arm failed."""
    from skillrl.ablation.arms import choose, parse_tuned
    from skillrl.ablation.run import Plan
    from skillrl.ablation.run import ablate as run

    values = parsed.values
    seeds = read_seeds(values["seeds"])
    workdir = Path(paths.expand(values["workdir"])) if values["workdir"] else _default(parsed)
    plan = Plan(
        env=values["env"],
        mock=values["mock"],
        configs=tuple(presets.split_configs(values["config"])),
        overrides=tuple(values["set"]),
        tuned=parse_tuned(values["set_arm"]),
        seeds=seeds,
        arms=choose(values["arms"]),
        workdir=workdir,
        jobs=values["jobs"],
    )
    output, plot = (Path(values[name]) if values[name] else None for name in ("output", "plot"))
    return 1 if run(plan, output=output, plot=plot) else 0


def read_seeds(text: str) -> tuple[int, ...]:
    """Reads ``--seeds``.

    Raises:
      SkillRLError: one is no number from 0, or stands there twice.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,19}", word) and int(word) <= MAX_INT for word in words):
        raise SkillRLError(f"--seeds={text:.80}: write whole numbers from 0, as in 0,1,2.")
    seeds = tuple(map(int, words))
    if len(set(seeds)) < len(seeds):
        raise SkillRLError(f"--seeds={text:.80}: name each seed once.")
    return seeds


def _default(parsed: ParsedFlags) -> Path:
    """Finds the directory of an ablation that was given none: ``runs/ablate-`` and its settings."""
    values = parsed.values
    config = presets.resolve(
        values["env"], mock=values["mock"], config_path=values["config"], overrides=values["set"]
    ).config
    run = presets.default_workdir(config, mock=values["mock"], config_path=values["config"])
    return run.with_name(f"ablate-{run.name.rpartition('-seed')[0]}")
