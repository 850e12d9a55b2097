"""The rollout engine in JAX: prefix cache, fixed grid, bucket ladder.

`LocalEngine.choose` puts together requests that share compiled shapes, the oldest
request's first; `generate` runs them as one call. Shapes come from the `Layout` alone,
so the same request gives the same tokens bit for bit whatever else is going on.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Generated, Sampling, bucket_of
from skillrl.inference.sampler import prefill_prefix, sample, store_prefix
from skillrl.models.config import ModelConfig
from skillrl.models.transformer import Params, kv_zeros
from skillrl.parallel import addresses
from skillrl.parallel.rules import put_rows


@dataclasses.dataclass(frozen=True)
class Layout:
    """Compiled shapes.

    Attributes:
      rows: B, prefixes side by side in a call.
      members: M, suffixes per prefix in a call; 1 lets any requests share a call.
      prefix_buckets: padded prefix lengths, rising.
      suffix_buckets: padded suffix lengths, rising.
      prefix_cache: prefixes kept per bucket; at least `rows`.
    """

    rows: int
    members: int
    prefix_buckets: tuple[int, ...]
    suffix_buckets: tuple[int, ...]
    prefix_cache: int

    def __post_init__(self) -> None:
        if self.prefix_cache < self.rows:
            raise SkillRLError(
                f"rollout.prefix_cache={self.prefix_cache} is smaller than the {self.rows} "
                "prefixes of one call (rollout.slots / rollout.members): raise it"
            )


class _Pool:
    """Prefixes of one bucket: KV (B = N, m = 1) with least-recently-used reuse."""

    def __init__(self, config: ModelConfig, size: int, width: int):
        self.kv = kv_zeros(config, (size, 1), width)
        self.slots: collections.OrderedDict[tuple[int, ...], int] = collections.OrderedDict()
        self.free = list(range(size))[::-1]

    def slot(self, ids: tuple[int, ...]) -> tuple[int, bool]:
        """The slot of a prefix, and whether it must be computed."""
        if ids in self.slots:
            self.slots.move_to_end(ids)
            return self.slots[ids], False
        slot = self.free.pop() if self.free else self.slots.popitem(last=False)[1]
        self.slots[ids] = slot
        return slot, True


class LocalEngine:
    """Samples from parameters that live on this machine's devices.

    Attributes:
      version: policy version of the parameters.
      slots: cells of the grid.
      prefixes_computed: prefix passes since the start (each prefix once per version).
    """

    def __init__(
        self,
        config: ModelConfig,
        layout: Layout,
        *,
        seed: int,
        stops: tuple[int, ...],
        mesh: jax.sharding.Mesh,
    ):
        self.version = -1
        self.slots = layout.rows * layout.members
        self.prefixes_computed = 0
        self._config, self._layout, self._stops = config, layout, stops
        self._mesh = mesh
        self._seed = jax.random.key(seed)
        self._params: Params | None = None
        self._pools: dict[int, _Pool] = {}

    def publish(self, params: Params, version: int) -> None:
        """Takes new parameters; everything cached for the old ones is dropped."""
        self._params, self.version = params, version
        self._pools.clear()

    def choose(self, waiting: Sequence[Generate]) -> list[int]:
        """Those that share the oldest request's bucket, at most one grid.

        The fullest bucket would give fuller grids for a while and a long tail after it:
        the others wait until its episodes are over. Served in turn, episodes stay at
        about the same step, hence at about the same length and in the same bucket.
        """
        shape = self._shape(waiting[0])
        rows: dict[tuple[int, ...], list[int]] = {}
        for i, request in enumerate(waiting):
            if self._shape(request) == shape:
                rows.setdefault(request.prefix_ids, []).append(i)
        return self._fill(rows)

    def generate(self, requests: Sequence[Generate], sampling: Sampling) -> list[Generated]:
        """Answers requests of one bucket as one compiled call."""
        if self._params is None:
            raise RuntimeError("publish parameters before generating")
        layout = self._layout
        prefix_width, suffix_width = self._shape(requests[0])
        if prefix_width not in self._pools:
            self._pools[prefix_width] = _Pool(self._config, layout.prefix_cache, prefix_width)
        pool = self._pools[prefix_width]
        tokens = np.zeros((layout.rows, layout.members, suffix_width), np.int32)
        lengths = np.zeros((layout.rows, layout.members), np.int32)
        slots = np.zeros(layout.rows, np.int32)
        prefix_lengths = np.ones(layout.rows, np.int32)
        where = np.zeros((layout.rows, layout.members, addresses.WIDTH), np.uint32)
        cells = self._place(requests)
        for (row, member), request in zip(cells, requests, strict=True):
            if member == 0:
                slots[row] = self._prefix(pool, request.prefix_ids, prefix_width)
                prefix_lengths[row] = len(request.prefix_ids)
            tokens[row, member, : len(request.suffix_ids)] = request.suffix_ids
            lengths[row, member] = len(request.suffix_ids)
            where[row, member] = request.address
        out = sample(
            self._params,
            pool.kv,
            *put_rows(self._mesh, (slots, prefix_lengths, tokens, lengths, where)),
            self._seed,
            np.float32(sampling.temperature),
            np.float32(sampling.top_p),
            config=self._config,
            limit=sampling.max_tokens,
            stops=self._stops,
            top_k=sampling.top_k,
            nucleus=sampling.top_p < 1.0,
        )
        ids, logprobs, counts, finished = jax.device_get(out)
        return [
            Generated(
                tuple(ids[cell][: counts[cell]].tolist()),
                tuple(logprobs[cell][: counts[cell]].tolist()),
                bool(finished[cell]),
            )
            for cell in cells
        ]

    def _shape(self, request: Generate) -> tuple[int, int]:
        return (
            bucket_of(len(request.prefix_ids), self._layout.prefix_buckets, "prefix"),
            bucket_of(len(request.suffix_ids), self._layout.suffix_buckets, "suffix"),
        )

    def _fill(self, rows: dict[tuple[int, ...], list[int]]) -> list[int]:
        """Requests of one bucket that fit the grid: M per row, prefixes in order."""
        members = self._layout.members
        chunks = [
            same[at : at + members] for same in rows.values() for at in range(0, len(same), members)
        ]
        chunks.sort(key=lambda chunk: -len(chunk))  # stable: full rows first, then by arrival
        return [i for chunk in chunks[: self._layout.rows] for i in chunk]

    def _place(self, requests: Sequence[Generate]) -> list[tuple[int, int]]:
        """Cells for requests that `_fill` ordered: a new row where a prefix begins or is full."""
        cells: list[tuple[int, int]] = []
        row, member = -1, 0
        previous: tuple[int, ...] | None = None
        for request in requests:
            if previous != request.prefix_ids or member == self._layout.members:
                row, member, previous = row + 1, 0, request.prefix_ids
            cells.append((row, member))
            member += 1
        return cells

    def _prefix(self, pool: _Pool, ids: tuple[int, ...], width: int) -> int:
        slot, missing = pool.slot(ids)
        if missing:
            tokens = np.zeros(width, np.int32)
            tokens[: len(ids)] = ids
            kv = prefill_prefix(self._params, tokens, np.int32(len(ids)), config=self._config)
            pool.kv = store_prefix(pool.kv, kv, np.int32(slot))
            self.prefixes_computed += 1
        return slot
