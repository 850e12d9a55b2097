"""The slot grid: a state machine of cells in which responses grow, token by token.

A grid has A rows of M cells. A row holds the keys and values of one prefix, which its M
cells share; a cell holds those of its own suffix and response. `seat` puts prefilled
suffixes into free cells, `decode` lets all cells grow until some have ended. Cells are at
different tokens of their responses, so one is free again, and seated again, as soon as its
own response has ended.

Both are jitted once per `Shape`, update the grid in place, and leave everything else of a
cell to itself: where a request sits, and beside whom, changes no bit of its answer.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from skillrl.inference.sampler import Prefilled, draw
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV, Append, Segment, kv_zeros
from skillrl.models.transformer import Params, forward, unstack
from skillrl.parallel import rules


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a grid: A, M, and the tokens that a prefix, a suffix and a response may have."""

    rows: int
    members: int
    prefix: int
    suffix: int
    response: int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Grid:
    """State on the device. Keys and values are lists, an entry per layer (see `unstack`).

    Attributes:
      prefix: KV (B = A, m = 1).
      own: KV (B = A, m = M) of a cell's suffix and, right behind it, its response.
      prefix_lengths: int32 [A].
      suffix_lengths: int32 [A, M].
      count: int32 [A, M], tokens drawn so far.
      token: int32 [A, M], the last of them.
      keys: uint32 [A, M, 2], of the draws.
      ids: int32 [A, M, R], tokens drawn.
      logprobs: float32 [A, M, R], theirs.
      active: bool [A, M], still growing.
      finished: bool [A, M], a stop token was drawn.
    """

    prefix: Any
    own: Any
    prefix_lengths: jax.Array
    suffix_lengths: jax.Array
    count: jax.Array
    token: jax.Array
    keys: jax.Array
    ids: jax.Array
    logprobs: jax.Array
    active: jax.Array
    finished: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Report:
    """What the host reads after `decode`; attributes as of `Grid`, but for one.

    Attributes:
      steps: int32 scalar, how many tokens the longest-working cell drew.
    """

    ids: jax.Array
    logprobs: jax.Array
    count: jax.Array
    active: jax.Array
    finished: jax.Array
    steps: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Seats:
    """Where n prefilled suffixes go; the first so many count, the rest is ignored.

    Attributes:
      row: int32 [n].
      member: int32 [n].
      length: int32 [n], of the suffix.
      count: int32 scalar, how many suffixes there are.
      new_row: int32 [n], rows whose prefix changes.
      source: int32 [n], a suffix that has the new one.
      prefix_length: int32 [n], the new one's.
      new_rows: int32 scalar, how many rows change.
    """

    row: Any
    member: Any
    length: Any
    count: Any
    new_row: Any
    source: Any
    prefix_length: Any
    new_rows: Any


@functools.partial(jax.jit, static_argnames=("shape", "config", "mesh"))
def empty(*, shape: Shape, config: TransformerConfig, mesh: Mesh) -> Grid:
    """A grid without a seated cell."""
    a, m, r = shape.rows, shape.members, shape.response

    def room(members: int, width: int) -> list[KV]:
        return unstack(kv_zeros(config, (a, members), width), config.num_layers)

    zero, no = jnp.zeros((a, m), jnp.int32), jnp.zeros((a, m), bool)
    return _pin(
        Grid(
            prefix=room(1, shape.prefix),
            own=room(m, shape.suffix + r),
            prefix_lengths=jnp.zeros(a, jnp.int32),
            suffix_lengths=zero,
            count=zero,
            token=zero,
            keys=jnp.zeros((a, m, 2), jnp.uint32),
            ids=jnp.zeros((a, m, r), jnp.int32),
            logprobs=jnp.zeros((a, m, r), jnp.float32),
            active=no,
            finished=no,
        ),
        mesh,
    )


@functools.partial(jax.jit, donate_argnames=("grid",), static_argnames=("stops", "mesh"))
def seat(grid: Grid, found: Prefilled, seats: Seats, *, stops: tuple[int, ...], mesh: Mesh) -> Grid:
    """Puts prefilled suffixes and their first tokens into cells, and prefixes into rows.

    Args:
      grid: as it is; donated.
      found: of `sampler.prefill`.
      seats: where they go.
      stops: ids that end a response.
      mesh: devices.
    """
    stop = jnp.isin(found.first.token, jnp.array(stops, jnp.int32))

    def row(j: jax.Array, grid: Grid) -> Grid:
        a, source = seats.new_row[j], seats.source[j]
        return dataclasses.replace(
            grid,
            prefix=[
                _place(kv, _row(new, source), (a, 0))
                for kv, new in zip(grid.prefix, found.prefixes, strict=True)
            ],
            prefix_lengths=grid.prefix_lengths.at[a].set(seats.prefix_length[j]),
        )

    def cell(j: jax.Array, grid: Grid) -> Grid:
        at = (seats.row[j], seats.member[j])
        token, limit = found.first.token[j], grid.ids.shape[-1]
        return dataclasses.replace(
            grid,
            own=[_place(kv, _row(new, j), at) for kv, new in zip(grid.own, found.kv, strict=True)],
            suffix_lengths=grid.suffix_lengths.at[at].set(seats.length[j]),
            count=grid.count.at[at].set(1),
            token=grid.token.at[at].set(token),
            keys=grid.keys.at[at].set(found.keys[j]),
            ids=grid.ids.at[at].set(jnp.zeros(limit, jnp.int32).at[0].set(token)),
            logprobs=grid.logprobs.at[at].set(
                jnp.zeros(limit, jnp.float32).at[0].set(found.first.logprob[j])
            ),
            active=grid.active.at[at].set(~stop[j] & (limit > 1)),
            finished=grid.finished.at[at].set(stop[j]),
        )

    grid = jax.lax.fori_loop(0, seats.new_rows, row, grid)
    return _pin(jax.lax.fori_loop(0, seats.count, cell, grid), mesh)


@functools.partial(
    jax.jit,
    donate_argnames=("grid",),
    static_argnames=("config", "stops", "top_k", "nucleus", "mesh"),
)
def decode(
    params: Params,
    grid: Grid,
    held: jax.Array,
    quota: jax.Array,
    steps: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    *,
    config: TransformerConfig,
    stops: tuple[int, ...],
    mesh: Mesh,
    top_k: int = 0,
    nucleus: bool = False,
) -> tuple[Grid, Report]:
    """Draws a token for every active cell, again and again until `quota` cells have ended.

    How the tokens are cut into calls changes none of them.

    Args:
      params: policy, as `models.fused` lays it out.
      grid: as it is; donated.
      held: bool [A, M], cells whose answers the host waits for.
      quota: int32 scalar; stops when so many of them have ended, or none is active.
      steps: int32 scalar; stops after so many tokens of a cell in any case, so that the host
        is asked now and then.
      temperature: scalar; 0 is greedy.
      top_p: scalar, used if `nucleus`.
      config: sizes.
      stops: ids that end a response.
      mesh: devices.
      top_k: keep that many tokens; 0 keeps all.
      nucleus: whether `top_p` is applied.
    """
    limit = grid.ids.shape[-1]
    stop_ids, slot = jnp.array(stops, jnp.int32), jnp.arange(limit)
    keys = jax.random.wrap_key_data(grid.keys)
    widths = grid.prefix[0].width, grid.own[0].width
    exists = (jnp.arange(widths[0]) < grid.prefix_lengths[:, None])[:, None]

    def going_on(carry: tuple[Grid, jax.Array]) -> jax.Array:
        grid, done = carry
        return ((held & ~grid.active).sum() < quota) & grid.active.any() & (done < steps)

    def step(carry: tuple[Grid, jax.Array]) -> tuple[Grid, jax.Array]:
        grid, done = carry
        last = grid.suffix_lengths + jnp.maximum(grid.count - 1, 0)
        hidden, own = forward(
            params,
            grid.token[..., None],
            (grid.prefix_lengths[:, None] + last)[..., None],
            config=config,
            mask=(jnp.arange(widths[1]) <= last[..., None])[:, :, None],
            segments=(Segment(prefix, exists),),
            append=Append(grid.own, last),
        )
        token, logprob = draw(
            params,
            hidden[:, :, 0],
            keys,
            grid.count,
            temperature,
            top_p,
            top_k=top_k,
            nucleus=nucleus,
        )
        here = (slot == grid.count[..., None]) & grid.active[..., None]
        count = grid.count + grid.active
        stopped = grid.active & jnp.isin(token, stop_ids)
        grid = dataclasses.replace(
            grid,
            own=own,
            count=count,
            token=jnp.where(grid.active, token, grid.token),
            ids=jnp.where(here, token[..., None], grid.ids),
            logprobs=jnp.where(here, logprob[..., None], grid.logprobs),
            active=grid.active & ~stopped & (count < limit),
            finished=grid.finished | stopped,
        )
        return grid, done + 1

    # What no step changes stays outside of the loop.
    prefix = grid.prefix
    start = dataclasses.replace(grid, prefix=None), jnp.int32(0)
    grid, done = jax.lax.while_loop(going_on, step, start)
    grid = _pin(dataclasses.replace(grid, prefix=prefix), mesh)
    return grid, Report(grid.ids, grid.logprobs, grid.count, grid.active, grid.finished, done)


def _row(kv: KV, row: jax.Array) -> KV:
    """One row of a KV, as B = 1."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row, 1), kv)


def _place(into: KV, kv: KV, at: tuple[Any, Any]) -> KV:
    """`kv` (B = m = 1) written at a row and member of `into`, as many tokens as it has room for."""
    start = tuple(jnp.asarray(i, jnp.int32) for i in (*at, 0, 0, 0))
    width = into.width  # what is padded further holds no token
    return KV(
        jax.lax.dynamic_update_slice(into.k, kv.k[..., :width].astype(into.k.dtype), start),
        jax.lax.dynamic_update_slice(into.v, kv.v[..., :width, :].astype(into.v.dtype), start),
    )


def _pin(grid: Grid, mesh: Mesh) -> Grid:
    """A grid split over the devices by rows and kv heads, the same after every call."""
    if mesh.size == 1:
        return grid

    def pin(path: Any, x: jax.Array) -> jax.Array:
        axes: tuple[str | None, ...] = ("rows", *(None,) * (x.ndim - 1))
        if path[0].name in ("prefix", "own"):
            axes = ("rows", None, "kv_heads", None, None)
        return jax.lax.with_sharding_constraint(x, rules.sharding(mesh, axes, x.shape))

    return jax.tree_util.tree_map_with_path(pin, grid)
