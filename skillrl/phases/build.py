"""Makes the objects that phases work with from settings: pure builders, no state between them."""

from __future__ import annotations

import dataclasses
import functools
import logging
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp

from skillrl.agent.agent import SkillAgent, make_agent
from skillrl.agent.prompt import count_skill_tokens
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import Suite
from skillrl.errors import SkillRLError
from skillrl.inference.exports import Export
from skillrl.inference.local import LocalEngine
from skillrl.inference.make import make_local_engine, make_openai_engine, make_served_engine
from skillrl.inference.remote import RemoteEngine
from skillrl.inference.served import ServedEngine
from skillrl.io.atomic import writing
from skillrl.models import hub, lora, memory, policy, weights
from skillrl.models.lora import Lora
from skillrl.models.policy import Model
from skillrl.models.quantised import quantise
from skillrl.models.transformer import Params
from skillrl.parallel import host_memory, processes
from skillrl.parallel.buckets import Buckets
from skillrl.parallel.devices import find_devices
from skillrl.parallel.local import check_spread, connect, localise
from skillrl.parallel.mesh import make_mesh
from skillrl.parallel.rules import num_row_devices
from skillrl.phases.session import Session
from skillrl.rollouts.player import Player
from skillrl.skills.retrieval import Retriever, get_retrieval
from skillrl.teacher.base import Teacher
from skillrl.teacher.hashing_embedder import HashingEmbedder
from skillrl.teacher.once import AskedOnce
from skillrl.teacher.registry import make_embedder, make_teacher
from skillrl.training import partition
from skillrl.training.finite import check_finite
from skillrl.training.grpo import make_loss
from skillrl.training.packing import Shapes
from skillrl.training.partition import Partition
from skillrl.training.steps import build_updater
from skillrl.training.update import LossFn, Updater

_LOG = logging.getLogger(__name__)


def open_mesh(config: Config) -> jax.sharding.Mesh:
    """Arranges the devices as ``config.mesh`` says.

    Where it says nothing (all sizes are 1) and the run has several processes, the devices of all
    of them are used, and what fits is chosen and printed. On CPUs the process also keeps memory
    that it has freed, which it will want again.

    Raises:
      SkillRLError: there are not as many devices, or a process would have none.
    """
    sizes = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    if processes.count() > 1 and sizes == (1, 1, 1):
        sizes = _chosen_sizes(config)
    mesh = make_mesh(*sizes)
    check_spread(mesh)
    connect(mesh)
    if mesh.devices.flat[0].platform == "cpu":
        host_memory.keep_freed()
    return mesh


def _chosen_sizes(config: Config) -> tuple[int, int, int]:
    """Chooses sizes of the mesh for all devices of all processes, and prints them and why."""
    settings, devices = config.model, find_devices()
    path = presets.resolve_path(settings.policy_path) if settings.policy_path else None
    sizes = weights.read_config(hub.resolve(path, settings.policy_model_id))
    cpu = devices[0].platform == "cpu"
    axis, why = memory.axis_for(
        dataclasses.replace(sizes, dtype=settings.dtype),
        held=jnp.dtype(settings.param_dtype).itemsize,
        trained=0.0 if config.lora.rank else 1.0,
        devices=len(devices),
        limit=None if cpu else (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0),
    )
    print(f"mesh.{axis}={len(devices)} on {processes.count()} processes: {why}", flush=True)
    return (len(devices), 1, 1) if axis == "data" else (1, len(devices), 1)


def open_model(config: Config, mesh: jax.sharding.Mesh) -> Model:
    """Opens the policy that ``config.model`` names, without its weights.

    Raises:
      SkillRLError: it is not there or not what it should be; see `skillrl.models.policy`.
    """
    settings, rl = config.model, config.rl
    model = policy.open_model(
        presets.resolve_path(settings.policy_path) if settings.policy_path else None,
        mesh,
        model_id=settings.policy_model_id,
        dtype=settings.dtype,
        attention=settings.attention,
        scan_layers=settings.scan_layers,
    )
    if rl.max_prompt_length + rl.max_response_length > model.config.max_positions:
        _LOG.warning(
            "%s was made for %d positions; rl.max_prompt_length=%d and "
            "rl.max_response_length=%d allow longer ones, which it has not learned",
            model.directory.name,
            model.config.max_positions,
            rl.max_prompt_length,
            rl.max_response_length,
        )
    return model


def load_policy(session: Session, model: Model, directory: Path | None = None) -> Params:
    """Reads the parameters of a Hugging Face directory, the base policy's by default.

    ``model.adapter_path`` is merged into the base policy, and only into that.

    Raises:
      SkillRLError: weights or adapter cannot be used.
    """
    settings = session.config.model
    load = functools.partial(
        policy.load_params,
        model,
        directory,
        dtype=settings.param_dtype,
        adapter=settings.adapter_path if directory is None else "",
    )
    with session.display.progress("load", 1, unit="policy file", leave=False):
        return session.display.wait_for("reading the weights", load)


def make_partition(config: Config, model: Model, *, seed: int) -> Partition:
    """Says what of the policy is trained; all phases of a run share the answer."""
    if config.lora.rank:
        return partition.adapter(model.config, lora_shape(config), seed=seed)
    if config.model.freeze:
        return partition.all_but(model.config, config.model.freeze, dtype=config.model.param_dtype)
    return partition.everything(model.config, config.model.param_dtype)


def lora_shape(config: Config) -> Lora:
    """Reads the rank, scale and targets of the adapter that ``config.lora`` describes."""
    return Lora(config.lora.rank, config.lora.alpha, config.lora.targets)


def open_teacher(session: Session) -> Teacher:
    """Opens the teacher; answers are kept in the run, so a resumed run asks nothing twice."""
    return make_teacher(session.config.model, session.run.file("teacher"))


def open_retriever(session: Session, model: Model | None) -> Retriever:
    """Opens the retrieval of skills; the embedder's answers are kept in the run."""
    found = make_retriever(session.config, model, cache_dir=session.run.file("teacher"))
    if processes.count() == 1 or isinstance(found.embedder, HashingEmbedder):
        return found
    return dataclasses.replace(found, embedder=AskedOnce(found.embedder))


def make_retriever(
    config: Config, model: Model | None, *, cache_dir: Path | None = None
) -> Retriever:
    """Makes the retrieval of skills.

    Args:
      config: the settings.
      model: the policy, whose tokenizer counts for ``skill_retrieval.max_tokens``; None estimates.
      cache_dir: where vectors that a server made are kept.

    Raises:
      SkillRLError: there is no such retrieval rule or embedder.
    """
    get_retrieval(config.skill_retrieval.order)  # a typo shows before anything is played
    retriever = Retriever(make_embedder(config.model, cache_dir), config.skill_retrieval)
    if model is None:
        return retriever
    count = functools.partial(count_skill_tokens, encode=model.tokenizer.encode)
    return dataclasses.replace(retriever, count_tokens=count)


def open_agent(config: Config, suite: Suite, model: Model | None) -> SkillAgent:
    """Makes the one prompt builder and parser; without a model, for an engine that takes text."""
    if model is None:
        return make_agent(config, suite, None)
    return make_agent(
        config, suite, model.tokenizer, suffix_limit=make_buckets(config).suffix_limit
    )


def open_player(session: Session, model: Model | None, retriever: Retriever) -> Player:
    """Makes what plays the episodes of a session; see `make_player`.

    A session that only reads its run leaves the policies there alone that a server may be reading.

    Raises:
      SkillRLError: it only reads the run, and would take the rollout server from its owner.
    """
    if model is not None and session.config.rollout.engine != "local":
        session.run.keep_others_out(
            "both may give their policies to the rollout server: wait for it, or use "
            "rollout.engine=local here"
        )
    locked, shared = session.run.locked, session.config.rollout.weights_dir
    directory = session.run.file("rl", "published") if locked else session.run.path
    if shared:
        directory = Path(shared, session.run.name()) if locked else Path(shared)
    player = make_player(
        session.config,
        session.suite,
        model=model,
        retriever=retriever,
        seed=session.seed,
        directory=directory,
        temporary=not locked,
    )
    return dataclasses.replace(player, note=session.display.note)


def make_player(
    config: Config,
    suite: Suite,
    *,
    model: Model | None,
    retriever: Retriever,
    seed: int,
    directory: Path | None = None,
    temporary: bool = True,
) -> Player:
    """Makes what plays episodes.

    Args:
      config: the settings.
      suite: the environments to play in.
      model: the policy, sampled on these devices; None for one that a server samples.
      retriever: chooses the skills of a prompt.
      seed: the seed of sampling.
      directory: where policies are put for a rollout server; None is ``rollout.weights_dir``.
      temporary: they go into a new directory there, which goes at the end.

    Raises:
      SkillRLError: there is a rollout server and no place for its policies.
    """
    return Player(
        suite=suite,
        agent=open_agent(config, suite, model),
        engine=make_engine(config, model, seed=seed, directory=directory, temporary=temporary),
        retriever=retriever,
        max_response_length=config.rl.max_response_length,
        workers=config.env.workers,
    )


def make_buckets(config: Config) -> Buckets:
    """Makes the padded lengths that the settings ask for; they decide what is compiled."""
    return Buckets.from_limits(
        max_prompt_length=config.rl.max_prompt_length,
        max_response_length=config.rl.max_response_length,
        growth=config.rollout.bucket_growth,
        prefix=config.rollout.prefix_buckets,
        suffix=config.rollout.suffix_buckets,
        cache=config.rollout.cache_buckets,
        response=config.train_batch.response_buckets,
        row=config.train_batch.row_buckets,
    )


def make_engine(
    config: Config,
    model: Model | None,
    *,
    seed: int,
    directory: Path | None = None,
    temporary: bool = True,
) -> LocalEngine | RemoteEngine | ServedEngine:
    """Makes the rollout engine.

    Args:
      config: the settings.
      model: the policy; None for one that stays on its server.
      seed: of all draws.
      directory: see `make_player`.
      temporary: see `make_player`.

    Raises:
      SkillRLError: there is a rollout server and no place for its policies.
    """
    if model is None:
        return make_openai_engine(config.model, slots=config.rollout.slots, seed=seed)
    if config.rollout.engine != "local":
        place = directory or config.rollout.weights_dir
        if not place:
            raise SkillRLError(
                f"rollout.engine is {config.rollout.engine}, and there is no run directory: set "
                "rollout.weights_dir to a directory that the server sees, or use "
                "rollout.engine=local."
            )
        return make_served_engine(
            model,
            config.rollout,
            config.model,
            directory=Path(place),
            seed=seed,
            temporary=temporary,
        )
    own = policy.on_own_devices(model)
    return make_local_engine(
        own.config,
        config.rollout,
        buckets=make_buckets(config),
        max_response_length=config.rl.max_response_length,
        stops=own.stop_ids,
        mesh=own.mesh,
        seed=seed,
    )


def make_shapes(config: Config, model: Model, *, samples_per_row: int) -> Shapes:
    """Makes the compiled sizes of training.

    Args:
      config: the settings.
      model: what is trained.
      samples_per_row: how many samples that share a prefix may lie beside each other.

    Raises:
      SkillRLError: not even the smaller block of samples fits into memory.
    """
    shapes = Shapes.from_config(
        config.train_batch,
        buckets=make_buckets(config),
        samples_per_row=samples_per_row,
        devices=num_row_devices(model.mesh),
    )
    memory.check_micro_batch(model.config, model.mesh, tokens=shapes.smallest_block)
    return shapes


def make_updater(
    config: Config,
    model: Model,
    partition: Partition,
    *,
    loss: LossFn,
    entropy_coeff: float = 0.0,
    **optimizer: Any,
) -> Updater:
    """Builds the jitted updates of what is trained.

    Args:
      config: the settings.
      model: the policy; gives sizes and devices.
      partition: says which of its parameters are trained.
      loss: computes the loss from log-probabilities.
      entropy_coeff: by how much a nat of entropy lowers the loss; see `make_updater` of
        `training.update`.
      **optimizer: settings of the optimiser, as `training.steps.build_updater` takes them.
    """
    return build_updater(
        config=model.config,
        partition=partition,
        mesh=model.mesh,
        loss=loss,
        remat=config.model.remat,
        logprob_chunk=config.train_batch.logprob_chunk,
        entropy_coeff=entropy_coeff,
        **optimizer,
    )


def rl_updater(settings: Config, model: Model, partition: Partition) -> Updater:
    """Builds the jitted GRPO step that ``settings.rl`` describes."""
    config = settings.rl
    return make_updater(
        settings,
        model,
        partition,
        loss=make_loss(config),
        entropy_coeff=config.entropy_coeff,
        learning_rate=config.learning_rate,
        schedule=config.lr_schedule,
        total_steps=max(1, config.training_epochs) * config.minibatches + 1,
        warmup_steps=config.warmup_iterations * config.minibatches,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
    )


def publish(config: Config, player: Player, *, params: Params, version: int) -> None:
    """Gives the engine of `player` parameters to act with; a remote engine has its own.

    Args:
      config: the settings.
      player: plays the episodes.
      params: the parameters of the whole policy.
      version: the number of this policy, which the episodes that it plays record.

    Raises:
      SkillRLError: a parameter is not finite: every answer would be the same token; or a rollout
        server does not take the policy.
    """
    if config.model.policy != "local":
        return
    check_finite(params, "the policy cannot act: its parameter")
    if isinstance(player.engine, ServedEngine):
        player.engine.publish(params, version)
        return
    params = localise(params)
    int8, engine = config.rollout.weights == "int8", cast(LocalEngine, player.engine)
    engine.publish(quantise(params) if int8 else params, version)


def stage(player: Player, *, params: Params, version: int) -> Export:
    """Writes parameters for a rollout server, which goes on with those that it has.

    Args:
      player: plays on such a server.
      params: the parameters of the whole policy, which may change afterwards.
      version: the number of this policy.

    Raises:
      SkillRLError: a parameter is not finite, or they cannot be written.
    """
    check_finite(params, "the policy cannot act: its parameter")
    return cast(ServedEngine, player.engine).stage(params, version)


def switch(player: Player, staged: Export) -> None:
    """Lets a rollout server load what was staged; nobody may be playing on it.

    Raises:
      SkillRLError: it does not take the policy.
    """
    cast(ServedEngine, player.engine).switch(staged)


def publication(player: Player) -> dict[str, float]:
    """Returns metrics of the last publication by name; none where it went to these devices."""
    return player.engine.report() if isinstance(player.engine, ServedEngine) else {}


def export(config: Config, model: Model, *, params: Params, directory: Path) -> None:
    """Writes a policy as a Hugging Face directory.

    Args:
      config: the settings.
      model: the policy that was opened; gives sizes and tokenizer.
      params: the parameters to write.
      directory: where to write.

    Raises:
      SkillRLError: a parameter is not finite, or the directory cannot be written.
    """
    check_finite(params, f"{directory} is not written: the parameter")
    with writing(directory):
        weights.save(
            directory,
            params,
            model.config,
            tokenizer_dir=model.directory,
            dtype=config.model.dtype,
        )


def export_adapter(
    config: Config, model: Model, *, trained: Params, directory: Path, base: Path
) -> None:
    """Writes a trained adapter in PEFT's format.

    Args:
      config: the settings.
      model: the policy that was adapted.
      trained: the parameters of the adapter.
      directory: where to write.
      base: the directory of the model that it adapts, which its settings name.

    Raises:
      SkillRLError: a parameter is not finite, or the directory cannot be written.
    """
    check_finite(trained, f"{directory} is not written: the parameter")
    with writing(directory):
        lora.save(directory, trained, config=model.config, lora=lora_shape(config), base=str(base))
