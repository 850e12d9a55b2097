"""Makes arrays of step samples: prefixes once, suffixes and responses in micro-batches.

A minibatch holds its distinct prefixes and a list of micro-batches. A slot of a micro-batch holds a
suffix, the response right after it, and padding; its prefix row names the prefix that it continues.
`training.packing` says which samples make up a micro-batch, from the samples in their canonical
order, so the same samples always give the same arrays.

Letters: B prefix rows, G slots of a row, T tokens of a slot, A response (answer) tokens, P prefix
tokens, U distinct prefixes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from skillrl.parallel.buckets import bucket_of
from skillrl.training.losses import token_weights
from skillrl.training.packing import SampleBlock, Shapes, pack

Rows = jax.Array | NDArray[Any]
"""On the host as it is made, on the devices as it is used."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Holds one step to train on.

    Attributes:
      prefix_ids: the part of the prompt that a group shares.
      suffix_ids: the step's own part.
      response_ids: what was sampled or demonstrated, the end of turn included.
      old_logprobs: recorded when sampling; empty for demonstrations.
      advantage: of every response token.
      trajectory: index of the episode it belongs to.
    """

    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    old_logprobs: tuple[float, ...] = ()
    advantage: float = 0.0
    trajectory: int = 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Holds samples of one width, in prefix rows whose samples share a prefix.

    Attributes:
      prefix: int32 [B], the number of the prefix that a row's samples continue.
      prefix_lengths: int32 [B], its tokens.
      tokens: int32 [B, G, T], suffixes and responses.
      suffix_lengths: int32 [B, G]; 0 marks an empty slot.
      response_lengths: int32 [B, G].
      weights: float32 [B, G, A], of each response token in the minibatch's loss.
      old: float32 [B, G, A], log-probabilities recorded at sampling.
      ref: float32 [B, G, A], log-probabilities under the reference policy.
      advantages: float32 [B, G], or [B, G, A] where each token has a weight of its own
        (`training.importance`).
    """

    prefix: Rows
    prefix_lengths: Rows
    tokens: Rows
    suffix_lengths: Rows
    response_lengths: Rows
    weights: Rows
    old: Rows
    ref: Rows
    advantages: Rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixBatch:
    """Holds prefixes that are computed together.

    Attributes:
      tokens: int32 [B, P], right-padded.
      lengths: int32 [B].
      index: int32 [B], the number of each in the minibatch; U or above marks an empty row.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]
    index: NDArray[np.int32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Minibatch:
    """Holds what one optimiser step reads.

    Attributes:
      prefixes: all distinct prefixes.
      prefix_room: U, for how many prefixes keys and values are held.
      prefix_width: P of the widest prefixes.
      micro_batches: all samples.
      num_samples: how many there are.
      padding: share of all computed tokens that no sample needed: whatever pads a sample or a
        prefix, and empty slots. A prefix token counts twice, once in each of the two passes over
        prefixes; a sample's token counts once.
    """

    prefixes: tuple[PrefixBatch, ...]
    prefix_room: int
    prefix_width: int
    micro_batches: tuple[MicroBatch, ...]
    num_samples: int
    padding: float


def make_minibatch(
    samples: Sequence[Sample],
    shapes: Shapes,
    *,
    aggregation: str = "token_mean",
    micro_batch: int = 4,
) -> Minibatch:
    """Makes the arrays of `samples`, whose loss weights add up to 1 over the whole minibatch.

    Args:
      samples: at least one; order is kept within a bucket.
      shapes: compiled sizes.
      aggregation: see `losses.token_weights`.
      micro_batch: see `losses.token_weights`.

    Raises:
      SkillRLError: a sample is longer than the largest bucket.
    """
    numbers = {ids: i for i, ids in enumerate(dict.fromkeys(s.prefix_ids for s in samples))}
    distinct = list(numbers)
    for ids in distinct:
        bucket_of(len(ids), shapes.prefix_buckets, what="prefix")
    prefix_blocks = pack(
        [(i, len(ids)) for i, ids in enumerate(distinct)],
        shapes.prefix_buckets,
        shapes=shapes,
        samples_per_row=1,
    )
    room = 1 << (len(distinct) - 1).bit_length()  # a power of two, so few shapes compile

    longest = max(len(s.response_ids) for s in samples)
    mask = np.zeros((len(samples), longest), bool)
    for i, s in enumerate(samples):
        mask[i, : len(s.response_ids)] = True
    weights = token_weights(
        mask, np.array([s.trajectory for s in samples]), kind=aggregation, micro_batch=micro_batch
    )

    blocks = pack(
        [(numbers[s.prefix_ids], len(s.suffix_ids) + len(s.response_ids)) for s in samples],
        shapes.row_buckets,
        shapes=shapes,
        samples_per_row=shapes.samples_per_row,
    )
    used = 2 * sum(map(len, distinct))
    used += sum(len(s.suffix_ids) + len(s.response_ids) for s in samples)
    computed = 2 * sum(block.tokens for block in prefix_blocks) + sum(b.tokens for b in blocks)
    return Minibatch(
        prefixes=tuple(_prefix_batch(distinct, block, room=room) for block in prefix_blocks),
        prefix_room=room,
        prefix_width=prefix_blocks[0].width,
        micro_batches=tuple(
            _micro_batch(samples, block, weights=weights, shapes=shapes) for block in blocks
        ),
        num_samples=len(samples),
        padding=1.0 - used / computed,
    )


def _prefix_batch(
    distinct: Sequence[tuple[int, ...]], block: SampleBlock, *, room: int
) -> PrefixBatch:
    tokens = np.zeros((block.num_rows, block.width), np.int32)
    lengths = np.ones(block.num_rows, np.int32)
    index = np.full(block.num_rows, room, np.int32)
    for row, (which, _) in enumerate(block.rows):
        ids = distinct[which]
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
        index[row] = which
    return PrefixBatch(tokens=tokens, lengths=lengths, index=index)


def _micro_batch(
    samples: Sequence[Sample], block: SampleBlock, *, weights: NDArray[np.float32], shapes: Shapes
) -> MicroBatch:
    inside = [samples[i] for _, indices in block.rows for i in indices]
    longest = max(len(s.response_ids) for s in inside)
    scored = min(bucket_of(longest, shapes.response_buckets, what="response"), block.width)
    slots = (block.num_rows, block.samples_per_row)
    prefix = np.zeros(block.num_rows, np.int32)
    prefix_lengths = np.ones(block.num_rows, np.int32)
    tokens = np.zeros((*slots, block.width), np.int32)
    suffix_lengths = np.zeros(slots, np.int32)
    response_lengths = np.zeros(slots, np.int32)
    token_weight = np.zeros((*slots, scored), np.float32)
    old = np.zeros((*slots, scored), np.float32)
    advantages = np.zeros(slots, np.float32)
    for row, (which, indices) in enumerate(block.rows):
        prefix[row] = which
        prefix_lengths[row] = len(samples[indices[0]].prefix_ids)
        for column, i in enumerate(indices):
            s, slot = samples[i], (row, column)
            n, a = len(s.suffix_ids), len(s.response_ids)
            tokens[slot][: n + a] = (*s.suffix_ids, *s.response_ids)
            suffix_lengths[slot] = n
            response_lengths[slot] = a
            token_weight[slot][:a] = weights[i, :a]
            if s.old_logprobs:
                old[slot][:a] = s.old_logprobs
            advantages[slot] = s.advantage
    return MicroBatch(
        prefix=prefix,
        prefix_lengths=prefix_lengths,
        tokens=tokens,
        suffix_lengths=suffix_lengths,
        response_lengths=response_lengths,
        weights=token_weight,
        old=old,
        ref=np.zeros_like(old),
        advantages=advantages,
    )
