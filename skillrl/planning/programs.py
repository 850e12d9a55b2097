"""Makes the programs of an iteration of RL as the phases make them, for shapes without weights.

Everything comes from the builders that a run uses (`phases.build`, `inference.decode_state`,
`training.update`), so that a plan cannot drift from what is run. Each program is the largest that
the config makes of it: the longest prefix, suffix and response, full blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from skillrl.config.settings import Config
from skillrl.inference import decode_state, sampler
from skillrl.models import parameters
from skillrl.models.config import TransformerConfig
from skillrl.models.fused import to_decode_layout
from skillrl.models.kv_cache import kv_zeros
from skillrl.models.parameters import axes_tree
from skillrl.models.policy import Model
from skillrl.parallel import rules
from skillrl.parallel.random_keys import ADDRESS_WIDTH
from skillrl.phases import build
from skillrl.planning.held import Work, find_work
from skillrl.training.batch import MicroBatch
from skillrl.training.partition import Partition
from skillrl.training.update import Updater

_POOL_AXES = (None, "rows", None, "kv_heads", None, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Holds a jitted function and the shapes that it is compiled for.

    Attributes:
      name: for people.
      function: as the run calls it.
      arguments: its positional arguments, shapes with shardings in place of arrays.
      named: its named arguments, static ones among them.
      tokens: how many tokens one device passes through the layers, at most.
      keys: how many keys each of them attends to.
      backward: whether it takes a gradient.
    """

    name: str
    function: Any
    arguments: tuple
    named: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokens: int = 0
    keys: int = 0
    backward: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Holds what programs are made for.

    Attributes:
      config: the settings, with the mesh that is planned.
      model: the policy on that mesh, without tokenizer and weights.
      partition: what of it is trained.
      updater: the GRPO step, as RL builds it.
      work: compiled sizes.
    """

    config: Config
    model: Model
    partition: Partition
    updater: Updater
    work: Work


def make_subject(config: Config, sizes: TransformerConfig, *, mesh: jax.sharding.Mesh) -> Subject:
    """Builds what a phase of RL would build.

    Args:
      config: the settings.
      sizes: of the policy.
      mesh: devices to compile for.
    """
    computed = dataclasses.replace(
        sizes,
        dtype=config.model.dtype,
        attention=config.model.attention,
        mesh=mesh if mesh.size > 1 else None,
    )
    shapes = _typed(computed, config.model.param_dtype)
    model = Model(
        directory=Path(),
        config=computed,
        tokenizer=cast(Any, None),  # no program reads text
        mesh=mesh,
        shardings=rules.tree_shardings(mesh, axes_tree(computed), shapes),
    )
    partition = build.make_partition(config, model, seed=config.seed)
    return Subject(
        config=config,
        model=model,
        partition=partition,
        updater=build.rl_updater(config, model, partition),
        work=find_work(config, mesh, buckets=build.make_buckets(config)),
    )


def training(it: Subject) -> Iterator[Program]:
    """Makes the programs of an update."""
    work, config, programs = it.work, it.model.config, it.updater.programs
    devices = rules.num_row_devices(it.model.mesh)
    state, policy = it.updater.abstract_state, _policy(it)
    frozen = it.partition.frozen(policy)
    (rows, members), answers = work.micro, min(it.work.response, it.work.row)
    batch = micro_batch(rows, members, width=work.row, answers=answers)
    tokens = (_ints(work.prefix_rows, work.prefix), _ints(work.prefix_rows))
    a_row, a_prefix = -(-rows // devices), -(-work.prefix_rows // devices)
    yield Program(
        name="micro-batch",
        function=programs["micro_step"],
        arguments=(
            state.params,
            _kv(it, rows, config.dtype),
            frozen,
            _by_rows(it, batch),
            state.params,
        ),
        tokens=a_row * members * work.row,
        keys=work.prefix + work.row,
        backward=True,
    )
    yield Program(
        name="prefixes",
        function=programs["prefix_forward"],
        arguments=(_joined(it, policy), *_by_rows(it, tokens)),
        tokens=a_prefix * work.prefix,
        keys=work.prefix,
    )
    yield Program(
        name="gradient of prefixes",
        function=programs["prefix_backward"],
        arguments=(
            state.params,
            frozen,
            *_by_rows(it, tokens),
            _kv(it, work.prefix_rows, "float32"),
            state.params,
        ),
        tokens=a_prefix * work.prefix,
        keys=work.prefix,
        backward=True,
    )


def optimizer_step(it: Subject) -> Program:
    """Makes the program of AdamW."""
    state = it.updater.abstract_state
    return Program(
        name="optimizer step",
        function=it.updater.programs["apply"],
        arguments=(state, state.params),
    )


def sampling(it: Subject) -> Iterator[Program]:
    """Makes the programs of sampling: a prefix, suffixes after their prefixes, a decode step."""
    work, config, mesh = it.work, it.model.config, it.model.mesh
    layout, params = work.layout, sampling_policy(it)
    yield Program(
        name="prefill of a prefix",
        function=sampler.prefill_prefix,
        arguments=(params, *_whole(it, (_ints(work.prefix), _ints()))),
        named={"config": config},
        tokens=work.prefix,
        keys=work.prefix,
    )
    rows = layout.prefill_rows(work.suffix)
    kv = _whole(it, jax.eval_shape(lambda: kv_zeros(config, (1, 1), work.prefix)))
    number = jax.ShapeDtypeStruct((), jnp.float32)
    draws = {"temperature": number, "top_p": number}
    arrays = {
        "prefix_lengths": _ints(rows),
        "tokens": _ints(rows, work.suffix),
        "lengths": _ints(rows),
        "rng_address": jax.ShapeDtypeStruct((rows, ADDRESS_WIDTH), jnp.uint32),
    }
    seed = jax.eval_shape(lambda: jax.random.key(0))
    yield Program(
        name="prefill of suffixes",
        function=sampler.prefill,
        arguments=(params, (kv,) * rows),
        named=_by_rows(it, arrays) | _whole(it, {"seed_key": seed, **draws}) | {"config": config},
        tokens=-(-rows // rules.num_row_devices(mesh)) * work.suffix,
        keys=work.prefix + work.suffix,
    )
    shape = decode_state.DecodeShape(
        prefix_rows=layout.prefix_rows,
        group_members=layout.group_members,
        prefix=work.prefix,
        suffix=work.cache,
        response=work.response,
    )
    limits = {
        "awaited": jax.ShapeDtypeStruct((layout.prefix_rows, layout.group_members), bool),
        "min_finished": _ints(),
        "max_steps": _ints(),
    }
    yield Program(
        name="decode step",
        function=decode_state.decode,
        arguments=(params, _empty_state(it, shape)),
        named=_whole(it, limits | draws) | {"config": config, "stops": (1, 2), "mesh": mesh},
    )


def micro_batch(rows: int, members: int, *, width: int, answers: int) -> MicroBatch:
    """Makes the shapes of a micro-batch.

    Args:
      rows: B.
      members: G.
      width: T.
      answers: A.
    """
    slots, scored = (rows, members), (rows, members, answers)

    def ints(*shape: int) -> Any:  # shapes where a run has arrays
        return _ints(*shape)

    def floats(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    return MicroBatch(
        prefix=ints(rows),
        prefix_lengths=ints(rows),
        tokens=ints(*slots, width),
        suffix_lengths=ints(*slots),
        response_lengths=ints(*slots),
        weights=floats(*scored),
        old=floats(*scored),
        ref=floats(*scored),
        advantages=floats(*slots),
    )


def sampling_policy(it: Subject) -> Any:
    """Makes the shapes of a policy as decoding reads it; layers are cut out as they are split."""
    policy = _joined(it, _policy(it))

    def lay_out(policy: Any) -> Any:
        fused = it.work.layout.fuse_projections
        return to_decode_layout(policy, dtype=it.model.config.dtype, fuse=fused)

    shapes = jax.eval_shape(lay_out, policy)
    axes = parameters.flatten(axes_tree(it.model.config)) | parameters.flatten(it.partition.axes)
    axes = {tuple(str(part) for part in path): names for path, names in axes.items()}

    def place(path: Any, x: Any) -> jax.ShapeDtypeStruct:
        names = tuple(str(key.key) for key in path if hasattr(key, "key"))
        own: tuple[str | None, ...] = (None,) * x.ndim
        if names in axes:
            own = axes[names][1:] if names[0] == "layers" else axes[names]
        elif names[-1] == "kernel":  # of fused projections: inputs by outputs
            own = ("embed", None)
        sharding = rules.sharding(it.model.mesh, own, x.shape)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(place, shapes)


def _empty_state(it: Subject, shape: decode_state.DecodeShape) -> Any:
    """Makes the shapes of a decode state, each split as `decode_state` splits it."""
    make = decode_state.init_decode_state
    lowered = make.lower(shape=shape, config=it.model.config, mesh=it.model.mesh)
    if it.model.mesh.size == 1:
        return _whole(it, lowered.out_info)
    shardings = lowered.compile().output_shardings
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        lowered.out_info,
        shardings,
    )


def _typed(sizes: TransformerConfig, dtype: str) -> Any:
    table = parameters.specs(sizes)
    return parameters.unflatten(
        {path: jax.ShapeDtypeStruct(spec.shape, jnp.dtype(dtype)) for path, spec in table.items()}
    )


def _policy(it: Subject) -> Any:
    """Makes the shapes of the whole policy, as the trainer holds it."""
    shapes = _typed(it.model.config, it.config.model.param_dtype)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, it.model.shardings
    )


def _joined(it: Subject, policy: Any) -> Any:
    """Puts an adapter's leaves beside a policy's."""
    if it.partition.whole or not it.config.lora.rank:
        return policy
    adapter = parameters.flatten(it.updater.abstract_state.params)
    return parameters.unflatten(parameters.flatten(policy) | adapter)


def _kv(it: Subject, rows: int, dtype: str) -> Any:
    """Makes the shapes of keys and values that an update reads from its pool."""
    shapes = jax.eval_shape(lambda: kv_zeros(it.model.config, (rows, 1), it.work.prefix))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, dtype, sharding=rules.sharding(it.model.mesh, _POOL_AXES, x.shape)
        ),
        shapes,
    )


def _by_rows(it: Subject, tree: Any) -> Any:
    """Splits arrays by rows, as `rules.put_rows` does."""

    def place(x: Any) -> jax.ShapeDtypeStruct:
        axes = ("rows", *(None,) * (x.ndim - 1))
        split = rules.sharding(it.model.mesh, axes, x.shape)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=split)

    return jax.tree.map(place, tree)


def _whole(it: Subject, tree: Any) -> Any:
    """Gives every device the whole of each array."""
    whole = rules.replicated(it.model.mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=whole), tree)


def _ints(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)
