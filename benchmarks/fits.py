"""Device memory that the parts of `accelerator.py` need, from shapes alone.

What is kept for a backward pass is read off the traced gradient (`jax.eval_shape` of its
residuals); what lives within one layer is written out below. An upper estimate: all of a part at
once, where a compiler would share.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import own

from skillrl.io.console import table
from skillrl.models.kv_cache import kv_zeros
from skillrl.models.parameters import specs, unflatten
from skillrl.training.batch import MicroBatch
from skillrl.training.update import prefix_kv, response_logprobs

if TYPE_CHECKING:
    from accelerator import Subject

GIB = 2**30


def show(subjects: list[Subject], *, micro: int, remat: str) -> None:
    """Prints GiB by shape and part."""
    print(f"GiB, micro-batches of {micro}, remat={remat}")
    for it in subjects:
        for part, needs in (("decode", decode(it)), ("step", step(it, micro, remat))):
            print(f"\n{it.name} {part}: {sum(needs.values()) / GIB:.1f}")
            print(table([[f"{n / GIB:.1f}", name] for name, n in needs.items()], ["GiB", "what"]))


def decode(it: Subject) -> dict[str, float]:
    """Bytes while all slots decode."""
    sizes, width = it.sizes, jnp.dtype(it.config.dtype).itemsize
    groups, members = it.prompts["groups"], it.prompts["members"]
    prefix, suffix, slots = it.prompts["prefix"], it.prompts["suffix"], groups * members
    scores = slots * sizes.heads * suffix * (prefix + suffix) * 4
    return {
        "weights": size(weights(it)),
        "layers, laid out for sampling": size(weights(it)["layers"]),
        "prefixes, and as the decode state reads them": 2 * groups * prefix * sizes.kv_bytes(width),
        "suffixes and responses": 2 * slots * (suffix + it.long) * sizes.kv_bytes(width),
        "a layer of all suffixes": slots * suffix * 3 * sizes.ffn * width + 3 * scores,
        "scores over the vocabulary": 4 * slots * sizes.vocab * 4,
    }


def step(it: Subject, micro: int, remat: str) -> dict[str, float]:
    """Bytes while a micro-batch's gradient is computed, or all prefixes', whichever is more."""
    sizes, config, partition = it.sizes, it.config, it.partition
    frozen = weights(it)
    trained = partition.shapes if partition else frozen
    join = partition.join if partition else lambda trained, frozen: trained
    groups, prefix = it.samples["groups"], it.samples["prefix"]
    suffix, new = it.samples["suffix"], it.samples["new"]
    count = groups
    kv = jax.eval_shape(lambda: kv_zeros(config, (count, 1), prefix))
    lengths = jax.ShapeDtypeStruct((count,), jnp.int32)
    batch = own.make_batch(
        own.random_work(sizes, **{**it.samples, "steps": 1, "members": micro}),
        shared=True,
        micro=micro,
    )
    rows: MicroBatch = jax.eval_shape(lambda: batch.micro_batches[0])
    line = jax.eval_shape(lambda: kv_zeros(config, (len(batch.micro_batches[0].prefix), 1), prefix))

    def row_gradient(trained: Any, kv: Any) -> Any:
        options = {"config": config, "remat": remat, "logprob_chunk": 1024}
        score = lambda trained, kv: response_logprobs(  # noqa: E731
            join(trained, frozen_), kv, rows_, **options
        )
        return jax.vjp(score, trained, kv)[1]

    def prefix_gradient(trained: Any) -> Any:
        tokens = jnp.zeros((count, prefix), jnp.int32)
        run = lambda trained: prefix_kv(  # noqa: E731
            join(trained, frozen_), tokens, lengths_, config=config, remat=remat
        )
        return jax.vjp(run, trained)[1]

    def residuals(gradient: Any, *operands: Any) -> float:
        def trace(operands: Any, frozen: Any, lengths: Any, rows: Any) -> Any:
            nonlocal frozen_, lengths_, rows_
            frozen_, lengths_, rows_ = frozen, lengths, rows
            return gradient(*operands)

        saved = jax.eval_shape(trace, operands, frozen, lengths, rows)
        known = collections.Counter(_key(x) for x in jax.tree.leaves((frozen, operands)))
        return sum(_bytes(x) for x in jax.tree.leaves(saved) if _key(x) not in known)

    frozen_ = lengths_ = rows_ = None
    of_rows, of_prefixes = (
        residuals(row_gradient, trained, line),
        residuals(prefix_gradient, trained),
    )
    tokens = max(micro * (suffix + new), count * prefix)
    keys = max(micro * (suffix + new) * (prefix + suffix + new), count * prefix * prefix)
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(trained))
    found = {
        "weights": size(frozen) if partition else 0,
        "layers, laid out for sampling": size(frozen["layers"]),
        "trained, twice": 2 * size(trained),
        "moments": 8 * numbers,
        "gradients, twice, and float32 copies": 2 * size(trained) + 8 * numbers,
        "keys and values, their gradients": 3 * size(kv),
        "kept for the backward pass": max(of_rows, of_prefixes),
        "a layer once more": tokens * 6 * sizes.ffn * jnp.dtype(config.dtype).itemsize,
        "its attention": 5 * sizes.heads * keys * 4,
        "scores over the vocabulary": 3 * 1024 * sizes.vocab * 4,
    }
    return found


def weights(it: Subject) -> Any:
    """Shapes of the policy."""
    dtype = jnp.dtype(it.config.dtype)
    table = specs(it.config)
    return unflatten({p: jax.ShapeDtypeStruct(s.shape, dtype) for p, s in table.items()})


def size(tree: Any) -> float:
    return sum(_bytes(x) for x in jax.tree.leaves(tree))


def _bytes(x: Any) -> float:
    return math.prod(x.shape) * np.dtype(x.dtype).itemsize


def _key(x: Any) -> tuple:
    return (*x.shape, str(x.dtype))
