"""One grid and its device work: prefill what came, let the cells grow, return what ended.

A lane's `run` is one round of that. It touches nothing but its own grid and, under a lock,
the prefixes of the policy, so lanes may run on threads of their own.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np

from skillrl.errors import SkillRLError
from skillrl.inference import grid as grids
from skillrl.inference.base import Generate, Generated, Sampling, bucket_of
from skillrl.inference.sampler import Prefilled, extend, prefill, prefill_prefix
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, kv_zeros
from skillrl.models.transformer import Params, unstack
from skillrl.parallel import addresses
from skillrl.parallel.rules import put_rows

Cell = tuple[int, int]
"""Row and member."""

CALL_SECONDS = 0.5
"""How long a decode call may take, as far as the pace of those before it tells: nobody can
interrupt one. On an accelerator that is hundreds of tokens, and the limit is seldom met."""

FIRST_STEPS = 4
"""Tokens of a lane's first call, whose pace is not known."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Compiled shapes.

    Attributes:
      rows: A, prefixes side by side in a grid.
      members: M, suffixes per prefix in a grid; 1 lets any requests lie side by side.
      prefix_buckets: padded prefix lengths, rising.
      suffix_buckets: padded lengths of a prefill, rising. A longer suffix is read in chunks
        of the last, and what remains in a bucket of its own length.
      cache_buckets: room of a cell for its suffix, rising.
      prefix_cache: prefixes kept per bucket.
      prefill_tokens: padded suffix tokens of one prefill call, at least one row.
      lanes: grids of a bucket.
      join: whether projections of one input are one matrix (`models.fused`).
      devices: that rows are split over; a prefill has a multiple of them where it can.
    """

    rows: int
    members: int
    prefix_buckets: tuple[int, ...]
    suffix_buckets: tuple[int, ...]
    cache_buckets: tuple[int, ...]
    prefix_cache: int
    prefill_tokens: int = 1
    lanes: int = 1
    join: bool = False
    devices: int = 1

    def __post_init__(self) -> None:
        at_once = self.prefill_rows(self.suffix_buckets[0])
        if self.prefix_cache < at_once:
            raise SkillRLError(
                f"rollout.prefix_cache={self.prefix_cache} is smaller than the {at_once} prefixes "
                "that one prefill may need (rollout.prefill_tokens): raise it"
            )

    @property
    def cells(self) -> int:
        """Of a grid."""
        return self.rows * self.members

    def prefill_rows(self, width: int) -> int:
        """Suffixes of a prefill call of this bucket."""
        rows = min(max(1, self.prefill_tokens // width), self.cells)
        return rows - rows % self.devices if rows >= self.devices else rows


class Prefixes:
    """Keys and values of prefixes of one policy, the least recently used dropped first.

    Attributes:
      made: how many were computed.
    """

    def __init__(self, size: int):
        self.made = 0
        self._size = size
        self._kept: collections.OrderedDict[tuple[int, ...], KV] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, ids: tuple[int, ...], make: Callable[[], KV]) -> KV:
        """That of `ids`; made if it is not there, once however many lanes want it."""
        with self._lock:
            if ids not in self._kept:
                if len(self._kept) == self._size:
                    self._kept.popitem(last=False)
                self._kept[ids] = make()
                self.made += 1
            self._kept.move_to_end(ids)
            return self._kept[ids]


@dataclasses.dataclass(frozen=True)
class Policy:
    """What all lanes sample with.

    Attributes:
      params: as published, laid out for decoding (`models.fused`).
      config: sizes.
      seed: typed key of the run.
      stops: ids that end a response.
      mesh: devices.
      prefixes: by bucket.
    """

    params: Params
    config: TransformerConfig
    seed: jax.Array
    stops: tuple[int, ...]
    mesh: jax.sharding.Mesh
    prefixes: Mapping[int, Prefixes]

    def prefix(self, ids: tuple[int, ...], width: int) -> KV:
        """Keys and values of a prefix in its bucket of `width`."""

        def make() -> KV:
            tokens = np.zeros(width, np.int32)
            tokens[: len(ids)] = ids
            return prefill_prefix(self.params, tokens, np.int32(len(ids)), config=self.config)

        return self.prefixes[width].get(ids, make)


class Lane:
    """A grid of `shape` whose requests share `sampling`.

    Attributes:
      shape: sizes of the grid.
      drawn: tokens since whoever counts them has set it to 0.
    """

    def __init__(self, policy: Policy, layout: Layout, shape: grids.Shape, sampling: Sampling):
        self.shape, self.drawn = shape, 0
        self._counted = 0  # of them, those in cells that are growing
        self._pace = float("inf")  # seconds per step, of the fastest call
        self._steps = FIRST_STEPS
        self._policy, self._layout, self._sampling = policy, layout, sampling
        self._grid = grids.empty(shape=shape, config=policy.config, mesh=policy.mesh)
        self._prefix_of: list[tuple[int, ...] | None] = [None] * shape.rows  # on the device
        self._growing: dict[Cell, Generate] = {}
        self._pending: dict[Cell, Generate] = {}  # in order of arrival
        # Of long suffixes, how many tokens are read, and their KV.
        self._read: dict[Cell, tuple[int, list[KV]]] = {}
        self._draws = {
            "temperature": np.float32(sampling.temperature),
            "top_p": np.float32(sampling.top_p),
            "top_k": sampling.top_k,
            "nucleus": sampling.top_p < 1.0,
        }

    def run(self, new: Mapping[Cell, Generate]) -> dict[Cell, Generated]:
        """Takes `new` requests, each with its free cell, and works until some have ended.

        None may have ended where a long suffix is being read, or `CALL_SECONDS` have gone by.
        """
        self._pending |= new
        self._seat_pending()
        if not self._growing:
            return {}
        held = np.zeros((self.shape.rows, self.shape.members), bool)
        for cell in self._growing:
            held[cell] = True
        start = time.monotonic()
        self._grid, report = grids.decode(
            self._policy.params,
            self._grid,
            held,
            np.int32(self._quota()),
            np.int32(self._steps),
            config=self._policy.config,
            stops=self._policy.stops,
            mesh=self._policy.mesh,
            **self._draws,
        )
        report = jax.device_get(report)
        # The fastest so far: one that was compiled first, or paused, says nothing.
        if report.steps:
            self._pace = min(self._pace, (time.monotonic() - start) / int(report.steps))
            self._steps = min(max(1, int(CALL_SECONDS / self._pace)), self.shape.response)
        return self._harvest(report)

    def _quota(self) -> int:
        """How many must end before new ones are seated: one, unless the grid is large and full."""
        cells = self._layout.cells
        return max(1, cells // 8) if 2 * len(self._growing) > cells else 1

    def _harvest(self, report: grids.Report) -> dict[Cell, Generated]:
        answers = {}
        total = sum(int(report.count[cell]) for cell in self._growing)
        self.drawn += total - self._counted
        for cell in [cell for cell in self._growing if not report.active[cell]]:
            del self._growing[cell]
            count = report.count[cell]
            answers[cell] = Generated(
                tuple(report.ids[cell][:count].tolist()),
                tuple(report.logprobs[cell][:count].tolist()),
                bool(report.finished[cell]),
            )
        self._counted = sum(int(report.count[cell]) for cell in self._growing)
        return answers

    def _seat_pending(self) -> None:
        """Prefills and seats what waits, a call's worth of rows at a time.

        A call costs the same however many of its rows are empty: while most of the grid is
        growing, less than a call's worth waits for more. A long suffix reads one chunk, so that
        the grid never stands still for longer.
        """
        while self._pending:
            cell, request = next(iter(self._pending.items()))
            width = self._bucket(request)
            if not width:
                if not self._read_chunk(cell, request):
                    return
                continue
            rows = self._layout.prefill_rows(width)
            same = [c for c, r in self._pending.items() if self._bucket(r) == width][:rows]
            if len(same) < rows and 2 * len(self._growing) > self._layout.cells:
                return
            tokens, lengths = np.zeros((rows, width), np.int32), np.zeros(rows, np.int32)
            for j, c in enumerate(same):
                ids = self._pending[c].suffix_ids
                tokens[j, : len(ids)] = ids
                lengths[j] = len(ids)
            self._seat(same, self._prefill(same, tokens, lengths), rows)

    def _bucket(self, request: Generate) -> int:
        """Padded length of the prefill of a suffix; 0 if it takes several chunks."""
        length, rungs = len(request.suffix_ids), self._layout.suffix_buckets
        return bucket_of(length, rungs, "suffix") if length <= rungs[-1] else 0

    def _read_chunk(self, cell: Cell, request: Generate) -> bool:
        """Reads the next chunk of a long suffix; seats it, and says so, after the last."""
        rungs = self._layout.suffix_buckets
        # A padded chunk may reach beyond the cell's room.
        room = self.shape.suffix + rungs[-1]
        if cell not in self._read:
            self._read[cell] = (0, _nothing_read(config=self._policy.config, room=room))
        offset, past = self._read.pop(cell)
        ids = request.suffix_ids[offset : offset + rungs[-1]]
        tokens = np.zeros((1, bucket_of(len(ids), rungs, "suffix")), np.int32)
        tokens[0, : len(ids)] = ids
        lengths, before = np.array([len(ids)], np.int32), np.array([offset], np.int32)
        found = self._prefill([cell], tokens, lengths, past, before)
        past = extend(past, found.kv, np.int32(offset))
        if offset + len(ids) < len(request.suffix_ids):
            self._read[cell] = (offset + len(ids), past)
            return False
        self._seat([cell], found._replace(kv=past), 1)
        return True

    def _prefill(
        self,
        cells: list[Cell],
        tokens: np.ndarray,
        lengths: np.ndarray,
        past: list[KV] | None = None,
        past_lengths: np.ndarray | None = None,
    ) -> Prefilled:
        policy, rows = self._policy, len(tokens)
        prefix_lengths = np.ones(rows, np.int32)
        where = np.zeros((rows, addresses.WIDTH), np.uint32)
        for j, cell in enumerate(cells):
            prefix_lengths[j] = len(self._pending[cell].prefix_ids)
            where[j] = self._pending[cell].address
        return prefill(
            policy.params,
            self._prefixes([self._pending[cell].prefix_ids for cell in cells], rows),
            *put_rows(policy.mesh, (prefix_lengths, tokens, lengths, where)),
            policy.seed,
            past=past,
            past_lengths=past_lengths,
            config=policy.config,
            **self._draws,
        )

    def _prefixes(self, ids: list[tuple[int, ...]], rows: int) -> tuple[KV, ...]:
        """Keys and values of prefixes, filled up to `rows`."""
        found = [self._policy.prefix(prefix, self.shape.prefix) for prefix in ids]
        return tuple(found + found[:1] * (rows - len(found)))

    def _seat(self, cells: list[Cell], found: Prefilled, rows: int) -> None:
        """Moves prefilled suffixes into their cells, and prefixes into rows that change."""
        at = {name: np.zeros(rows, np.int32) for name in _SEATS}
        new = 0
        for j, cell in enumerate(cells):
            request = self._growing[cell] = self._pending.pop(cell)
            at["row"][j], at["member"][j] = cell
            at["length"][j] = len(request.suffix_ids)
            if self._prefix_of[cell[0]] != request.prefix_ids:
                self._prefix_of[cell[0]] = request.prefix_ids
                at["new_row"][new], at["source"][new] = cell[0], j
                at["prefix_length"][new] = len(request.prefix_ids)
                new += 1
        seats = grids.Seats(**at, count=np.int32(len(cells)), new_rows=np.int32(new))
        policy = self._policy
        self._grid = grids.seat(self._grid, found, seats, stops=policy.stops, mesh=policy.mesh)


@functools.partial(jax.jit, static_argnames=("config", "room"))
def _nothing_read(*, config: TransformerConfig, room: int) -> list[KV]:
    return unstack(kv_zeros(config, (1, 1), room), config.num_layers)


_SEATS = ("row", "member", "length", "new_row", "source", "prefix_length")
