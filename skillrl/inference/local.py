"""Samples in JAX: prefixes computed once, slots that are filled again, buckets.

A request goes to a decode worker that its own lengths choose, is prefilled there and decoded
beside whatever else the worker holds; its slot is free again when its response ends. `submit`
accepts requests for which there is a slot, `step` returns what has ended. Each worker runs on a
thread, so that devices work while the host plays the episodes of others, and can be interrupted.

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

from skillrl.inference.base import Generate, Generated, Sampling
from skillrl.inference.decode_state import DecodeShape
from skillrl.inference.layout import Layout
from skillrl.inference.prefixes import PrefixCache, PublishedPolicy
from skillrl.inference.worker import DecodeWorker, Slot
from skillrl.models import memory
from skillrl.models.config import TransformerConfig
from skillrl.models.fused import to_decode_layout
from skillrl.models.transformer import Params
from skillrl.parallel import background
from skillrl.parallel.buckets import bucket_of


@dataclasses.dataclass
class _Assignment:
    """Says which requests have which slots of a worker.

    Attributes:
      worker: it and its decode state.
      keys: the caller's key of each slot in use.
      new: requests that the worker does not have yet.
      prefixes: the prefix of each prefix row; it may change while no slot of the row is in use.
    """

    worker: DecodeWorker
    keys: dict[Slot, Hashable]
    new: dict[Slot, Generate]
    prefixes: list[tuple[int, ...] | None]

    def free_slot(self, prefix: tuple[int, ...]) -> Slot | None:
        """Finds a free slot beside requests of the same prefix, or in an empty row."""
        used = collections.Counter(row for row, _ in self.keys)
        for row, ids in enumerate(self.prefixes):
            if ids == prefix and used[row] < self.worker.shape.group_members:
                return next(
                    (row, member)
                    for member in range(self.worker.shape.group_members)
                    if (row, member) not in self.keys
                )
        return next(((row, 0) for row in range(len(self.prefixes)) if not used[row]), None)


class LocalEngine:
    """Samples from parameters that live on this machine's devices.

    Attributes:
      version: policy version of the parameters.
      slots: slots of all workers of one combination of buckets.
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
        """Makes an engine; `publish` gives it parameters.

        Args:
          config: sizes of the policy.
          layout: compiled sizes.
          seed: of all draws.
          stops: ids that end a response.
          mesh: devices.
        """
        self.version, self.tokens = -1, 0
        self.slots = layout.slots * layout.workers
        self._config, self._layout, self._stops = config, layout, stops
        self._mesh, self._seed_key = mesh, jax.random.key(seed)
        self._policy: PublishedPolicy | None = None
        self._computed = 0
        self._assignments: dict[Hashable, list[_Assignment]] = {}
        self._running: dict[concurrent.futures.Future, _Assignment] = {}
        self._forgotten: set[concurrent.futures.Future] = set()
        self._threads = background.Workers(layout.workers, name="decode")

    @property
    def prefixes_computed(self) -> int:
        """Counts the prefix passes since the start (each prefix once per version)."""
        kept = self._policy.prefixes.values() if self._policy else ()
        return self._computed + sum(cache.computed for cache in kept)

    def publish(self, params: Params, version: int) -> None:
        """Takes new parameters; everything cached for the old ones is dropped."""
        self.reset()
        concurrent.futures.wait(self._forgotten)  # they hold the old ones
        self._forgotten.clear()
        self._computed = self.prefixes_computed
        self._assignments.clear()
        self._policy = None  # before there is another: each has weights of its own
        layout = self._layout
        self._policy = PublishedPolicy(
            params=to_decode_layout(params, dtype=self._config.dtype, fuse=layout.fuse_projections),
            config=self._config,
            seed_key=self._seed_key,
            stops=self._stops,
            mesh=self._mesh,
            prefixes={p: PrefixCache(layout.prefix_cache) for p in layout.prefix_buckets},
        )
        self.version = version

    def reset(self) -> None:
        """Drops all accepted requests; device calls for them that have begun end by themselves."""
        self._forgotten = {f for f in (*self._forgotten, *self._running) if not f.done()}
        self._running.clear()
        for bucket, assignments in list(self._assignments.items()):
            if any(assignment.keys for assignment in assignments):
                del self._assignments[bucket]

    def submit(self, waiting: Mapping[Any, Generate], sampling: Sampling) -> list[Any]:
        """Accepts those of `waiting` for which there is a slot; returns their keys."""
        accepted = []
        for key, request in waiting.items():
            found = self._find_slot(request, sampling)
            if found is not None:
                assignment, slot = found
                assignment.prefixes[slot[0]] = request.prefix_ids
                assignment.keys[slot], assignment.new[slot] = key, request
                accepted.append(key)
        return accepted

    def step(self) -> dict[Any, Generated]:
        """Works on the accepted requests and returns, by key, the answers that have ended.

        There may be none: it comes back after `background.BEAT` seconds in any case, for the
        caller to show how far things are.
        """
        busy = set(map(id, self._running.values()))
        idle = [
            assignment
            for assignments in self._assignments.values()
            for assignment in assignments
            if assignment.keys and id(assignment) not in busy
        ]
        for assignment in idle:
            new, assignment.new = assignment.new, {}
            self._running[self._threads.submit(assignment.worker.run, new)] = assignment
        if not self._running:
            raise RuntimeError("step: there is no accepted request")
        done, _ = concurrent.futures.wait(
            self._running, background.BEAT, concurrent.futures.FIRST_COMPLETED
        )
        answers: dict[Any, Generated] = {}
        for future in done:
            assignment = self._running.pop(future)
            found = future.result()
            self.tokens += assignment.worker.drawn
            assignment.worker.drawn = 0
            answers |= {assignment.keys.pop(slot): answer for slot, answer in found.items()}
        return answers

    def _find_slot(self, request: Generate, sampling: Sampling) -> tuple[_Assignment, Slot] | None:
        """Finds a slot for a request with a worker of its buckets, the emptiest worker first."""
        if self._policy is None:
            raise RuntimeError("publish parameters before generating")
        layout = self._layout
        shape = DecodeShape(
            prefix_rows=layout.prefix_rows,
            group_members=layout.group_members,
            prefix=bucket_of(len(request.prefix_ids), layout.prefix_buckets, what="prefix"),
            suffix=bucket_of(len(request.suffix_ids), layout.cache_buckets, what="suffix"),
            response=sampling.max_tokens,
        )
        assignments = self._assignments.setdefault((shape, sampling), [])
        if len(assignments) < layout.workers and all(found.keys for found in assignments):
            self._drop_idle_workers()
            memory.check_decode_state(
                self._config,
                self._mesh,
                rows=shape.prefix_rows,
                members=shape.group_members,
                prefix=shape.prefix,
                slot=shape.suffix + shape.response,
            )
            worker = DecodeWorker(self._policy, layout, shape=shape, sampling=sampling)
            assignments.append(_Assignment(worker, {}, {}, [None] * layout.prefix_rows))
        for assignment in sorted(assignments, key=lambda assignment: len(assignment.keys)):
            slot = assignment.free_slot(request.prefix_ids)
            if slot is not None:
                return assignment, slot
        return None

    def _drop_idle_workers(self) -> None:
        """Frees the decode states that nobody uses, before another is made."""
        for assignments in self._assignments.values():
            assignments[:] = [assignment for assignment in assignments if assignment.keys]
