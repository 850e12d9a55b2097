"""Begins the run of an arm: a copy of its parent's finished phases under the arm's settings."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from skillrl.ablation.arms import Arm
from skillrl.ablation.raw import raw_bank, skill_budget
from skillrl.agent.prompt import count_skill_tokens
from skillrl.config import presets
from skillrl.config.settings import Config, public_dict
from skillrl.envs import make_suite
from skillrl.errors import SkillRLError
from skillrl.io.atomic import fsync_tree, replace_directory, temporary_name
from skillrl.io.files import read_sealed, write_sealed
from skillrl.models import hub
from skillrl.models.tokenizer import Tokenizer
from skillrl.phases.run_directory import recorded_config
from skillrl.rollouts import store
from skillrl.skills import caps
from skillrl.skills.caps import CountTokens
from skillrl.skills.retrieval import Retriever
from skillrl.skills.store import load_bank, save_bank
from skillrl.teacher.registry import make_embedder

_OF_PHASE = {
    "collect": ("collect",),
    "distill": ("distill",),
    "sft": ("sft", "checkpoints/sft", "metrics.jsonl"),
}
"""What a phase leaves in a run directory that later ones read."""


def fork(arm: Arm, config: Config, *, parent: Path, parent_config: Config, target: Path) -> None:
    """Makes the run directory of `arm`, unless it is there; all of it or nothing.

    Args:
      arm: what it shares, and whether its bank is of trajectories.
      config: the arm's settings.
      parent: the run directory of its parent, where the shared phases are finished.
      parent_config: the settings of that.
      target: the run directory to make.

    Raises:
      SkillRLError: a shared phase is not finished, or the place cannot be written to.
    """
    if recorded_config(target) is not None:
        return
    phases = read_sealed(parent / "phases.json")
    missing = [phase for phase in arm.shares if phase not in phases]
    if missing:
        raise SkillRLError(
            f"{parent}: has not finished {', '.join(missing)}, which {target} needs."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.parent / temporary_name()
    new.mkdir()
    for name in (part for phase in arm.shares for part in _OF_PHASE[phase]):
        _copy(parent / name, new / name)
    stages = ("base", "sft") if "sft" in arm.shares else ("base",)
    for stage in stages:
        for result in sorted((parent / "evaluation").glob(f"{stage}-*.json")):
            _copy(result, new / "evaluation" / result.name)
    _copy(parent / "teacher", new / "teacher")  # answers that are not asked for again
    if arm.raw:
        _write_raw_bank(new, config, parent_config)
    write_sealed(new / "config.json", public_dict(config))
    write_sealed(new / "phases.json", {phase: phases[phase] for phase in arm.shares})
    fsync_tree(new)
    replace_directory(new, target)


def _copy(source: Path, target: Path) -> None:
    """Copies a file or a directory, if it is there."""
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _write_raw_bank(run: Path, config: Config, parent_config: Config) -> None:
    """Puts a bank of trajectories in the place of the distilled one, which says how long it is."""
    path = run / "distill" / "bank.json"
    count_tokens = _counter(config)
    retriever = Retriever(
        make_embedder(config.model, run / "teacher"),
        parent_config.skill_retrieval,
        count_tokens=count_tokens,
    )
    budget = skill_budget(
        load_bank(path),
        make_suite(config.env.name, config.env).tasks("train"),
        retrieve=retriever,
        count_tokens=count_tokens,
    )
    bank = raw_bank(
        store.read(run / "collect" / "trajectories.jsonl"),
        budget=budget // max(1, config.skill_retrieval.top_k),
        count_tokens=count_tokens,
    )
    save_bank(bank, path)


def _counter(config: Config) -> CountTokens:
    """Counts tokens as the policy's tokenizer does; where a server has that, estimates them."""
    settings = config.model
    if settings.policy != "local":
        return caps.estimated_tokens
    directory = presets.resolve_path(settings.policy_path) if settings.policy_path else None
    tokenizer = Tokenizer.load(hub.resolve(directory, settings.policy_model_id))
    return functools.partial(count_skill_tokens, encode=tokenizer.encode)
