"""From step samples to arrays: prefixes once, suffix and response rows in micro-batches.

A minibatch holds its distinct prefixes ``[U, P]`` and a list of micro-batches. A row
of a micro-batch is a suffix, right-padded to S, followed by a response, right-padded
to R, and names the prefix it continues. Rows go to the bucket of their own length (or
fill up a wider one), in the canonical order of the samples, so the same samples always
give the same arrays.
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
    """Rows of one bucket.

    Attributes:
      prefix: int32 [B], which prefix the rows of a grid row continue.
      tokens: int32 [B, M, S + R].
      suffix_lengths: int32 [B, M]; 0 marks an empty cell.
      response_lengths: int32 [B, M].
      weights: float32 [B, M, R], of each response token in the minibatch's loss.
      old: float32 [B, M, R], log-probabilities recorded at sampling.
      ref: float32 [B, M, R], log-probabilities under the reference policy.
      advantages: float32 [B, M].
    """

    prefix: Rows
    tokens: Rows
    suffix_lengths: Rows
    response_lengths: Rows
    weights: Rows
    old: Rows
    ref: Rows
    advantages: Rows


@dataclasses.dataclass(frozen=True)
class Minibatch:
    """What one optimiser step reads.

    Attributes:
      prefix_tokens: int32 [U, P], right-padded.
      prefix_lengths: int32 [U].
      micros: rows.
      rows: how many are real.
      padding: share of computed row tokens (prefix tokens not counted) that are padding.
    """

    prefix_tokens: NDArray[np.int32]
    prefix_lengths: NDArray[np.int32]
    micros: tuple[Micro, ...]
    rows: int
    padding: float


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Compiled shapes of training.

    Attributes:
      rows: B, grid rows of a micro-batch.
      members: M, rows of a grid row, which share a prefix.
      prefix_buckets: padded prefix lengths.
      suffix_buckets: padded suffix lengths.
      response_buckets: padded response lengths.
    """

    rows: int
    members: int
    prefix_buckets: tuple[int, ...]
    suffix_buckets: tuple[int, ...]
    response_buckets: tuple[int, ...]


def make_minibatch(
    samples: Sequence[Sample], shapes: Shapes, *, aggregation: str = "token_mean"
) -> Minibatch:
    """Arrays of `samples`, whose loss weights add up to 1 over the whole minibatch.

    Args:
      samples: at least one; order is kept within a bucket.
      shapes: compiled shapes.
      aggregation: see `losses.token_weights`.

    Raises:
      SkillRLError: a sample is longer than the largest bucket.
    """
    prefixes = {ids: i for i, ids in enumerate(dict.fromkeys(s.prefix_ids for s in samples))}
    width = bucket_of(max(map(len, prefixes)), shapes.prefix_buckets, "prefix")
    count = 1 << (len(prefixes) - 1).bit_length()  # a power of two, so few shapes compile
    prefix_tokens = np.zeros((count, width), np.int32)
    prefix_lengths = np.ones(count, np.int32)
    for ids, i in prefixes.items():
        prefix_tokens[i, : len(ids)] = ids
        prefix_lengths[i] = len(ids)

    longest = max(len(s.response_ids) for s in samples)
    mask = np.zeros((len(samples), longest), bool)
    for i, s in enumerate(samples):
        mask[i, : len(s.response_ids)] = True
    weights = token_weights(mask, np.array([s.trajectory for s in samples]), aggregation)

    buckets: dict[tuple[int, int], dict[int, list[int]]] = {}
    for i, s in enumerate(samples):
        shape = (
            bucket_of(len(s.suffix_ids), shapes.suffix_buckets, "suffix"),
            bucket_of(len(s.response_ids), shapes.response_buckets, "response"),
        )
        buckets.setdefault(shape, {}).setdefault(prefixes[s.prefix_ids], []).append(i)

    lines_by_shape = {
        shape: [
            (prefix, same[at : at + shapes.members])
            for prefix, same in by_prefix.items()
            for at in range(0, len(same), shapes.members)
        ]
        for shape, by_prefix in buckets.items()
    }
    micros, computed = [], 0
    for (s_width, r_width), grid in _grids(lines_by_shape, shapes.rows):
        micros.append(_micro(samples, weights, grid, shapes, s_width, r_width))
        computed += shapes.rows * shapes.members * (s_width + r_width)
    used = sum(len(s.suffix_ids) + len(s.response_ids) for s in samples)
    return Minibatch(
        prefix_tokens, prefix_lengths, tuple(micros), len(samples), 1.0 - used / computed
    )


_Line = tuple[int, list[int]]  # a prefix and the samples of one grid row


def _grids(
    lines_by_shape: dict[tuple[int, int], list[_Line]], rows: int
) -> list[tuple[tuple[int, int], list[_Line]]]:
    """Lines in grids of at most `rows`, each with its (suffix, response) shape.

    Lines that do not fill a grid of their own bucket ride in the unfilled grid of a wider
    one where there is room: a grid costs the same however many of its rows are empty.
    """
    grids: list[tuple[tuple[int, int], list[_Line]]] = []
    unfilled: list[tuple[tuple[int, int], list[_Line]]] = []
    for shape, lines in sorted(lines_by_shape.items(), reverse=True):
        full = len(lines) - len(lines) % rows
        grids += [(shape, lines[at : at + rows]) for at in range(0, full, rows)]
        if rest := lines[full:]:
            for (wide, long), waiting in unfilled:
                if wide >= shape[0] and long >= shape[1] and len(waiting) + len(rest) <= rows:
                    waiting += rest
                    break
            else:
                unfilled.append((shape, rest))
    return sorted([*grids, *unfilled], key=lambda grid: grid[0])


def _micro(
    samples: Sequence[Sample],
    weights: NDArray[np.float32],
    grid: list[_Line],
    shapes: Shapes,
    s_width: int,
    r_width: int,
) -> Micro:
    cells = (shapes.rows, shapes.members)
    prefix = np.zeros(shapes.rows, np.int32)
    tokens = np.zeros((*cells, s_width + r_width), np.int32)
    suffix_lengths = np.zeros(cells, np.int32)
    response_lengths = np.zeros(cells, np.int32)
    token_weight = np.zeros((*cells, r_width), np.float32)
    old = np.zeros((*cells, r_width), np.float32)
    advantages = np.zeros(cells, np.float32)
    for row, (which, members) in enumerate(grid):
        prefix[row] = which
        for member, i in enumerate(members):
            s = samples[i]
            n, r = len(s.suffix_ids), len(s.response_ids)
            tokens[row, member, :n] = s.suffix_ids
            tokens[row, member, s_width : s_width + r] = s.response_ids
            suffix_lengths[row, member] = n
            response_lengths[row, member] = r
            token_weight[row, member, :r] = weights[i, :r]
            if s.old_logprobs:
                old[row, member, :r] = s.old_logprobs
            advantages[row, member] = s.advantage
    return Micro(
        prefix,
        tokens,
        suffix_lengths,
        response_lengths,
        token_weight,
        old,
        np.zeros_like(old),
        advantages,
    )
