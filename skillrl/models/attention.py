"""Computes softmax attention over parts of the past, by one of several implementations.

The parts of a row's past are a prefix that it shares with others, a suffix and so on; see
`models.transformer` for the letters. `attend` goes by the name in ``model.attention``:

======== ================ ============================================================
name     runs on          how
======== ================ ============================================================
xla      anything         matrix products per part; a shared part is read once for all
                          rows; scores ``[B, G, K, J, T, C]`` exist in float32
cudnn    NVIDIA           cuDNN's fused kernel; scores never exist
splash   one TPU          the fused Pallas kernel of JAX; scores never exist
======== ================ ============================================================

A name says what computes the passes over many tokens, where scores are large. Which passes
those are follows from their shapes alone, never from what happens to work:

- A pass of one token (a decode step) is `xla` under every name. It is bound by reading keys
  and values, and there the fused kernels would read a shared part once per row.
- `cudnn` computes every other pass: right-padded tokens on their own (a prefix) by its causal
  kernel, all else with the parts joined and one mask ``[B * G, 1, T, C]``.
- `splash` computes those whose queries are the tokens themselves in order (`InOrder`). The
  last layer of a training pass, which has queries for the response alone, is `xla`.

Joining copies a shared prefix to its G rows. For 16 rows of 214 tokens after 1,000 of Qwen2.5
7B that and the mask are 48 MB a layer, where the scores of `xla` are 465 MB.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV
from skillrl.models.masks import InOrder, Mask, dense
from skillrl.parallel import rules

_MASKED = -1e30

Parts = list[tuple[KV, Mask]]
IMPLEMENTATIONS: dict[str, Callable[..., jax.Array]] = {}


def implementation(name: str) -> Callable:
    """Registers a function with the arguments of `attend` under the name of a setting."""

    def add(function: Callable) -> Callable:
        IMPLEMENTATIONS[name] = function
        return function

    return add


def attend(
    q: jax.Array, parts: Parts, *, name: str = "xla", mesh: jax.sharding.Mesh | None = None
) -> jax.Array:
    """Computes softmax attention over several parts of the past.

    Args:
      q: ``[B, G, T, K, J, Q]``, already scaled.
      parts: pairs of a layer's KV and a mask ``[B, g, T or 1, C]``; g is G or 1.
        A part with g = 1 is shared by all G rows. At least one key of the last part, whose
        mask may be an `InOrder`, must be visible to every query.
      name: the implementation for passes of more than one token; a key of `IMPLEMENTATIONS`.
      mesh: devices that rows and heads are split over; `cudnn` has to know.

    Returns:
      ``[B, G, T, K, J, Q]``, softmax in float32.
    """
    ordered = isinstance(parts[-1][1], InOrder)
    if q.shape[2] == 1 or (name == "splash" and not ordered):
        name = "xla"
    if name == "cudnn":
        return cudnn(q, parts, mesh=mesh)
    return IMPLEMENTATIONS[name](q, parts)


def check_attention(config: TransformerConfig, mesh: jax.sharding.Mesh) -> None:
    """Refuses an implementation that cannot run; to be called before anything is compiled.

    Args:
      config: sizes and settings of the policy that will run.
      mesh: the devices that it will run on.

    Raises:
      SkillRLError: names the setting, what is in its way and what to set instead.
    """
    device, name = mesh.devices.flat[0], config.attention

    def need(fits: bool, *, wants: str, have: str, remedy: str = "") -> None:
        """Raises the error that says what is missing, unless it `fits`.

        Args:
          fits: whether there is what the implementation needs.
          wants: what it needs, for the message.
          have: what there is instead.
          remedy: another setting that would help, with "or" after it.
        """
        if not fits:
            raise SkillRLError(
                f"model.attention={name} needs {wants}, but {have}. "
                f"Set {remedy}model.attention=xla, which runs anywhere."
            )

    if name == "cudnn":
        cuda = device.platform == "gpu" and "cuda" in device.client.platform_version.lower()
        need(cuda, wants="NVIDIA GPUs", have=f"the run is on {device.platform}")
        version = float(device.compute_capability)
        have = f"{device.device_kind} has {version}"
        need(version >= 8, wants="GPUs of compute capability 8.0 (Ampere) or later", have=have)
        have, remedy = f"model.dtype={config.dtype}", "model.dtype=bfloat16 or "
        need(config.dtype == "bfloat16", wants="a 16-bit computation", have=have, remedy=remedy)
        widest = 256 if version >= 9 else 128
        fits = config.head_dim <= widest and config.head_dim % 8 == 0
        need(
            fits,
            wants=f"heads of at most {widest} numbers, a multiple of 8",
            have=f"this policy's have {config.head_dim}",
        )
        tensor = mesh.shape["tensor"]
        need(
            config.num_kv_heads % tensor == 0,
            wants="key and value heads that mesh.tensor divides",
            have=f"there are {config.num_kv_heads} for mesh.tensor={tensor}",
            remedy="a mesh.tensor that divides them or ",
        )
    if name == "splash":
        need(device.platform == "tpu", wants="a TPU", have=f"the run is on {device.platform}")
        need(
            mesh.size == 1,
            wants="to run on one device",
            have=f"mesh.data x mesh.fsdp x mesh.tensor is {mesh.size}",
            remedy="each of them to 1 or ",
        )
        have = f"this policy's have {config.head_dim}"
        need(config.head_dim % 64 == 0, wants="heads of a multiple of 64 numbers", have=have)


@implementation("xla")
def xla(q: jax.Array, parts: Parts) -> jax.Array:
    """Computes `attend` part by part: one that is shared is read once for all G rows.

    Args:
      q: as in `attend`.
      parts: as in `attend`.

    Returns:
      As `attend`, ``[B, G, T, K, J, Q]``.
    """
    b, g, t, k_heads, j, _ = q.shape
    # Heads before tokens: plain batched matrix products, which CPUs like as well.
    q = jnp.transpose(q, (0, 1, 3, 4, 2, 5))  # [B, G, K, J, T, Q]

    def fold(x: jax.Array, *, shared: bool) -> jax.Array:
        """Makes ``[B, g, K, rows, ...]`` of ``[B, G, K, J, T, ...]``; g is 1 for a shared part."""
        if shared:
            return jnp.moveaxis(x, 1, 2).reshape(b, 1, k_heads, g * j * t, -1)
        return x.reshape(b, g, k_heads, j * t, -1)

    def unfold(x: jax.Array, *, shared: bool) -> jax.Array:
        """Undoes `fold`."""
        if shared:
            return jnp.moveaxis(x.reshape(b, k_heads, g, j, t, -1), 2, 1)
        return x.reshape(b, g, k_heads, j, t, -1)

    # What is as large as the scores stays as it is multiplied; only a row's sums are unfolded.
    scores, tops = [], []
    for kv, mask in parts:
        shared = kv.k.shape[1] == 1 and g > 1
        s = jnp.einsum(
            "BGKTQ,BGKQC->BGKTC",
            fold(q, shared=shared),
            kv.k,
            preferred_element_type=jnp.float32,
        )
        seen = dense(mask)[:, :, None, None]  # [B, g, 1, 1, T or 1, C]
        if seen.shape[1:5] == (1, 1, 1, 1):
            seen = seen[..., 0, :]  # the same for all that is folded
        else:
            seen = fold(jnp.broadcast_to(seen, (b, g, k_heads, j, t, kv.width)), shared=shared)
        s = jnp.where(seen, s, _MASKED)
        scores.append(s)
        tops.append(unfold(jax.lax.stop_gradient(s).max(-1, keepdims=True), shared=shared))
    top = functools.reduce(jnp.maximum, tops)
    total, mixed = jnp.float32(0.0), jnp.float32(0.0)
    for s, (kv, _) in zip(scores, parts, strict=True):
        shared = kv.k.shape[1] == 1 and g > 1
        weight = jnp.exp(s - fold(top, shared=shared))
        total += unfold(weight.sum(-1, keepdims=True), shared=shared)
        out = jnp.einsum(
            "BGKTC,BGKCQ->BGKTQ",
            weight.astype(kv.v.dtype),
            kv.v,
            preferred_element_type=jnp.float32,
        )
        mixed += unfold(out, shared=shared)
    return jnp.transpose((mixed / total).astype(q.dtype), (0, 1, 4, 2, 3, 5))


@implementation("cudnn")
def cudnn(q: jax.Array, parts: Parts, *, mesh: jax.sharding.Mesh | None = None) -> jax.Array:
    """Computes `attend` by cuDNN's fused kernel (`jax.nn.dot_product_attention`).

    On several devices each runs it on its rows and heads: left to itself, the compiler may split
    queries and keys differently, which the kernel refuses.

    Args:
      q: as in `attend`; 16-bit.
      parts: as in `attend`.
      mesh: devices that rows and heads are split over; None for one device.

    Returns:
      As `attend`, ``[B, G, T, K, J, Q]``.
    """
    b, g, t, k_heads, j, width = q.shape
    queries = q.reshape(b * g, t, k_heads * j, width)
    kv = _join(parts, g)
    keys = jnp.transpose(kv.k, (0, 1, 4, 2, 3)).reshape(b * g, -1, k_heads, width)
    values = jnp.transpose(kv.v, (0, 1, 3, 2, 4)).reshape(b * g, -1, k_heads, width)
    kernel = functools.partial(_kernel, mesh=mesh)
    mask = parts[-1][1]
    if len(parts) == 1 and isinstance(mask, InOrder) and mask.right_padded:
        # Order alone hides padding from all that exists.
        return kernel(queries, keys, values, is_causal=True).reshape(q.shape)
    c = keys.shape[1]
    seen = jnp.concatenate(
        [jnp.broadcast_to(dense(mask), (b, g, t, kv.width)) for kv, mask in parts], -1
    ).reshape(b * g, 1, t, c)
    # With a mask its backward pass needs even lengths; rows of it then also start aligned.
    more_queries, more_keys = -t % 8, -c % 8
    pad = lambda x, n: jnp.pad(x, ((0, 0), (0, n), (0, 0), (0, 0)))  # noqa: E731
    seen = jnp.pad(seen, ((0, 0), (0, 0), (0, more_queries), (0, more_keys)))
    out = kernel(
        pad(queries, more_queries), pad(keys, more_keys), pad(values, more_keys), mask=seen
    )
    return out[:, :t].reshape(q.shape)


def _kernel(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    *,
    mesh: jax.sharding.Mesh | None,
    mask: jax.Array | None = None,
    is_causal: bool = False,
) -> jax.Array:
    """Runs cuDNN's kernel, on each device for its rows and heads.

    Args:
      queries: ``[B * G, T, K * J, Q]``, already scaled.
      keys: ``[B * G, C, K, Q]``.
      values: ``[B * G, C, K, Q]``.
      mesh: devices that rows and heads are split over; None for one device.
      mask: ``[B * G, 1, T, C]`` bool, true where a query sees a key; None hides nothing.
      is_causal: whether each query sees the keys up to its own place alone.

    Returns:
      ``[B * G, T, K * J, Q]``.
    """
    arrays = (queries, keys, values) if mask is None else (queries, keys, values, mask)

    def run(queries: jax.Array, keys: jax.Array, values: jax.Array, *mask: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(
            queries,
            keys,
            values,
            mask=mask[0] if mask else None,
            is_causal=is_causal,
            scale=1.0,
            implementation="cudnn",
        )

    if mesh is None or mesh.size == 1:
        return run(*arrays)
    split = rules.spec(mesh, ("rows", None, "kv_heads", None), keys.shape)
    specs = [split] * 3 + [PartitionSpec(split[0])] * (len(arrays) - 3)
    return jax.shard_map(run, mesh=mesh, in_specs=tuple(specs), out_specs=split)(*arrays)


@implementation("splash")
def splash(q: jax.Array, parts: Parts, *, interpret: bool = False) -> jax.Array:
    """Computes `attend` by JAX's fused Pallas kernel for TPUs.

    The kernel's mask has a part that is known when it is compiled (the joined past, then the
    tokens in order) and one that is not: what exists has segment 1, padding 0, and each sees its
    own.

    Args:
      q: as in `attend`.
      parts: as in `attend`; the last mask is an `InOrder`, those before have one row, T = 1.
      interpret: run the kernel's steps by XLA, on any device and very slowly.

    Returns:
      As `attend`, ``[B, G, T, K, J, Q]``.
    """
    from jax.experimental.pallas.ops.tpu import splash_attention as library

    b, g, t, k_heads, j, width = q.shape
    rows, heads = b * g, k_heads * j
    queries = jnp.transpose(q, (0, 1, 3, 4, 2, 5)).reshape(rows, heads, t, width)
    kv = _join(parts, g)
    keys = jnp.swapaxes(kv.k, -1, -2).reshape(rows, k_heads, -1, width)
    values = kv.v.reshape(keys.shape)
    *past, (_, mask) = parts
    assert isinstance(mask, InOrder)
    exists = [jnp.broadcast_to(dense(x), (b, g, 1, kv.width))[:, :, 0] for kv, x in past]
    segments = jnp.concatenate([*exists, mask.exists], -1).reshape(rows, -1).astype(jnp.int32)
    c = keys.shape[2]
    block_q, block_kv = _block(t), _block(c)
    more_queries, more_keys = -t % block_q, -c % block_kv
    pad = lambda x, n: jnp.pad(x, ((0, 0), (0, 0), (0, n), (0, 0)))  # noqa: E731
    ids = library.SegmentIds(
        jnp.pad(segments[:, c - t :], ((0, 0), (0, more_queries))),
        jnp.pad(segments, ((0, 0), (0, more_keys))),
    )
    seen = library.CausalMask((t + more_queries, c + more_keys), offset=c - t)
    kernel = library.make_splash_mha(
        library.MultiHeadMask([seen] * heads),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=library.BlockSizes(
            block_q, block_kv, None, block_q, block_kv, None, block_q, block_kv
        ),
        interpret=interpret,
    )
    out = jax.vmap(kernel)(
        pad(queries, more_queries), pad(keys, more_keys), pad(values, more_keys), ids
    )
    out = out[:, :, :t].reshape(b, g, k_heads, j, t, width)
    return jnp.transpose(out, (0, 1, 4, 2, 3, 5))


def _join(parts: Parts, g: int) -> KV:
    """Joins the parts to one KV with all their keys, copying a shared part to each of G rows."""

    def wide(x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(x, (x.shape[0], g, *x.shape[2:]))

    return KV(
        jnp.concatenate([wide(kv.k) for kv, _ in parts], -1),
        jnp.concatenate([wide(kv.v) for kv, _ in parts], -2),
    )


def _block(length: int) -> int:
    """Chooses how many tokens splash takes at a time: few large blocks, but little padding."""
    whole = -(-length // 128) * 128
    return next(size for size in (512, 256, 128) if whole % size == 0)
