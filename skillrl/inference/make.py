"""Builds the rollout engine that the settings ask for."""

from __future__ import annotations

from pathlib import Path

import jax

from skillrl.config.settings import ModelConfig, RolloutConfig
from skillrl.inference.dialect import Dialect
from skillrl.inference.exports import Exports
from skillrl.inference.layout import Layout
from skillrl.inference.local import LocalEngine
from skillrl.inference.openai import OpenAIEngine
from skillrl.inference.remote import RemoteEngine
from skillrl.inference.served import ServedEngine
from skillrl.inference.sglang import SGLang
from skillrl.inference.vllm import VLLM, Completions
from skillrl.models import memory
from skillrl.models.config import TransformerConfig
from skillrl.models.policy import Model
from skillrl.net.openai_client import find_key
from skillrl.net.service import Service
from skillrl.parallel.buckets import Buckets


def make_local_engine(
    config: TransformerConfig,
    rollout: RolloutConfig,
    *,
    buckets: Buckets,
    max_response_length: int,
    stops: tuple[int, ...],
    mesh: jax.sharding.Mesh,
    seed: int,
) -> LocalEngine:
    """Builds the engine that samples on this machine's devices; `publish` gives it parameters.

    Args:
      config: sizes of the policy.
      rollout: ``rollout.slots``, ``members``, ``lanes`` and what else a `Layout` is made from.
      buckets: of the run.
      max_response_length: tokens of the longest response.
      stops: ids that end a response.
      mesh: devices.
      seed: of all draws.

    Raises:
      SkillRLError: not even the smallest decode state fits into memory, or
        ``rollout.prefix_cache`` is too small.
    """
    layout = Layout.from_config(rollout, buckets=buckets, mesh=mesh)
    # The smallest that can be asked for; larger ones are checked before they are made.
    memory.check_decode_state(
        config,
        mesh,
        rows=layout.prefix_rows,
        members=layout.group_members,
        prefix=layout.prefix_buckets[0],
        slot=layout.cache_buckets[0] + max_response_length,
    )
    return LocalEngine(config, layout, seed=seed, stops=stops, mesh=mesh)


def make_openai_engine(model: ModelConfig, *, slots: int, seed: int) -> RemoteEngine:
    """Builds the engine that asks an OpenAI-compatible server.

    Args:
      model: has the server's address, key, time-out and retries.
      slots: requests in flight at once.
      seed: of all draws; goes to the server with each request's address.
    """
    server = OpenAIEngine(
        model.policy_api_base,
        model.policy_model_id,
        model.policy_api_key,
        concurrency=slots,
        timeout=model.policy_timeout,
        retries=model.policy_retries,
    )
    return RemoteEngine(server, slots=slots, seed=seed)


def make_served_engine(
    model: Model,
    rollout: RolloutConfig,
    settings: ModelConfig,
    *,
    directory: Path,
    seed: int,
    temporary: bool = False,
) -> ServedEngine:
    """Builds the engine that samples on a server of ours; `publish` gives it parameters.

    Args:
      model: the policy.
      rollout: which server, and how many requests at once.
      settings: has the server's key, time-out and retries, and the dtype of exports.
      directory: where policies are put for it; the server reads them by the same path.
      seed: of all draws; goes to the server with each request's address.
      temporary: the directory is not this engine's alone: see `Exports`.
    """
    service = Service(
        rollout.api_base,
        find_key(rollout.api_base, settings.policy_api_key, "policy"),
        timeout=settings.policy_timeout,
        connections=rollout.slots + 1,
    )
    stops = model.stop_ids
    speaks: Dialect
    if rollout.engine == "sglang":
        speaks = SGLang(service, stops=stops)
    elif rollout.engine == "vllm":
        speaks = VLLM(service, model=rollout.served_model, stops=stops)
    else:
        speaks = Completions(service, model=rollout.served_model, stops=stops)

    def exports(adapters: bool) -> Exports:
        return Exports(
            directory, model, dtype=settings.dtype, adapters=adapters, temporary=temporary
        )

    return ServedEngine(
        speaks,
        exports,
        model=model,
        served_model=rollout.served_model,
        slots=rollout.slots,
        seed=seed,
        max_gap=rollout.max_gap,
        patience=rollout.patience,
        retries=settings.policy_retries,
    )
