"""What is asked before a command starts: everything that would otherwise fail later.

Nothing here imports JAX or creates anything. The start of a command stops at the first
problem, ``--dry_run`` lists them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skillrl.config.settings import Config
from skillrl.envs import SPLITS, Suite, make_suite
from skillrl.errors import SkillRLError
from skillrl.phases import prerequisites, run_directory
from skillrl.phases.simulated_parts import describe, parts


def check(name: str, config: Config, workdir: Path, chosen: dict[str, Any]) -> str:
    """Real and simulated parts of a command that may start, in words.

    Raises:
      SkillRLError: the first problem that `examine` finds.
    """
    problems, said = examine(name, config, workdir, chosen)
    if problems:
        raise SkillRLError(problems[0])
    return said


def examine(
    name: str, config: Config, workdir: Path, chosen: dict[str, Any]
) -> tuple[list[str], str]:
    """All problems of a command, and its real and simulated parts ("" without an environment).

    Args:
      name: of the command.
      config: its settings.
      workdir: where it would run.
      chosen: its own flags, None where not given.
    """
    problems: list[str] = []

    def attempt(work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except SkillRLError as error:
            problems.append(str(error))
            return None

    attempt(_check_policy, name, config)
    if name == "evaluate":
        attempt(run_directory.recorded_config, workdir)
    else:
        attempt(run_directory.check_workdir, workdir, config)
    attempt(prerequisites.check_policy, config)
    suite = attempt(make_suite, config.env.name, config.env)
    for check_one in _named_things(name, config):
        attempt(check_one)
    if suite is not None:
        attempt(_check_splits, name, config, suite, chosen)
        attempt(_check_expert, name, config, suite)
    attempt(
        prerequisites.check, name, run_directory.RunDirectory(workdir, config, lock=False), chosen
    )
    return problems, describe(parts(config, suite.simulated)) if suite is not None else ""


def _check_policy(name: str, config: Config) -> None:
    if config.model.policy == "openai" and name in ("train", "sft", "rl"):
        raise SkillRLError(
            f"model.policy=openai cannot be used with {name}: the weights behind "
            f"{config.model.policy_api_base} cannot be updated from here. Use model.policy=local "
            "with model.policy_path; collect and evaluate take either."
        )


def _named_things(name: str, config: Config) -> list[Callable[[], Any]]:
    """Questions to the registries for what the config names, so that a typo costs no phase."""
    from skillrl.skills.retrieval import get_retrieval
    from skillrl.teacher.registry import make_embedder, make_teacher

    # None of them connects to anything yet.
    wanted: list[Callable[[], Any]] = [
        lambda: make_teacher(config.model),
        lambda: make_embedder(config.model),
        lambda: get_retrieval(config.skill_retrieval.order),
    ]
    return wanted + ([lambda: _check_learning(config)] if name in ("train", "rl") else [])


def _check_learning(config: Config) -> None:
    from skillrl.training.advantages import get_estimator
    from skillrl.training.losses import KL_ESTIMATORS

    get_estimator(config.rl.advantage)
    if config.rl.kl_estimator not in KL_ESTIMATORS:
        raise SkillRLError(
            f"rl.kl_estimator is {config.rl.kl_estimator!r}; choose one of: "
            f"{', '.join(sorted(KL_ESTIMATORS))}."
        )


def _check_splits(name: str, config: Config, suite: Suite, chosen: dict[str, Any]) -> None:
    """Refuses splits without tasks, which would otherwise show after hours of training."""
    there = [split for split in SPLITS if has_tasks(suite, split)]
    for label, splits in _splits(name, config, chosen).items():
        for split in splits:
            if not has_tasks(suite, split):
                one = (there or SPLITS)[-1]
                fit = one if label == "--split" else f"'{json.dumps([one])}'"
                raise SkillRLError(
                    f"{label}: {suite.name} has no tasks in the split {split!r}; there are: "
                    f"{', '.join(there) or 'none'}. Use {label}={fit}, for example."
                )


def _splits(name: str, config: Config, chosen: dict[str, Any]) -> dict[str, Sequence[str]]:
    """Where splits are named -> the splits. They are settings of a run, so of each phase."""
    if name == "evaluate" and chosen["split"]:
        return {"--split": chosen["split"].split(",")}
    named: dict[str, Sequence[str]] = {"--set evaluation.splits": config.evaluation.splits}
    if name != "evaluate":
        named["--set evaluation.final_splits"] = config.evaluation.final_splits
    return named


def _check_expert(name: str, config: Config, suite: Suite) -> None:
    """Refuses demonstrations where the first task to be shown has no expert."""
    count = config.collect.expert_episodes
    if name not in ("train", "collect") or not count or not has_tasks(suite, "train"):
        return
    tasks = suite.tasks("train")
    task = tasks[config.collect.episodes % len(tasks)]
    if suite.expert(task) is None:
        raise SkillRLError(
            f"task {task.id} has no expert for collect.expert_episodes={count}: set it to 0, or "
            "use tasks with an expert."
        )


def has_tasks(suite: Suite, split: str) -> bool:
    """Whether a split has any; one that the suite does not know has none."""
    try:
        return bool(suite.tasks(split))
    except SkillRLError:
        return False  # a suite's answer for a split that it does not know
