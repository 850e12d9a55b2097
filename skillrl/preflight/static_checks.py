"""Checks of a command what needs no device and no server: settings, tasks and earlier phases.

They find what would otherwise fail only after hours. Nothing here imports JAX or creates anything.
A command stops at the first problem, ``--dry_run`` lists them all; `live_checks` has the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl import extensions
from skillrl.config.settings import Config
from skillrl.envs import SPLITS, Suite, make_suite
from skillrl.errors import SkillRLError
from skillrl.evaluation.protocol import get_protocol
from skillrl.phases import prerequisites, run_directory
from skillrl.phases.simulated_parts import describe, list_parts

OPTIONS: dict[str, tuple[str, ...]] = {
    "train": (),
    "collect": ("episodes", "output"),
    "distill": ("trajectories", "output"),
    "sft": ("skill_bank", "trajectories", "num_examples"),
    "rl": ("skill_bank",),
    "evaluate": (
        "checkpoint",
        "split",
        "bank",
        "concurrency",
        "repeats",
        "temperature",
        "output",
    ),
}
"""What each function of `skillrl.pipeline` takes by name, beside settings and directory."""


def check_command(command: str, config: Config, *, workdir: Path, chosen: Mapping[str, Any]) -> str:
    """Refuses a command that could not be carried out.

    Args:
      command: name of the command.
      config: its settings.
      workdir: where it would run.
      chosen: its own flags, None where not given.

    Returns:
      Which parts of the command are real and which simulated, in words.

    Raises:
      SkillRLError: the first problem that `find_problems` finds.
    """
    problems, described = find_problems(command, config, workdir=workdir, chosen=chosen)
    if problems:
        raise SkillRLError(problems[0])
    return described


def find_problems(
    command: str, config: Config, *, workdir: Path, chosen: Mapping[str, Any]
) -> tuple[list[str], str]:
    """Finds everything that keeps a command from being carried out.

    Args:
      command: name of the command.
      config: its settings.
      workdir: where it would run.
      chosen: its own flags, None where not given.

    Returns:
      The problems, each with its remedy, and which parts are real and which simulated, in words
      ("" where the environment cannot be made).
    """
    problems: list[str] = []

    def attempt(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return work(*arguments, **named)
        except SkillRLError as error:
            problems.append(str(error))
            return None

    registered = attempt(extensions.load, config.modules) or []
    attempt(_check_policy, command, config)
    if command == "evaluate":
        attempt(run_directory.recorded_config, workdir)
    else:
        attempt(run_directory.check_workdir, workdir, config)
    attempt(prerequisites.check_policy, config)
    suite = attempt(make_suite, config.env.name, config.env)
    for check_one in _registry_checks(command, config):
        attempt(check_one)
    if suite is not None:
        attempt(_check_splits, command, config, suite=suite, chosen=chosen)
        attempt(_check_expert, command, config, suite)
    run = run_directory.RunDirectory(workdir, config, lock=False)
    attempt(prerequisites.check, command, run, chosen)
    if suite is None:
        return problems, ""
    parts = describe(list_parts(config, suite.simulated))
    return problems, "\n".join([*(f"modules: {line}" for line in registered), parts])


def _check_policy(command: str, config: Config) -> None:
    """Refuses to train weights that are on somebody's server."""
    if config.model.policy == "openai" and command in ("train", "sft", "rl"):
        raise SkillRLError(
            f"model.policy=openai cannot be used with {command}: the weights behind "
            f"{config.model.policy_api_base} cannot be updated from here. Use model.policy=local "
            "with model.policy_path; collect and evaluate take either."
        )


def _registry_checks(command: str, config: Config) -> list[Callable[[], Any]]:
    """Looks up in the registries what the config names, so that a typo costs no phase."""
    from skillrl.skills.retrieval import get_retrieval
    from skillrl.teacher.registry import make_embedder, make_teacher

    # None of them connects to anything yet.
    wanted: list[Callable[[], Any]] = [
        lambda: make_teacher(config.model),
        lambda: make_embedder(config.model),
        lambda: get_retrieval(config.skill_retrieval.order),
        lambda: get_protocol(config.evaluation.protocol),
    ]
    return wanted + ([lambda: _check_learning(config)] if command in ("train", "rl") else [])


def _check_learning(config: Config) -> None:
    """Refuses estimators and losses that are not registered."""
    from skillrl.training.advantages import get_estimator
    from skillrl.training.importance import find_importance
    from skillrl.training.losses import find_kl, find_policy_loss

    get_estimator(config.rl.advantage)
    find_kl(config.rl.kl_estimator)
    find_policy_loss(config.rl.policy_loss)
    find_importance(config.rl.importance)


def _check_splits(command: str, config: Config, *, suite: Suite, chosen: Mapping[str, Any]) -> None:
    """Refuses splits without tasks, which would otherwise show after hours of training."""
    there = [split for split in SPLITS if has_tasks(suite, split)]
    for label, splits in _splits(command, config, chosen).items():
        for split in splits:
            if not has_tasks(suite, split):
                one = (there or SPLITS)[-1]
                fit = one if label == "--split" else f"'{json.dumps([one])}'"
                raise SkillRLError(
                    f"{label}: {suite.name} has no tasks in the split {split!r}; there are: "
                    f"{', '.join(there) or 'none'}. Use {label}={fit}, for example."
                )


def _splits(command: str, config: Config, chosen: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """Maps the flag or setting that names splits to these; settings hold for every phase."""
    if command == "evaluate" and chosen["split"]:
        return {"--split": chosen["split"].split(",")}
    named: dict[str, Sequence[str]] = {"--set evaluation.splits": config.evaluation.splits}
    if command != "evaluate":
        named["--set evaluation.final_splits"] = config.evaluation.final_splits
    return named


def _check_expert(command: str, config: Config, suite: Suite) -> None:
    """Refuses demonstrations where the first task to be shown has no expert."""
    count = config.collect.expert_episodes
    if command not in ("train", "collect") or not count or not has_tasks(suite, "train"):
        return
    tasks = suite.tasks("train")
    task = tasks[config.collect.episodes % len(tasks)]
    if suite.expert(task) is None:
        raise SkillRLError(
            f"task {task.id} has no expert for collect.expert_episodes={count}: set it to 0, or "
            "use tasks with an expert."
        )


def has_tasks(suite: Suite, split: str) -> bool:
    """Tells whether a split has tasks; one that the suite does not know has none."""
    try:
        return bool(suite.tasks(split))
    except SkillRLError:
        return False  # a suite's answer for a split that it does not know
