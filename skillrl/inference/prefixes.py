"""Keeps the published policy and the keys and values of prefixes that it has computed."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Mapping

import jax
import numpy as np

from skillrl.inference.sampler import prefill_prefix
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV
from skillrl.models.transformer import Params


class PrefixCache:
    """Keeps the keys and values of prefixes in one bucket, and drops the least recently used.

    Attributes:
      computed: how many were computed so far.
    """

    def __init__(self, size: int):
        self.computed = 0
        self._size = size
        self._kept: collections.OrderedDict[tuple[int, ...], KV] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, ids: tuple[int, ...], compute: Callable[[], KV]) -> KV:
        """Returns the KV of `ids`; computes it if need be, once however many workers want it."""
        with self._lock:
            if ids not in self._kept:
                if len(self._kept) == self._size:
                    self._kept.popitem(last=False)
                self._kept[ids] = compute()
                self.computed += 1
            self._kept.move_to_end(ids)
            return self._kept[ids]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPolicy:
    """Holds what all decode workers sample with.

    Attributes:
      params: parameters as published, laid out for decoding.
      config: sizes of the policy.
      seed_key: typed key of the run.
      stops: ids that end a response.
      mesh: devices.
      prefixes: a cache for each prefix bucket.
    """

    params: Params
    config: TransformerConfig
    seed_key: jax.Array
    stops: tuple[int, ...]
    mesh: jax.sharding.Mesh
    prefixes: Mapping[int, PrefixCache]

    def prefix(self, ids: tuple[int, ...], width: int) -> KV:
        """Returns the keys and values of a prefix in the bucket `width`."""

        def compute() -> KV:
            tokens = np.zeros(width, np.int32)
            tokens[: len(ids)] = ids
            return prefill_prefix(self.params, tokens, np.int32(len(ids)), config=self.config)

        return self.prefixes[width].get(ids, compute)
