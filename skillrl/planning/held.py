"""Counts what a device holds throughout an iteration of RL, from shapes and shardings alone.

These numbers are exact: they are bytes of arrays that the run makes, each divided as
`parallel.rules` divides it. Nothing is compiled for them.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from skillrl.config.settings import Config
from skillrl.inference.layout import Layout
from skillrl.models import lora, parameters
from skillrl.models.config import TransformerConfig
from skillrl.parallel import rules
from skillrl.parallel.buckets import Buckets
from skillrl.training.packing import Shapes, pack

_KV_AXES = ("rows", None, "kv_heads", None, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """Holds the compiled sizes of an iteration: of each program the largest that a config makes.

    Attributes:
      layout: of sampling.
      prefix: P, padded tokens of the longest prefix.
      suffix: padded suffix tokens of a prefill.
      cache: room for a suffix in a slot.
      response: A, the longest response.
      row: T, padded tokens of the longest training sample.
      micro: prefix rows and slots of a row of a full micro-batch.
      prefix_rows: prefixes that training computes at once.
      room: U, prefixes of a minibatch.
      kept: prefixes that sampling keeps.
    """

    layout: Layout
    prefix: int
    suffix: int
    cache: int
    response: int
    row: int
    micro: tuple[int, int]
    prefix_rows: int
    room: int
    kept: int


def find_work(config: Config, mesh: Any, *, buckets: Buckets) -> Work:
    """Finds the compiled sizes of an iteration.

    Args:
      config: the settings.
      mesh: devices, or what has their platform and ``shape``.
      buckets: of the run.
    """
    rl = config.rl
    layout = Layout.from_config(config.rollout, buckets=buckets, mesh=mesh)
    shapes = Shapes.from_config(
        config.train_batch,
        buckets=buckets,
        samples_per_row=config.train_batch.members,
        devices=rules.num_row_devices(mesh),
    )
    rows, _, members = shapes.block_sizes(buckets.row[-1], shapes.samples_per_row)
    # With members that play without skills, a group has two prefixes.
    groups = rl.batch_size // rl.group_size * (2 if rl.bare_members else 1)
    distinct = math.ceil(groups / rl.minibatches)
    widest = [(number, buckets.prefix[-1]) for number in range(distinct)]
    blocks = pack(widest, buckets.prefix, shapes=shapes, samples_per_row=1)
    played = max(groups, config.evaluation.quick_tasks)
    return Work(
        layout=layout,
        prefix=buckets.prefix[-1],
        suffix=layout.suffix_buckets[-1],
        cache=buckets.cache[-1],
        response=rl.max_response_length,
        row=buckets.row[-1],
        micro=(rows, members),
        prefix_rows=max(block.num_rows for block in blocks),
        room=1 << (distinct - 1).bit_length(),
        kept=min(layout.prefix_cache, played),
    )


def device_bytes(mesh: Any, axes: Sequence[str | None], *, shape: Sequence[int], width: int) -> int:
    """Counts the bytes that one device holds of an array.

    Args:
      mesh: what has a ``shape``, axis -> size.
      axes: logical axes of the array.
      shape: its lengths.
      width: bytes of a number.
    """
    split = rules.spec(mesh, axes, shape)
    parts = 1
    for names in split:
        together = (names,) if isinstance(names, str) else names or ()
        parts *= math.prod(mesh.shape[axis] for axis in together)
    return math.prod(shape) // parts * width


def held(config: Config, sizes: TransformerConfig, *, mesh: Any, work: Work) -> dict[str, float]:
    """Counts bytes on one device by what they hold, for as long as RL goes on.

    Args:
      config: the settings.
      sizes: of the policy.
      mesh: what has a ``shape``, axis -> size.
      work: compiled sizes.
    """
    width = {name: np.dtype(jnp.dtype(name)).itemsize for name in ("float32", "bfloat16")}
    held_as, computed = width[config.model.param_dtype], width[config.model.dtype]
    policy = {path: (s.axes, s.shape) for path, s in parameters.specs(sizes).items()}
    trained: Mapping[Any, tuple] = policy
    shape = lora.Lora(config.lora.rank, config.lora.alpha, config.lora.targets)
    if config.lora.rank:
        trained = {path: (s.axes, s.shape) for path, s in lora.specs(sizes, shape).items()}
    elif config.model.freeze:
        from skillrl.training.partition import all_but

        kept = parameters.flatten(all_but(sizes, config.model.freeze).shapes)
        trained = {path: entry for path, entry in policy.items() if path in kept}

    def total(entries: Iterable[tuple], width: int) -> float:
        return float(
            sum(device_bytes(mesh, axes, shape=shape, width=width) for axes, shape in entries)
        )

    trained_as = 4 if config.lora.rank else held_as
    parameters_ = total(trained.values(), trained_as)
    frozen = total((e for path, e in policy.items() if path not in trained), held_as)
    whole = total(policy.values(), held_as)
    int8 = config.rollout.weights == "int8"
    sampler = sum(
        total([entry], _sampling_width(path, sizes, held_as=held_as, computed=computed, int8=int8))
        for path, entry in policy.items()
    )
    if config.lora.rank:
        sampler += total(trained.values(), computed)
    counters = 2 * 4  # steps of the optimiser and of its schedule
    return {
        "parameters": parameters_ + frozen,
        "optimizer": total(trained.values(), 8) + counters,
        "reference policy": whole - frozen,
        "gradients": parameters_,
        "policy laid out for sampling": sampler,
        "KV cache": _slots(sizes, mesh, work=work, width=computed)
        + _kept(sizes, mesh, work=work, width=computed),
        "prefixes of an update": _pools(sizes, mesh, work=work, width=computed),
    }


def _sampling_width(
    path: tuple[str, ...], sizes: TransformerConfig, *, held_as: int, computed: int, int8: bool
) -> int:
    """Says how many bytes a number takes in the layout that decoding reads.

    Args:
      path: of the parameter.
      sizes: of the policy.
      held_as: bytes of a number of the trainer's.
      computed: bytes of a number of activations.
      int8: whether kernels are quantised; their scales, one per output, are not counted.
    """
    multiplied = path[-1] == "kernel" or (path[-1] == "embedding" and sizes.tie_embeddings)
    if int8 and multiplied:
        return 1
    return computed if path[-1] in ("kernel", "embedding") else held_as


def kv_bytes(
    sizes: TransformerConfig, mesh: Any, *, rows: tuple[int, int], tokens: int, width: int
) -> float:
    """Counts the bytes of keys and values on one device, of all layers.

    Args:
      sizes: of the policy.
      mesh: what has a ``shape``, axis -> size.
      rows: B and g, as `models.kv_cache` has them.
      tokens: of each row.
      width: bytes of a number.
    """
    shape = (*rows, sizes.num_kv_heads, sizes.head_dim, tokens)
    return 2.0 * sizes.num_layers * device_bytes(mesh, _KV_AXES, shape=shape, width=width)


def _slots(sizes: TransformerConfig, mesh: Any, *, work: Work, width: int) -> float:
    """Counts the decode states of all workers."""
    layout = work.layout
    rows, members = layout.prefix_rows, layout.group_members
    prefixes = kv_bytes(sizes, mesh, rows=(rows, 1), tokens=work.prefix, width=width)
    own = kv_bytes(
        sizes, mesh, rows=(rows, members), tokens=work.cache + work.response, width=width
    )
    drawn = device_bytes(mesh, ("rows", None, None), shape=(rows, members, work.response), width=8)
    return float(layout.workers * (prefixes + own + drawn))


def _kept(sizes: TransformerConfig, mesh: Any, *, work: Work, width: int) -> float:
    """Counts the prefixes that sampling keeps: one row each, so split by kv heads at most."""
    return work.kept * kv_bytes(sizes, mesh, rows=(1, 1), tokens=work.prefix, width=width)


def _pools(sizes: TransformerConfig, mesh: Any, *, work: Work, width: int) -> float:
    """Counts keys and values of a minibatch's prefixes, and the float32 sums of their gradients."""
    return kv_bytes(sizes, mesh, rows=(work.room, 1), tokens=work.prefix, width=width + 4)


def counted_mesh(data: int, fsdp: int, tensor: int) -> Any:
    """Makes what has the ``shape`` and the platform of a mesh but no devices, to count with."""
    device = types.SimpleNamespace(platform="cpu")
    return types.SimpleNamespace(
        shape={"data": data, "fsdp": fsdp, "tensor": tensor}, devices=np.array([device])
    )
