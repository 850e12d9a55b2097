"""Fixes the compiled sizes of the local engine, from the settings and the devices alone."""

from __future__ import annotations

import dataclasses

from jax.sharding import Mesh

from skillrl.config.settings import RolloutConfig
from skillrl.errors import SkillRLError
from skillrl.models.fused import should_fuse
from skillrl.parallel.buckets import Buckets
from skillrl.parallel.rules import num_row_devices


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Fixes the sizes that programs of the local engine are compiled for.

    Attributes:
      prefix_rows: B, prefix rows of a decode state.
      group_members: G, slots of a prefix row; 1 lets any requests lie side by side.
      prefix_buckets: padded lengths of prefixes, rising.
      suffix_buckets: padded lengths of a prefill, rising. A longer suffix is read in chunks of the
        last, and what remains in a bucket of its own length.
      cache_buckets: room for a suffix in a slot, rising.
      prefix_cache: prefixes that are kept per prefix bucket.
      prefill_tokens: padded suffix tokens of one prefill, at least one row.
      workers: decode workers, each with a decode state of its own, per combination of buckets.
      fuse_projections: whether projections of one input are one matrix.
      devices: that rows are split over; a prefill has a multiple of them where it can.
    """

    prefix_rows: int
    group_members: int
    prefix_buckets: tuple[int, ...]
    suffix_buckets: tuple[int, ...]
    cache_buckets: tuple[int, ...]
    prefix_cache: int
    prefill_tokens: int = 1
    workers: int = 1
    fuse_projections: bool = False
    devices: int = 1

    def __post_init__(self) -> None:
        at_once = self.prefill_rows(self.suffix_buckets[0])
        if self.prefix_cache < at_once:
            raise SkillRLError(
                f"rollout.prefix_cache={self.prefix_cache} is smaller than the {at_once} prefixes "
                "that one prefill may need (rollout.prefill_tokens): raise it"
            )

    @classmethod
    def from_config(cls, rollout: RolloutConfig, *, buckets: Buckets, mesh: Mesh) -> Layout:
        """Makes the layout that the settings ask for.

        Args:
          rollout: the settings; ``rollout.slots`` is a multiple of
            ``rollout.members`` times ``rollout.lanes``.
          buckets: of the run.
          mesh: devices that sample.

        Raises:
          SkillRLError: ``rollout.prefix_cache`` is too small for one prefill.
        """
        rows = rollout.slots // (rollout.members * rollout.lanes)
        read_at_once = tuple(s for s in buckets.suffix if s <= rollout.prefill_tokens)
        return cls(
            prefix_rows=rows,
            group_members=rollout.members,
            prefix_buckets=buckets.prefix,
            suffix_buckets=read_at_once or buckets.suffix[:1],
            cache_buckets=buckets.cache,
            prefix_cache=rollout.prefix_cache or max(2 * rows, rows * rollout.members, 32),
            prefill_tokens=rollout.prefill_tokens,
            workers=rollout.lanes,
            fuse_projections=should_fuse(mesh),
            devices=num_row_devices(mesh),
        )

    @property
    def slots(self) -> int:
        """Counts the slots of one decode state."""
        return self.prefix_rows * self.group_members

    def prefill_rows(self, width: int) -> int:
        """Returns how many suffixes a prefill of this bucket reads."""
        rows = min(max(1, self.prefill_tokens // width), self.slots)
        return rows - rows % self.devices if rows >= self.devices else rows
