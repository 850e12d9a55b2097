"""Holds the decode state: responses that grow side by side in slots, token by token.

It has B prefix rows of G slots. A prefix row holds the keys and values of one prefix, which the
group members in its slots share; a slot holds those of a member's own suffix and response.
`insert` puts prefilled suffixes into free slots, `decode` draws tokens for all active slots until
some have finished. Slots are at different tokens of their responses, so one is free, and filled
again, as soon as its own response has ended.

Both are jitted once per `DecodeShape`, update the state in place, and let a slot depend on nothing
but its own content: where a request lies, and beside which, changes no bit of its answer.

Letters: B prefix rows, G slots of a row, A response (answer) tokens, N suffixes of a prefill.
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DecodeShape:
    """Fixes the compiled sizes of a decode state.

    Attributes:
      prefix_rows: B.
      group_members: G, slots of a prefix row.
      prefix: padded tokens of a prefix.
      suffix: room for a suffix in a slot, in tokens.
      response: A, the longest response in tokens.
    """

    prefix_rows: int
    group_members: int
    prefix: int
    suffix: int
    response: int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeState:
    """Holds all prefix rows and slots, on the devices.

    Attributes:
      prefix: a KV per layer (see `unstack`), of each row's prefix; one for all slots of the row.
      own: a KV per layer, of each slot's suffix and, right behind it, its response.
      prefix_lengths: int32 [B].
      suffix_lengths: int32 [B, G].
      count: int32 [B, G], tokens drawn so far.
      token: int32 [B, G], the last of them.
      keys: uint32 [B, G, 2], data of the key that a slot's tokens are drawn with.
      ids: int32 [B, G, A], tokens drawn.
      logprobs: float32 [B, G, A], their log-probabilities.
      active: bool [B, G], whether a slot still draws tokens.
      finished: bool [B, G], whether a stop token was drawn.
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
@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeReport:
    """Holds what the host reads after `decode`.

    Attributes:
      ids: as in `DecodeState`.
      logprobs: as in `DecodeState`.
      count: as in `DecodeState`.
      active: as in `DecodeState`.
      finished: as in `DecodeState`.
      steps: int32 scalar, how often a token was drawn for every active slot.
    """

    ids: jax.Array
    logprobs: jax.Array
    count: jax.Array
    active: jax.Array
    finished: jax.Array
    steps: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Insertion:
    """Says where N prefilled suffixes go.

    Arrays have a fixed length N; entries beyond `count` and `num_changed` are ignored.

    Attributes:
      prefix_row: int32 [N], the row of each suffix.
      group_member: int32 [N], its slot in the row.
      suffix_length: int32 [N].
      count: int32 scalar, how many suffixes there are.
      changed_row: int32 [N], prefix rows that get another prefix.
      source: int32 [N], the number of a suffix that was prefilled after that prefix.
      prefix_length: int32 [N], tokens of that prefix.
      num_changed: int32 scalar, how many prefix rows change.
    """

    prefix_row: Any
    group_member: Any
    suffix_length: Any
    count: Any
    changed_row: Any
    source: Any
    prefix_length: Any
    num_changed: Any


@functools.partial(jax.jit, static_argnames=("shape", "config", "mesh"))
def init_decode_state(*, shape: DecodeShape, config: TransformerConfig, mesh: Mesh) -> DecodeState:
    """Makes a decode state whose slots are all free.

    Args:
      shape: its sizes.
      config: sizes of the policy.
      mesh: devices that it is split over.
    """
    b, g, a = shape.prefix_rows, shape.group_members, shape.response

    def room(members: int, width: int) -> list[KV]:
        return unstack(kv_zeros(config, (b, members), width), config.num_layers)

    zero, no = jnp.zeros((b, g), jnp.int32), jnp.zeros((b, g), bool)
    return _pin(
        DecodeState(
            prefix=room(1, shape.prefix),
            own=room(g, shape.suffix + a),
            prefix_lengths=jnp.zeros(b, jnp.int32),
            suffix_lengths=zero,
            count=zero,
            token=zero,
            keys=jnp.zeros((b, g, 2), jnp.uint32),
            ids=jnp.zeros((b, g, a), jnp.int32),
            logprobs=jnp.zeros((b, g, a), jnp.float32),
            active=no,
            finished=no,
        ),
        mesh,
    )


@functools.partial(jax.jit, donate_argnames=("state",), static_argnames=("stops", "mesh"))
def insert(
    state: DecodeState,
    prefilled: Prefilled,
    *,
    insertion: Insertion,
    stops: tuple[int, ...],
    mesh: Mesh,
) -> DecodeState:
    """Puts prefilled suffixes with their first tokens into slots, and prefixes into rows.

    Args:
      state: the state before; donated.
      prefilled: N suffixes, from `sampler.prefill`.
      insertion: where they go.
      stops: ids that end a response.
      mesh: devices.

    Returns:
      The state with the slots filled; a slot whose first token is a stop token is not active.
    """
    stop = jnp.isin(prefilled.first.token, jnp.array(stops, jnp.int32))

    def set_prefix(j: jax.Array, state: DecodeState) -> DecodeState:
        row, source = insertion.changed_row[j], insertion.source[j]
        return dataclasses.replace(
            state,
            prefix=[
                _place(kv, _take_row(new, source), (row, 0))
                for kv, new in zip(state.prefix, prefilled.prefixes, strict=True)
            ],
            prefix_lengths=state.prefix_lengths.at[row].set(insertion.prefix_length[j]),
        )

    def fill_slot(j: jax.Array, state: DecodeState) -> DecodeState:
        slot = (insertion.prefix_row[j], insertion.group_member[j])
        token, limit = prefilled.first.token[j], state.ids.shape[-1]
        return dataclasses.replace(
            state,
            own=[
                _place(kv, _take_row(new, j), slot)
                for kv, new in zip(state.own, prefilled.kv, strict=True)
            ],
            suffix_lengths=state.suffix_lengths.at[slot].set(insertion.suffix_length[j]),
            count=state.count.at[slot].set(1),
            token=state.token.at[slot].set(token),
            keys=state.keys.at[slot].set(prefilled.keys[j]),
            ids=state.ids.at[slot].set(jnp.zeros(limit, jnp.int32).at[0].set(token)),
            logprobs=state.logprobs.at[slot].set(
                jnp.zeros(limit, jnp.float32).at[0].set(prefilled.first.logprob[j])
            ),
            active=state.active.at[slot].set(~stop[j] & (limit > 1)),
            finished=state.finished.at[slot].set(stop[j]),
        )

    state = jax.lax.fori_loop(0, insertion.num_changed, set_prefix, state)
    return _pin(jax.lax.fori_loop(0, insertion.count, fill_slot, state), mesh)


@functools.partial(
    jax.jit,
    donate_argnames=("state",),
    static_argnames=("config", "stops", "top_k", "nucleus", "mesh"),
)
def decode(
    params: Params,
    state: DecodeState,
    *,
    awaited: jax.Array,
    min_finished: jax.Array,
    max_steps: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array,
    config: TransformerConfig,
    stops: tuple[int, ...],
    mesh: Mesh,
    top_k: int = 0,
    nucleus: bool = False,
) -> tuple[DecodeState, DecodeReport]:
    """Draws a token for every active slot, again and again until enough slots have finished.

    How the tokens are divided among calls changes none of them.

    Args:
      params: policy, laid out for decoding.
      state: the state before; donated.
      awaited: bool [B, G], slots whose answers the host waits for.
      min_finished: int32 scalar; returns when that many awaited slots have finished, or when no
        slot is active.
      max_steps: int32 scalar; returns after that many steps in any case, so that the host is
        asked now and then.
      temperature: scalar; 0 is greedy.
      top_p: scalar, used if `nucleus`.
      config: sizes of the policy.
      stops: ids that end a response.
      mesh: devices.
      top_k: keep that many tokens; 0 keeps all.
      nucleus: whether `top_p` is applied.

    Returns:
      The state after, and what the host wants to know of it.
    """
    limit = state.ids.shape[-1]
    stop_ids, index = jnp.array(stops, jnp.int32), jnp.arange(limit)
    keys = jax.random.wrap_key_data(state.keys)
    widths = state.prefix[0].width, state.own[0].width
    exists = (jnp.arange(widths[0]) < state.prefix_lengths[:, None])[:, None]

    def continues(carry: tuple[DecodeState, jax.Array]) -> jax.Array:
        state, steps = carry
        enough = (awaited & ~state.active).sum() >= min_finished
        return ~enough & state.active.any() & (steps < max_steps)

    def step(carry: tuple[DecodeState, jax.Array]) -> tuple[DecodeState, jax.Array]:
        state, steps = carry
        last = state.suffix_lengths + jnp.maximum(state.count - 1, 0)
        hidden, own = forward(
            params,
            state.token[..., None],
            (state.prefix_lengths[:, None] + last)[..., None],
            config=config,
            mask=(jnp.arange(widths[1]) <= last[..., None])[:, :, None],
            segments=(Segment(prefix, exists),),
            append=Append(state.own, last),
        )
        token, logprob = draw(
            params,
            hidden[:, :, 0],
            keys=keys,
            index=state.count,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            nucleus=nucleus,
        )
        here = (index == state.count[..., None]) & state.active[..., None]
        count = state.count + state.active
        stopped = state.active & jnp.isin(token, stop_ids)
        state = dataclasses.replace(
            state,
            own=own,
            count=count,
            token=jnp.where(state.active, token, state.token),
            ids=jnp.where(here, token[..., None], state.ids),
            logprobs=jnp.where(here, logprob[..., None], state.logprobs),
            active=state.active & ~stopped & (count < limit),
            finished=state.finished | stopped,
        )
        return state, steps + 1

    # What no step changes stays outside of the loop.
    prefix = state.prefix
    start = dataclasses.replace(state, prefix=None), jnp.int32(0)
    state, steps = jax.lax.while_loop(continues, step, start)
    state = _pin(dataclasses.replace(state, prefix=prefix), mesh)
    report = DecodeReport(
        ids=state.ids,
        logprobs=state.logprobs,
        count=state.count,
        active=state.active,
        finished=state.finished,
        steps=steps,
    )
    return state, report


def _take_row(kv: KV, row: jax.Array) -> KV:
    """Returns one row of a KV, as B = 1."""
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row, 1), kv)


def _place(into: KV, kv: KV, slot: tuple[Any, Any]) -> KV:
    """Writes the KV of a single row into a slot of `into`, as many tokens as fit there."""
    start = tuple(jnp.asarray(i, jnp.int32) for i in (*slot, 0, 0, 0))
    width = into.width  # what is padded further holds no token
    return KV(
        jax.lax.dynamic_update_slice(into.k, kv.k[..., :width].astype(into.k.dtype), start),
        jax.lax.dynamic_update_slice(into.v, kv.v[..., :width, :].astype(into.v.dtype), start),
    )


def _pin(state: DecodeState, mesh: Mesh) -> DecodeState:
    """Splits a state over the devices by prefix rows and kv heads, the same after every call."""
    if mesh.size == 1:
        return state

    def pin(path: Any, x: jax.Array) -> jax.Array:
        axes: tuple[str | None, ...] = ("rows", *(None,) * (x.ndim - 1))
        if path[0].name in ("prefix", "own"):
            axes = ("rows", None, "kv_heads", None, None)
        return jax.lax.with_sharding_constraint(x, rules.sharding(mesh, axes, x.shape))

    return jax.tree_util.tree_map_with_path(pin, state)
