"""From settings to the objects that phases work with: pure builders, no state between them."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jax

from skillrl.agent.agent import SkillAgent, make_agent
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import Suite
from skillrl.errors import SkillRLError
from skillrl.inference.base import apart, ladder
from skillrl.models import lora, policy, weights
from skillrl.models.lora import Lora
from skillrl.models.policy import Model
from skillrl.models.quantised import quantise
from skillrl.models.transformer import Params
from skillrl.parallel import host_memory, room
from skillrl.parallel.mesh import make_mesh
from skillrl.parallel.rules import replicated, tree_shardings
from skillrl.phases.session import Session
from skillrl.rollout.player import Player
from skillrl.skills.retrieval import Retriever
from skillrl.teacher.base import Teacher
from skillrl.teacher.registry import make_embedder, make_teacher
from skillrl.training import partition
from skillrl.training.finite import check_finite
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.packing import PART, Shapes
from skillrl.training.partition import Partition
from skillrl.training.update import LossFn, Updater, make_updater

if TYPE_CHECKING:
    from skillrl.inference.local import LocalEngine

_LOG = logging.getLogger(__name__)


def open_mesh(config: Config) -> jax.sharding.Mesh:
    """Arranges the devices as ``config.mesh`` says.

    On CPUs the process also keeps memory that it has freed, which it will want again.

    Raises:
      SkillRLError: there are not as many devices.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    if mesh.devices.flat[0].platform == "cpu":
        host_memory.keep_freed()
    return mesh


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
        return partition.all_but(model.config, config.model.freeze, config.model.param_dtype)
    return partition.everything(model.config, config.model.param_dtype)


def lora_shape(config: Config) -> Lora:
    """Reads the rank, scale and targets of the adapter that ``config.lora`` describes."""
    return Lora(config.lora.rank, config.lora.alpha, config.lora.targets)


def open_teacher(session: Session) -> Teacher:
    """Opens the teacher; answers are kept in the run, so a resumed run asks nothing twice."""
    return make_teacher(session.config.model, session.run.file("teacher"))


def open_retriever(session: Session) -> Retriever:
    """Opens the retrieval of skills; the embedder's answers are kept in the run likewise."""
    return make_retriever(session.config, session.run.file("teacher"))


def make_retriever(config: Config, cache_dir: Path | None = None) -> Retriever:
    """Makes the retrieval of skills; vectors that a server made are kept in `cache_dir`."""
    return Retriever(make_embedder(config.model, cache_dir), config.skill_retrieval)


def open_agent(config: Config, suite: Suite, model: Model | None) -> SkillAgent:
    """Makes the one prompt builder and parser; without a model, for an engine that takes text."""
    if model is None:
        return make_agent(config, suite, None)
    return make_agent(config, suite, model.tokenizer, suffix_limit=suffix_limit(config))


def open_player(session: Session, model: Model | None, retriever: Retriever) -> Player:
    """Makes what plays the episodes of a session; see `make_player`."""
    player = make_player(session.config, session.suite, model, retriever, seed=session.seed)
    return dataclasses.replace(player, note=session.display.note)


def make_player(
    config: Config, suite: Suite, model: Model | None, retriever: Retriever, *, seed: int
) -> Player:
    """Makes what plays episodes: with `model` sampled here, without one on its server."""
    return Player(
        suite=suite,
        agent=open_agent(config, suite, model),
        engine=make_engine(config, model, seed=seed),
        retriever=retriever,
        max_response_length=config.rl.max_response_length,
        workers=config.env.workers,
    )


def make_buckets(config: Config) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Makes the buckets of prefixes, suffixes and caches."""
    rollout = config.rollout
    rungs = ladder(config.rl.max_prompt_length, growth=rollout.bucket_growth)
    prefixes, suffixes = rollout.prefix_buckets or rungs, rollout.suffix_buckets or rungs
    return prefixes, suffixes, rollout.cache_buckets or apart(suffixes)


def prefix_limit(config: Config) -> int:
    """Tokens that the shared part of a prompt may have."""
    return min(make_buckets(config)[0][-1], config.rl.max_prompt_length - 1)


def suffix_limit(config: Config) -> int:
    """Tokens that a step's own part may have."""
    return make_buckets(config)[2][-1]


def make_engine(config: Config, model: Model | None, *, seed: int) -> Any:
    """Makes the rollout engine."""
    rollout, settings = config.rollout, config.model
    if model is None:
        from skillrl.inference.openai import OpenAIEngine
        from skillrl.inference.remote import RemoteEngine
        from skillrl.net.openai_client import OpenAIClient

        client = OpenAIClient(
            settings.policy_api_base,
            settings.policy_model_id,
            settings.policy_api_key,
            use="policy",
            timeout=settings.policy_timeout,
            retries=settings.policy_retries,
            connections=rollout.slots,
        )
        server = OpenAIEngine(client, concurrency=rollout.slots)
        return RemoteEngine(server, slots=rollout.slots, seed=seed)
    from skillrl.inference.local import Layout, LocalEngine
    from skillrl.models.joined import worth_joining

    rows = rollout.slots // (rollout.members * rollout.lanes)
    prefixes, suffixes, caches = make_buckets(config)
    layout = Layout(
        rows,
        rollout.members,
        prefixes,
        tuple(s for s in suffixes if s <= rollout.prefill_tokens) or suffixes[:1],
        caches,
        rollout.prefix_cache or max(2 * rows, rows * rollout.members, 32),
        rollout.prefill_tokens,
        rollout.lanes,
        join=worth_joining(model.mesh),
        devices=model.mesh.shape["data"] * model.mesh.shape["fsdp"],
    )
    room.check_grid(  # the smallest that can be asked for; the others before they are made
        model.config,
        model.mesh,
        rows=layout.rows,
        members=layout.members,
        prefix=layout.prefix_buckets[0],
        cell=layout.cache_buckets[0] + config.rl.max_response_length,
    )
    return LocalEngine(model.config, layout, seed=seed, stops=model.stop_ids, mesh=model.mesh)


def make_shapes(config: Config, model: Model, *, members: int) -> Shapes:
    """Compiled shapes of training, with at most `members` rows on a line of one prefix."""
    batch, (prefixes, suffixes, _) = config.train_batch, make_buckets(config)
    # A wide ladder: what pads a response is never computed but for its scores.
    most = config.rl.max_response_length
    responses = batch.response_buckets or ladder(most, growth=2.0)
    if responses[-1] < most:  # given with a preset, and the limit was raised since
        responses = (*responses, most)
    longest = suffixes[-1] + responses[-1]
    rows = batch.row_buckets or ladder(longest, growth=config.rollout.bucket_growth)
    rows = (*(width for width in rows if width < longest), longest)
    devices = model.mesh.shape["data"] * model.mesh.shape["fsdp"]
    # The smaller of its two sizes; a single row is always allowed.
    room.check_micro_batch(model.config, model.mesh, tokens=batch.tokens // PART)
    return Shapes(batch.tokens, members, prefixes, rows, responses, devices)


def build_updater(
    settings: Config,
    model: Model,
    partition: Partition,
    *,
    loss: LossFn,
    entropy_coeff: float = 0.0,
    **optimizer: Any,
) -> Updater:
    """Builds the jitted updates of what is trained; other keywords go to `make_optimizer`."""
    transform = make_optimizer(**optimizer)
    shardings = tree_shardings(model.mesh, partition.axes, partition.shapes)
    return make_updater(
        config=model.config,
        loss=loss,
        optimizer=transform,
        mesh=model.mesh,
        param_shapes=partition.shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(
            transform, partition.shapes, shardings, replicated(model.mesh)
        ),
        join=partition.join,
        remat=settings.model.remat,
        logprob_chunk=settings.train_batch.logprob_chunk,
        entropy_coeff=entropy_coeff,
    )


def publish(config: Config, player: Player, params: Params, version: int) -> None:
    """Gives the engine of `player` parameters to act with; a remote engine has its own.

    Raises:
      SkillRLError: a parameter is not finite: every answer would be the same token.
    """
    if config.model.policy == "local":
        check_finite(params, "the policy cannot act: its parameter")
        int8, engine = config.rollout.weights == "int8", cast("LocalEngine", player.engine)
        engine.publish(quantise(params) if int8 else params, version)


def export(config: Config, model: Model, params: Params, directory: Path) -> None:
    """Writes a policy as a Hugging Face directory.

    Raises:
      SkillRLError: a parameter is not finite, or the directory cannot be written.
    """
    check_finite(params, f"{directory} is not written: the parameter")
    with _writing(directory):
        weights.save(
            directory,
            params,
            model.config,
            tokenizer_dir=model.directory,
            dtype=config.model.dtype,
        )


def export_adapter(
    config: Config, model: Model, trained: Params, directory: Path, *, base: Path
) -> None:
    """Writes a trained adapter in PEFT's format; `base` is the model that it adapts.

    Raises:
      SkillRLError: as `export`.
    """
    check_finite(trained, f"{directory} is not written: the parameter")
    with _writing(directory):
        lora.save(directory, trained, model.config, lora_shape(config), base=str(base))


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise SkillRLError(
            f"{directory}: cannot be written ({error}). Check the permissions and the free space "
            "there, then start the same command again; checkpoints are untouched."
        ) from error
