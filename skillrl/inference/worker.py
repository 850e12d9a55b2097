"""Decodes: prefills new requests, lets responses grow, returns those that have ended.

`DecodeWorker.run` is one round of that. It touches nothing but its own decode state and, under a
lock, the prefixes of the policy, so workers may run on threads of their own.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping

import jax
import numpy as np

from skillrl.inference.base import Generate, Generated, Sampling
from skillrl.inference.decode_state import (
    DecodeReport,
    DecodeShape,
    Insertion,
    decode,
    init_decode_state,
    insert,
)
from skillrl.inference.layout import Layout
from skillrl.inference.prefixes import PublishedPolicy
from skillrl.inference.sampler import Prefilled, extend, prefill
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, kv_zeros
from skillrl.models.transformer import unstack
from skillrl.parallel.buckets import bucket_of
from skillrl.parallel.random_keys import ADDRESS_WIDTH
from skillrl.parallel.rules import put_rows

Slot = tuple[int, int]
"""A place in the decode state: prefix row and group member."""

CALL_SECONDS = 0.5
"""How long a decode call may take, as far as the pace of those before it tells: nobody can
interrupt one. On an accelerator that is hundreds of tokens, and the limit is seldom met."""

FIRST_STEPS = 4
"""Steps of a worker's first decode call, whose pace is not known."""


class DecodeWorker:
    """Answers requests of one combination of buckets and one `Sampling`.

    Attributes:
      shape: sizes of its decode state.
      drawn: tokens drawn since whoever counts them has set it to 0.
    """

    def __init__(
        self, policy: PublishedPolicy, layout: Layout, *, shape: DecodeShape, sampling: Sampling
    ):
        """Makes a worker whose slots are all free.

        Args:
          policy: what it samples with.
          layout: sizes of a prefill.
          shape: sizes of its decode state.
          sampling: how tokens are chosen.
        """
        self.shape, self.drawn = shape, 0
        self._counted = 0  # of them, those in slots that are growing
        self._pace = float("inf")  # seconds per step, of the fastest call
        self._steps = FIRST_STEPS
        self._policy, self._layout = policy, layout
        self._state = init_decode_state(shape=shape, config=policy.config, mesh=policy.mesh)
        # On the device:
        self._prefix_of: list[tuple[int, ...] | None] = [None] * shape.prefix_rows
        self._growing: dict[Slot, Generate] = {}
        self._pending: dict[Slot, Generate] = {}  # in order of arrival
        # Of long suffixes, how many tokens are read, and their KV.
        self._read: dict[Slot, tuple[int, list[KV]]] = {}
        self._draws = {
            "temperature": np.float32(sampling.temperature),
            "top_p": np.float32(sampling.top_p),
            "top_k": sampling.top_k,
            "nucleus": sampling.top_p < 1.0,
        }

    def run(self, new: Mapping[Slot, Generate]) -> dict[Slot, Generated]:
        """Accepts requests, each with its free slot, and works until some have ended.

        None may have ended where a long suffix is being read, or `CALL_SECONDS` have gone by.
        """
        self._pending |= new
        self._insert_pending()
        if not self._growing:
            return {}
        awaited = np.zeros((self.shape.prefix_rows, self.shape.group_members), bool)
        for slot in self._growing:
            awaited[slot] = True
        start = time.monotonic()
        self._state, report = decode(
            self._policy.params,
            self._state,
            awaited=awaited,
            min_finished=np.int32(self._min_finished()),
            max_steps=np.int32(self._steps),
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

    def _min_finished(self) -> int:
        """Returns how many must finish before others are inserted.

        That is one, unless the decode state is large and more than half full.
        """
        slots = self._layout.slots
        return max(1, slots // 8) if 2 * len(self._growing) > slots else 1

    def _harvest(self, report: DecodeReport) -> dict[Slot, Generated]:
        """Returns the answers that have ended, and frees their slots."""
        answers = {}
        total = sum(int(report.count[slot]) for slot in self._growing)
        self.drawn += total - self._counted
        for slot in [slot for slot in self._growing if not report.active[slot]]:
            del self._growing[slot]
            count = report.count[slot]
            answers[slot] = Generated(
                tuple(report.ids[slot][:count].tolist()),
                tuple(report.logprobs[slot][:count].tolist()),
                bool(report.finished[slot]),
            )
        self._counted = sum(int(report.count[slot]) for slot in self._growing)
        return answers

    def _insert_pending(self) -> None:
        """Prefills and inserts what is pending, one prefill's worth of rows at a time.

        A prefill costs the same however many of its rows are empty: while most slots are growing,
        less than its worth waits for more. Of a long suffix one chunk is read, so that the growing
        slots never stand still for longer.
        """
        while self._pending:
            slot, request = next(iter(self._pending.items()))
            width = self._bucket(request)
            if not width:
                if not self._read_chunk(slot, request):
                    return
                continue
            rows = self._layout.prefill_rows(width)
            same = [s for s, r in self._pending.items() if self._bucket(r) == width][:rows]
            if len(same) < rows and 2 * len(self._growing) > self._layout.slots:
                return
            tokens, lengths = np.zeros((rows, width), np.int32), np.zeros(rows, np.int32)
            for j, s in enumerate(same):
                ids = self._pending[s].suffix_ids
                tokens[j, : len(ids)] = ids
                lengths[j] = len(ids)
            self._insert(same, self._prefill(same, tokens=tokens, lengths=lengths), rows=rows)

    def _bucket(self, request: Generate) -> int:
        """Returns the padded length of the prefill of a suffix; 0 if it takes several chunks."""
        length, buckets = len(request.suffix_ids), self._layout.suffix_buckets
        return bucket_of(length, buckets, what="suffix") if length <= buckets[-1] else 0

    def _read_chunk(self, slot: Slot, request: Generate) -> bool:
        """Reads the next chunk of a long suffix; inserts it after the last, and returns True."""
        buckets = self._layout.suffix_buckets
        # A padded chunk may reach beyond the slot's room.
        room = self.shape.suffix + buckets[-1]
        if slot not in self._read:
            self._read[slot] = (0, _nothing_read(config=self._policy.config, room=room))
        offset, past = self._read.pop(slot)
        ids = request.suffix_ids[offset : offset + buckets[-1]]
        tokens = np.zeros((1, bucket_of(len(ids), buckets, what="suffix")), np.int32)
        tokens[0, : len(ids)] = ids
        prefilled = self._prefill(
            [slot],
            tokens=tokens,
            lengths=np.array([len(ids)], np.int32),
            past=past,
            past_lengths=np.array([offset], np.int32),
        )
        past = extend(past, prefilled.kv, np.int32(offset))
        if offset + len(ids) < len(request.suffix_ids):
            self._read[slot] = (offset + len(ids), past)
            return False
        self._insert([slot], prefilled._replace(kv=past), rows=1)
        return True

    def _prefill(
        self,
        slots: list[Slot],
        *,
        tokens: np.ndarray,
        lengths: np.ndarray,
        past: list[KV] | None = None,
        past_lengths: np.ndarray | None = None,
    ) -> Prefilled:
        """Prefills the suffixes of pending requests; see `sampler.prefill` for the arrays."""
        policy, rows = self._policy, len(tokens)
        prefix_lengths = np.ones(rows, np.int32)
        rng_address = np.zeros((rows, ADDRESS_WIDTH), np.uint32)
        for j, slot in enumerate(slots):
            prefix_lengths[j] = len(self._pending[slot].prefix_ids)
            rng_address[j] = self._pending[slot].rng_address
        arrays = {
            "prefix_lengths": prefix_lengths,
            "tokens": tokens,
            "lengths": lengths,
            "rng_address": rng_address,
        }
        return prefill(
            policy.params,
            self._prefixes([self._pending[slot].prefix_ids for slot in slots], rows),
            **put_rows(policy.mesh, arrays),
            seed_key=policy.seed_key,
            past=past,
            past_lengths=past_lengths,
            config=policy.config,
            **self._draws,
        )

    def _prefixes(self, ids: list[tuple[int, ...]], rows: int) -> tuple[KV, ...]:
        """Returns the KV of each prefix; repeats the first up to `rows`."""
        found = [self._policy.prefix(prefix, self.shape.prefix) for prefix in ids]
        return tuple(found + found[:1] * (rows - len(found)))

    def _insert(self, slots: list[Slot], prefilled: Prefilled, *, rows: int) -> None:
        """Moves prefilled suffixes into their slots, and prefixes into rows that change."""
        at = {name: np.zeros(rows, np.int32) for name in _INSERTION_ARRAYS}
        changed = 0
        for j, slot in enumerate(slots):
            request = self._growing[slot] = self._pending.pop(slot)
            at["prefix_row"][j], at["group_member"][j] = slot
            at["suffix_length"][j] = len(request.suffix_ids)
            if self._prefix_of[slot[0]] != request.prefix_ids:
                self._prefix_of[slot[0]] = request.prefix_ids
                at["changed_row"][changed], at["source"][changed] = slot[0], j
                at["prefix_length"][changed] = len(request.prefix_ids)
                changed += 1
        insertion = Insertion(**at, count=np.int32(len(slots)), num_changed=np.int32(changed))
        policy = self._policy
        self._state = insert(
            self._state, prefilled, insertion=insertion, stops=policy.stops, mesh=policy.mesh
        )


@functools.partial(jax.jit, static_argnames=("config", "room"))
def _nothing_read(*, config: TransformerConfig, room: int) -> list[KV]:
    return unstack(kv_zeros(config, (1, 1), room), config.num_layers)


_INSERTION_ARRAYS = (
    "prefix_row",
    "group_member",
    "suffix_length",
    "changed_row",
    "source",
    "prefix_length",
)
