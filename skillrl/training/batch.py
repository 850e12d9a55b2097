"""From step samples to arrays: prefixes once, suffix and response rows in micro-batches.

A minibatch holds its distinct prefixes and a list of micro-batches. A row of a
micro-batch is a suffix, the response right after it, and padding; it names the prefix it
continues. `training.packing` says which rows make up a micro-batch, from the samples in
their canonical order, so the same samples always give the same arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from skillrl.inference.base import bucket_of
from skillrl.training.losses import token_weights
from skillrl.training.packing import Grid, Shapes, pack

Rows = jax.Array | NDArray[Any]
"""On the host as it is made, on the devices as it is used."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One step to train on.

    Attributes:
      prefix_ids: shared part of the prompt.
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
@dataclasses.dataclass(frozen=True)
class Micro:
    """Rows of one width, on lines of rows that share a prefix.

    Attributes:
      prefix: int32 [B], which prefix the rows of a line continue.
      prefix_lengths: int32 [B], its tokens.
      tokens: int32 [B, M, T], suffixes and responses.
      suffix_lengths: int32 [B, M]; 0 marks an empty cell.
      response_lengths: int32 [B, M].
      weights: float32 [B, M, R], of each response token in the minibatch's loss.
      old: float32 [B, M, R], log-probabilities recorded at sampling.
      ref: float32 [B, M, R], log-probabilities under the reference policy.
      advantages: float32 [B, M].
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


@dataclasses.dataclass(frozen=True)
class Prefixes:
    """Prefixes that are computed together.

    Attributes:
      tokens: int32 [B, P], right-padded.
      lengths: int32 [B].
      index: int32 [B], the number of each in the minibatch; U or above marks an empty line.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]
    index: NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Minibatch:
    """What one optimiser step reads.

    Attributes:
      prefixes: all distinct ones.
      room: U, for how many prefixes keys and values are held.
      width: P, of the widest prefixes.
      micros: rows.
      rows: how many are real.
      padding: share of all computed tokens that no sample needed: whatever pads a row or a
        prefix, and empty cells. A prefix token counts twice, once in each of the two
        passes over prefixes; a row token counts once.
    """

    prefixes: tuple[Prefixes, ...]
    room: int
    width: int
    micros: tuple[Micro, ...]
    rows: int
    padding: float


def make_minibatch(
    samples: Sequence[Sample],
    shapes: Shapes,
    *,
    aggregation: str = "token_mean",
    micro_batch: int = 4,
) -> Minibatch:
    """Arrays of `samples`, whose loss weights add up to 1 over the whole minibatch.

    Args:
      samples: at least one; order is kept within a bucket.
      shapes: compiled shapes.
      aggregation: see `losses.token_weights`.
      micro_batch: likewise.

    Raises:
      SkillRLError: a sample is longer than the largest bucket.
    """
    numbers = {ids: i for i, ids in enumerate(dict.fromkeys(s.prefix_ids for s in samples))}
    distinct = list(numbers)
    for ids in distinct:
        bucket_of(len(ids), shapes.prefix_buckets, "prefix")
    prefix_grids = pack(
        [(i, len(ids)) for i, ids in enumerate(distinct)], shapes.prefix_buckets, shapes, members=1
    )
    room = 1 << (len(distinct) - 1).bit_length()  # a power of two, so few shapes compile

    longest = max(len(s.response_ids) for s in samples)
    mask = np.zeros((len(samples), longest), bool)
    for i, s in enumerate(samples):
        mask[i, : len(s.response_ids)] = True
    weights = token_weights(
        mask, np.array([s.trajectory for s in samples]), aggregation, micro_batch=micro_batch
    )

    row_grids = pack(
        [(numbers[s.prefix_ids], len(s.suffix_ids) + len(s.response_ids)) for s in samples],
        shapes.row_buckets,
        shapes,
        members=shapes.members,
    )
    used = 2 * sum(map(len, distinct))
    used += sum(len(s.suffix_ids) + len(s.response_ids) for s in samples)
    computed = 2 * sum(grid.cells for grid in prefix_grids) + sum(g.cells for g in row_grids)
    return Minibatch(
        tuple(_prefixes(distinct, grid, room) for grid in prefix_grids),
        room,
        prefix_grids[0].width,
        tuple(_micro(samples, weights, grid, shapes) for grid in row_grids),
        len(samples),
        1.0 - used / computed,
    )


def _prefixes(distinct: Sequence[tuple[int, ...]], grid: Grid, room: int) -> Prefixes:
    tokens = np.zeros((grid.size, grid.width), np.int32)
    lengths = np.ones(grid.size, np.int32)
    index = np.full(grid.size, room, np.int32)
    for line, (which, _) in enumerate(grid.lines):
        ids = distinct[which]
        tokens[line, : len(ids)] = ids
        lengths[line] = len(ids)
        index[line] = which
    return Prefixes(tokens, lengths, index)


def _micro(
    samples: Sequence[Sample], weights: NDArray[np.float32], grid: Grid, shapes: Shapes
) -> Micro:
    inside = [samples[i] for _, line in grid.lines for i in line]
    longest = max(len(s.response_ids) for s in inside)
    scored = min(bucket_of(longest, shapes.response_buckets, "response"), grid.width)
    cells = (grid.size, grid.members)
    prefix = np.zeros(grid.size, np.int32)
    prefix_lengths = np.ones(grid.size, np.int32)
    tokens = np.zeros((*cells, grid.width), np.int32)
    suffix_lengths = np.zeros(cells, np.int32)
    response_lengths = np.zeros(cells, np.int32)
    token_weight = np.zeros((*cells, scored), np.float32)
    old = np.zeros((*cells, scored), np.float32)
    advantages = np.zeros(cells, np.float32)
    for line, (which, members) in enumerate(grid.lines):
        prefix[line] = which
        prefix_lengths[line] = len(samples[members[0]].prefix_ids)
        for member, i in enumerate(members):
            s, cell = samples[i], (line, member)
            n, r = len(s.suffix_ids), len(s.response_ids)
            tokens[cell][: n + r] = (*s.suffix_ids, *s.response_ids)
            suffix_lengths[cell] = n
            response_lengths[cell] = r
            token_weight[cell][:r] = weights[i, :r]
            if s.old_logprobs:
                old[cell][:r] = s.old_logprobs
            advantages[cell] = s.advantage
    return Micro(
        prefix,
        prefix_lengths,
        tokens,
        suffix_lengths,
        response_lengths,
        token_weight,
        old,
        np.zeros_like(old),
        advantages,
    )
