"""The rollout engine in JAX: prefixes computed once, slot grids that are refilled, buckets.

A request goes to a grid that its own lengths choose (its *bucket*), is prefilled there and
decoded beside whatever else the grid holds; its cell is free again when its response ends.
`take` accepts requests for which there is a cell, `turn` returns what has ended. Each lane (a grid
of a bucket) runs on a thread, so that devices work while the host plays the episodes of others,
and can be interrupted.

Shapes come from the `Layout` alone, so the same request gives the same tokens bit for bit
whatever else is going on.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

import jax

from skillrl.inference import grid as grids
from skillrl.inference.base import Generate, Generated, Sampling, bucket_of
from skillrl.inference.lane import Cell, Lane, Layout, Policy, Prefixes
from skillrl.models import memory
from skillrl.models.config import TransformerConfig
from skillrl.models.fused import to_decode_layout
from skillrl.models.transformer import Params
from skillrl.parallel import background

__all__ = ["Layout", "LocalEngine"]


@dataclasses.dataclass
class _Seating:
    """Who is in which cell of a lane.

    Attributes:
      lane: the grid.
      held: the caller's key of each cell in use.
      new: requests that the lane does not have yet.
      rows: prefix of each row's cells; it may change while none is in use.
    """

    lane: Lane
    held: dict[Cell, Hashable]
    new: dict[Cell, Generate]
    rows: list[tuple[int, ...] | None]

    def place(self, prefix: tuple[int, ...]) -> Cell | None:
        """A free cell beside members of the same prefix, or in an empty row."""
        used = collections.Counter(row for row, _ in self.held)
        for row, ids in enumerate(self.rows):
            if ids == prefix and used[row] < self.lane.shape.members:
                return next(
                    (row, member)
                    for member in range(self.lane.shape.members)
                    if (row, member) not in self.held
                )
        return next(((row, 0) for row in range(len(self.rows)) if not used[row]), None)


class LocalEngine:
    """Samples from parameters that live on this machine's devices.

    Attributes:
      version: policy version of the parameters.
      slots: cells of a bucket's grids.
      prefixes_computed: prefix passes since the start (each prefix once per version).
      tokens: drawn since the start, those of unfinished responses included.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layout: Layout,
        *,
        seed: int,
        stops: tuple[int, ...],
        mesh: jax.sharding.Mesh,
    ):
        self.version, self.tokens = -1, 0
        self.slots = layout.cells * layout.lanes
        self._config, self._layout, self._stops = config, layout, stops
        self._mesh, self._seed = mesh, jax.random.key(seed)
        self._policy: Policy | None = None
        self._computed = 0
        self._seatings: dict[Hashable, list[_Seating]] = {}
        self._running: dict[concurrent.futures.Future, _Seating] = {}
        self._forgotten: set[concurrent.futures.Future] = set()
        self._threads = background.Workers(layout.lanes, name="lane")

    @property
    def prefixes_computed(self) -> int:
        """Prefix passes since the start (each prefix once per version)."""
        kept = self._policy.prefixes.values() if self._policy else ()
        return self._computed + sum(prefixes.made for prefixes in kept)

    def publish(self, params: Params, version: int) -> None:
        """Takes new parameters; everything cached for the old ones is dropped."""
        self.abandon()
        concurrent.futures.wait(self._forgotten)  # they hold the old ones
        self._forgotten.clear()
        self._computed = self.prefixes_computed
        self._seatings.clear()
        self._policy = None  # before there is another: each has weights of its own
        self._policy = Policy(
            params=to_decode_layout(params, dtype=self._config.dtype, fuse=self._layout.join),
            config=self._config,
            seed=self._seed,
            stops=self._stops,
            mesh=self._mesh,
            prefixes={p: Prefixes(self._layout.prefix_cache) for p in self._layout.prefix_buckets},
        )
        self.version = version

    def abandon(self) -> None:
        """Forgets all requests in hand; what the device is at for them, it ends by itself."""
        self._forgotten = {f for f in (*self._forgotten, *self._running) if not f.done()}
        self._running.clear()
        for bucket, seatings in list(self._seatings.items()):
            if any(seating.held for seating in seatings):
                del self._seatings[bucket]

    def take(self, waiting: Mapping[Any, Generate], sampling: Sampling) -> list[Any]:
        """Starts on those of `waiting` for which there is a cell; their keys."""
        taken = []
        for key, request in waiting.items():
            found = self._find(request, sampling)
            if found is not None:
                seating, cell = found
                seating.rows[cell[0]] = request.prefix_ids
                seating.held[cell], seating.new[cell] = key, request
                taken.append(key)
        return taken

    def turn(self) -> dict[Any, Generated]:
        """Works on the requests in hand; the answers by key of those that have ended.

        There may be none: it comes back after `background.BEAT` seconds in any case, for the
        caller to show how far things are.
        """
        busy = set(map(id, self._running.values()))
        idle = [
            seating
            for seatings in self._seatings.values()
            for seating in seatings
            if seating.held and id(seating) not in busy
        ]
        for seating in idle:
            new, seating.new = seating.new, {}
            self._running[self._threads.submit(seating.lane.run, new)] = seating
        if not self._running:
            raise RuntimeError("turn: there is no request in hand")
        done, _ = concurrent.futures.wait(
            self._running, background.BEAT, concurrent.futures.FIRST_COMPLETED
        )
        answers: dict[Any, Generated] = {}
        for future in done:
            seating = self._running.pop(future)
            found = future.result()
            self.tokens += seating.lane.drawn
            seating.lane.drawn = 0
            answers |= {seating.held.pop(cell): answer for cell, answer in found.items()}
        return answers

    def _find(self, request: Generate, sampling: Sampling) -> tuple[_Seating, Cell] | None:
        """A cell for a request in a lane of its bucket, the emptiest first."""
        if self._policy is None:
            raise RuntimeError("publish parameters before generating")
        layout = self._layout
        shape = grids.Shape(
            layout.rows,
            layout.members,
            bucket_of(len(request.prefix_ids), layout.prefix_buckets, "prefix"),
            bucket_of(len(request.suffix_ids), layout.cache_buckets, "suffix"),
            sampling.max_tokens,
        )
        seatings = self._seatings.setdefault((shape, sampling), [])
        if len(seatings) < layout.lanes and all(seating.held for seating in seatings):
            self._make_room()
            memory.check_decode_state(
                self._config,
                self._mesh,
                rows=shape.rows,
                members=shape.members,
                prefix=shape.prefix,
                slot=shape.suffix + shape.response,
            )
            lane = Lane(self._policy, layout, shape, sampling)
            seatings.append(_Seating(lane, {}, {}, [None] * layout.rows))
        for seating in sorted(seatings, key=lambda seating: len(seating.held)):
            cell = seating.place(request.prefix_ids)
            if cell is not None:
                return seating, cell
        return None

    def _make_room(self) -> None:
        """Lets go of grids that nobody uses, before another is made."""
        for seatings in self._seatings.values():
            seatings[:] = [seating for seating in seatings if seating.held]
