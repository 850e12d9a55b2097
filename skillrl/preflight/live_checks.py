"""Checks of a command against the world: devices, policy files, servers and keys, directories.

``--dry_run`` makes all of them, each with a time limit, and creates nothing. A policy that must
still be downloaded is looked up, not fetched. What needs none of this is in `static_checks`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError
from skillrl.phases import prerequisites
from skillrl.phases.run_directory import RunDirectory
from skillrl.preflight import probes
from skillrl.skills.retrieval import get_retrieval

if TYPE_CHECKING:
    import jax

    from skillrl.models.config import TransformerConfig

_DEVICES = 120.0  # seconds: a pod's TPUs take a while to be found


@dataclasses.dataclass(frozen=True, slots=True)
class LiveFindings:
    """What the checks found.

    Attributes:
      problems: what the start would refuse, or fail at, each with its remedy.
      notes: what is worth knowing and stops nothing.
      model: sizes of the policy, where they can be known without a download; else None.
      mesh: the devices, where there are enough; else None.
    """

    problems: list[str]
    notes: list[str]
    model: TransformerConfig | None
    mesh: jax.sharding.Mesh | None


def with_short_timeouts(config: Config) -> Config:
    """Gives the servers that an environment asks no more time than a check may take."""
    env, limit = config.env, probes.TIME_LIMIT
    server = dataclasses.replace(env.server, timeout=min(limit, env.server.timeout), retries=0)
    search = dataclasses.replace(env.search, timeout=min(limit, env.search.timeout), retries=0)
    return dataclasses.replace(config, env=dataclasses.replace(env, server=server, search=search))


def run_live_checks(
    command: str, config: Config, *, workdir: Path, chosen: Mapping[str, Any]
) -> LiveFindings:
    """Checks all that a command needs: directories, devices, policy files and servers.

    Args:
      command: name of the command.
      config: its settings.
      workdir: where it would run.
      chosen: its own flags, None where not given.
    """
    problems: list[str] = []
    notes: list[str] = []
    local = config.model.policy == "local" and command != "distill"

    @contextlib.contextmanager
    def noting() -> Iterator[None]:
        try:
            yield
        except SkillRLError as error:
            problems.append(str(error))

    with noting():
        check_writable(workdir, "--workdir")
    if chosen.get("output"):
        with noting():
            check_writable(Path(chosen["output"]).parent, "--output")
    if command == "evaluate" and local:
        with noting():
            prerequisites.trained(RunDirectory(workdir, config, lock=False), chosen["checkpoint"])
    mesh = model = None
    if local:
        with noting():
            mesh = probes.in_time(lambda: _mesh(config), _DEVICES, "JAX finds no device")
        with noting():
            model = _policy(config, notes)
        if model is not None and config.model.adapter_path:
            with noting():
                _adapter(config.model.adapter_path, model)
        if mesh is not None and model is not None:
            with noting():
                _attention(config, model, mesh)
    for label, url, key, wanted in probes.services(command, config):
        with noting():
            notes += probes.check_service(label, url, key=key, model=wanted)
    for url in config.env.search.urls if config.env.name == "search" else ():
        if config.env.search.retriever == "http":
            with noting():
                probes.check_retriever(url, config)
    return LiveFindings(problems, notes, model, mesh)


def check_prompts_fit(
    command: str, config: Config, *, workdir: Path, chosen: Mapping[str, Any]
) -> None:
    """Refuses a bank whose skills are too long for prompts, where no server must be asked for it.

    Args:
      command: name of the command.
      config: its settings.
      workdir: where it would run.
      chosen: its own flags, None where not given.

    Raises:
      SkillRLError: they do not fit; says what to set.
    """
    rule = get_retrieval(config.skill_retrieval.order)
    asks = config.model.embedder == "openai" and rule.uses_embedder
    if command not in ("sft", "rl") or config.model.policy != "local" or asks:
        return
    from skillrl.phases import prompts
    from skillrl.phases.build import open_mesh, open_model, open_retriever
    from skillrl.phases.session import open_session

    with open_session(config, workdir, lock=False) as run:
        bank = prerequisites.bank(run.run, chosen["skill_bank"])
        model = open_model(config, open_mesh(config))
        retriever = open_retriever(run, model)
        tasks = prompts.some(run.suite.tasks("train"))
        prompts.check_fit(run, bank, model=model, retriever=retriever, tasks=tasks)


def check_writable(path: Path, label: str) -> None:
    """Refuses a directory that cannot be made or written to; creates nothing.

    Raises:
      SkillRLError: names the directory above it that is in the way.
    """
    there = path.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise SkillRLError(f"{label}={path}: {there} is not a directory. Name another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SkillRLError(
            f"{label}={path}: {there} cannot be written to. Name a directory that you may write to."
        )


def free_space(path: Path) -> float:
    """Counts the bytes that are free where `path` is, or would be."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return float(shutil.disk_usage(there).free)


def _mesh(config: Config) -> jax.sharding.Mesh:
    from skillrl.parallel.mesh import make_mesh

    try:
        return make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    except RuntimeError as error:  # of a backend that JAX cannot start
        raise SkillRLError(
            f"JAX cannot use the devices that it is told to: {error}. Correct JAX_PLATFORMS, or "
            "install JAX for this accelerator (BUILD.md)."
        ) from None


def _policy(config: Config, notes: list[str]) -> TransformerConfig | None:
    """Reads the sizes of the policy from its files; adds a note where it must be fetched first."""
    from skillrl.models import hub

    model = config.model
    if model.policy_path:
        return _directory(hub.resolve(presets.resolve_path(model.policy_path), ""))
    cached = hub._cached(model.policy_model_id) if model.policy_model_id else None
    if cached is not None or not model.policy_model_id:
        return _directory(cached or hub.resolve(None, model.policy_model_id))
    sizes = probes.in_time(
        lambda: probes.sizes_on_hub(model.policy_model_id),
        2 * probes.TIME_LIMIT,
        f"the hub does not answer about {model.policy_model_id}",
    )
    notes.append(f"{model.policy_model_id} will be downloaded from the hub first")
    return sizes


def _directory(directory: Path) -> TransformerConfig:
    """Reads all of a checkpoint but the numbers: config, tokenizer, names and shapes."""
    from skillrl.models import weights
    from skillrl.models.tokenizer import Tokenizer

    sizes = weights.read_config(directory)
    Tokenizer.load(directory)
    weights.check(directory, sizes)
    return sizes


def _adapter(directory: str, model: TransformerConfig) -> None:
    from skillrl.models import lora

    lora.load(directory, model)


def _attention(config: Config, model: TransformerConfig, mesh: jax.sharding.Mesh) -> None:
    from skillrl.models.attention import check_attention

    settings = config.model
    check_attention(
        dataclasses.replace(model, dtype=settings.dtype, attention=settings.attention), mesh
    )
