"""Decides which sample lies where: sorts samples into buckets, and fills blocks of a few sizes.

A block is what one compiled call works on: B prefix rows of G slots of T tokens. All samples of a
prefix row continue the same prefix; every slot is padded to the block's width T. How wide a slot a
sample needs, and how many prefix rows a block of that width has, comes from the settings and the
sample's own length; only how many blocks there are depends on the other samples.

A width has two sizes: a full block, as many prefix rows as the token budget holds, and a quarter of
it for what is left over. So each width compiles twice at most, and less than a quarter of a block
stays free. Widths are filled from the widest down, and the slots that stay free take samples of
narrower ones, at no cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from skillrl.config.settings import TrainBatchConfig
from skillrl.errors import SkillRLError
from skillrl.parallel.buckets import Buckets

_FRACTION = 4
"""The smaller size of a block is the full one divided by this."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Fixes the compiled sizes of training.

    Attributes:
      tokens: what a micro-batch computes at most, padding included; a prefix row of one sample per
        device is always allowed.
      samples_per_row: G, slots of a prefix row; fewer where they would not fit.
      prefix_buckets: padded lengths of prefixes, rising.
      row_buckets: padded lengths of samples (suffix and response), rising.
      response_buckets: padded counts of response tokens that are scored, rising.
      devices: among which the prefix rows are split; a block has a multiple of it.
    """

    tokens: int
    samples_per_row: int
    prefix_buckets: tuple[int, ...]
    row_buckets: tuple[int, ...]
    response_buckets: tuple[int, ...]
    devices: int = 1

    @classmethod
    def from_config(
        cls,
        train_batch: TrainBatchConfig,
        *,
        buckets: Buckets,
        samples_per_row: int,
        devices: int,
    ) -> Shapes:
        """Makes the sizes that the settings ask for.

        Args:
          train_batch: has the token budget.
          buckets: of the run.
          samples_per_row: G; ``train_batch.members`` in RL, 1 in the cold start.
          devices: among which rows are split (`rules.num_row_devices`).
        """
        return cls(
            tokens=train_batch.tokens,
            samples_per_row=samples_per_row,
            prefix_buckets=buckets.prefix,
            row_buckets=buckets.row,
            response_buckets=buckets.response,
            devices=devices,
        )

    @property
    def smallest_block(self) -> int:
        """Counts the tokens of a block of the smaller size, if several samples fit into one."""
        return self.tokens // _FRACTION

    def block_sizes(self, width: int, samples_per_row: int) -> tuple[int, int, int]:
        """Returns the sizes of the blocks of a width.

        Args:
          width: T.
          samples_per_row: the most slots that a prefix row may have.

        Returns:
          Prefix rows of a full block, prefix rows of the smaller one, and slots of a prefix row.
        """
        room = self.tokens // (width * self.devices)
        samples_per_row = min(samples_per_row, max(1, room))
        rows = max(1, room // samples_per_row)
        return rows * self.devices, max(1, rows // _FRACTION) * self.devices, samples_per_row


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleBlock:
    """Says which samples are computed together.

    Attributes:
      width: T, padded length of a slot.
      num_rows: B, prefix rows.
      samples_per_row: G, slots of a prefix row.
      rows: the prefix rows in use, at most B: a prefix, and the indices of at most G samples.
    """

    width: int
    num_rows: int
    samples_per_row: int
    rows: list[tuple[int, list[int]]]

    @property
    def tokens(self) -> int:
        """Counts the tokens that it computes."""
        return self.num_rows * self.samples_per_row * self.width


def pack(
    samples: Sequence[tuple[int, int]],
    buckets: Sequence[int],
    *,
    shapes: Shapes,
    samples_per_row: int,
) -> list[SampleBlock]:
    """Puts every sample into one slot of a block that is at least as wide as the sample's bucket.

    Args:
      samples: the prefix and the length of each.
      buckets: widths, rising.
      shapes: token budget and devices.
      samples_per_row: the most slots that a prefix row may have.

    Returns:
      Blocks, widest first. Samples of the same bucket and prefix keep their order.

    Raises:
      SkillRLError: a sample is longer than the largest bucket.
    """
    by_width: dict[int, dict[int, list[int]]] = {}
    for i, (prefix, length) in enumerate(samples):
        width = next((bucket for bucket in buckets if length <= bucket), None)
        if width is None:
            raise SkillRLError(
                f"a row of {length} tokens does not fit the largest bucket of {buckets[-1]}: "
                "raise rl.max_prompt_length or rl.max_response_length, or the last of "
                "rollout.suffix_buckets and train_batch.response_buckets if you set them"
            )
        by_width.setdefault(width, {}).setdefault(prefix, []).append(i)
    blocks: list[SampleBlock] = []
    for width in sorted(by_width, reverse=True):
        waiting = by_width[width]
        for block in blocks:
            _fill(block, waiting)
        full, part, slots = shapes.block_sizes(width, samples_per_row)
        needed = sum(-(-len(rest) // slots) for rest in waiting.values())
        for num_rows in _cover(needed, full=full, part=part):
            blocks.append(
                SampleBlock(width=width, num_rows=num_rows, samples_per_row=slots, rows=[])
            )
            _fill(blocks[-1], waiting)
    return blocks


def _cover(rows: int, *, full: int, part: int) -> list[int]:
    """Returns the sizes of the blocks that so many prefix rows need."""
    whole, rest = divmod(rows, full)
    parts = -(-rest // part)
    return [full] * (whole + 1) if parts * part >= full else [full] * whole + [part] * parts


def _fill(block: SampleBlock, waiting: dict[int, list[int]]) -> None:
    """Moves samples from `waiting`, by prefix, to where the block has room."""
    for prefix, row in block.rows:
        if rest := waiting.get(prefix):
            room = block.samples_per_row - len(row)
            row += rest[:room]
            del rest[:room]
    for prefix, rest in waiting.items():
        while rest and len(block.rows) < block.num_rows:
            block.rows.append((prefix, rest[: block.samples_per_row]))
            del rest[: block.samples_per_row]
