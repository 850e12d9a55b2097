"""What this project's side of several benchmarks is made of: a policy, samples, a step, an engine.

A workload is random tokens: ``prefix [B, P]`` of B groups, and, for each step and each of the G
members of a group, ``suffix [steps, B, G, S]`` and ``response [steps, B, G, A]``. Shared, a
group's prefix is computed once; unshared, all but the first token of a prompt belongs to its row
(the engine and the updater want a prefix of at least one token).
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax
import jax.numpy as jnp
from flops import Sizes

from skillrl.inference.base import Generate, Sampling, generate
from skillrl.inference.layout import Layout
from skillrl.inference.local import LocalEngine
from skillrl.models.config import TransformerConfig
from skillrl.models.fused import should_fuse
from skillrl.models.parameters import axes_tree, specs, unflatten
from skillrl.models.transformer import Params
from skillrl.parallel import rules
from skillrl.parallel.mesh import make_mesh
from skillrl.parallel.random_keys import ADDRESS_WIDTH
from skillrl.training.batch import MicroBatch, Minibatch, Sample, make_minibatch
from skillrl.training.losses import grpo_loss
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.packing import Shapes
from skillrl.training.partition import Partition
from skillrl.training.update import Updater, make_updater, with_reference


@dataclasses.dataclass(frozen=True)
class Work:
    """Tokens of a workload; see the module."""

    prefix: np.ndarray
    suffix: np.ndarray
    response: np.ndarray

    @property
    def rows(self) -> int:
        """How many prompts are answered, and samples trained on."""
        steps, groups, members, _ = self.suffix.shape
        return steps * groups * members

    def widths(self, *, shared: bool) -> tuple[int, int, int]:
        """Tokens of a prompt's prefix, of its suffix and of a response."""
        prefix, suffix = self.prefix.shape[1], self.suffix.shape[-1]
        cut = prefix if shared else 1
        return cut, prefix - cut + suffix, self.response.shape[-1]


def random_work(
    sizes: Sizes, *, steps: int, groups: int, members: int, prefix: int, suffix: int, new: int
) -> Work:
    """Uniform tokens; with a prefix of 0 tokens, one is cut from the suffix instead."""
    rng = np.random.default_rng(0)
    shape = (steps, groups, members)
    at_least = max(prefix, 1)
    return Work(
        rng.integers(3, sizes.vocab, (groups, at_least)),
        rng.integers(3, sizes.vocab, (*shape, suffix - (at_least - prefix))),
        rng.integers(3, sizes.vocab, (*shape, new)),
    )


def model_config(sizes: Sizes, **options: Any) -> TransformerConfig:
    """A Qwen2 of these sizes."""
    return TransformerConfig(
        vocab_size=sizes.vocab,
        hidden_size=sizes.width,
        intermediate_size=sizes.ffn,
        num_layers=sizes.layers,
        num_heads=sizes.heads,
        num_kv_heads=sizes.kv_heads,
        head_dim=sizes.head,
        tie_embeddings=sizes.tied,
        **options,
    )


def random_policy(config: TransformerConfig, seed: int = 0) -> Params:
    """Random weights, made where they will lie, leaf by leaf in the model's dtype.

    So 7B parameters take 15 GB and nothing beside; `transformer.init` would make them in float32.
    """
    dtype = jnp.dtype(config.dtype)
    key = jax.random.key(seed, impl="unsafe_rbg")
    flat = {}
    for number, (path, spec) in enumerate(specs(config).items()):
        if path[-1] == "scale":
            flat[path] = jnp.ones(spec.shape, dtype)
        elif path[-1] == "bias":
            flat[path] = jnp.zeros(spec.shape, dtype)
        else:
            flat[path] = _normal(jax.random.fold_in(key, number), spec.shape, dtype)
    return unflatten(flat)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    return 0.02 * jax.random.normal(key, shape, dtype)


def make_step(
    config: TransformerConfig,
    params: Params,
    partition: Partition | None = None,
    *,
    mesh: jax.sharding.Mesh | None = None,
    **options: Any,
) -> Updater:
    """A GRPO step with the settings of every side, over all parameters or those of `partition`."""
    mesh = make_mesh() if mesh is None else mesh
    optimizer = make_optimizer(1e-6, total_steps=1000, weight_decay=0.0, max_grad_norm=1e9)
    if partition is None:
        shapes, axes = jax.eval_shape(lambda: params), axes_tree(config)
    else:
        shapes, axes = partition.shapes, partition.axes
        options["join"] = partition.join
    shardings = rules.tree_shardings(mesh, axes, shapes)
    return make_updater(
        config=config,
        loss=grpo,
        optimizer=optimizer,
        mesh=mesh,
        param_shapes=shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(
            optimizer, shapes, param_shardings=shardings, scalar=rules.replicated(mesh)
        ),
        **options,
    )


def grpo(logprobs: jax.Array, batch: MicroBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of every side."""
    found, metrics = grpo_loss(
        logprobs,
        old=batch.old,
        ref=batch.ref,
        advantages=batch.advantages,
        weights=batch.weights,
        clip_low=0.2,
        clip_high=0.2,
        kl_coeff=0.01,
    )
    return found, {"loss": found, **metrics}


def make_batch(
    work: Work,
    *,
    shared: bool,
    micro: int,
    prefix_rows: int = 1,
    prefix_bucket: int = 0,
    old: np.ndarray | None = None,
    ref: np.ndarray | None = None,
    advantages: np.ndarray | None = None,
) -> Minibatch:
    """All samples of a workload, micro-batches of `micro` samples of one group (shared) or of any.

    Args:
      work: tokens.
      shared: whether a group's prefix is computed once.
      micro: samples of a micro-batch.
      prefix_rows: of a micro-batch, if shared: as many as devices that rows are split over.
      prefix_bucket: padded length of a prefix; 0 is none.
      old: ``[samples, A]`` log-probabilities of the behaviour policy, in the order of steps,
        groups and members; random ones by default, as `ref` and ``advantages [samples]``.
      ref: of the reference policy.
      advantages: one per sample.
    """
    rng = np.random.default_rng(1)
    shape = (work.rows, work.response.shape[-1])
    old = rng.normal(-6, 0.1, shape) if old is None else old
    ref = rng.normal(-6, 0.1, shape) if ref is None else ref
    advantages = rng.normal(size=work.rows) if advantages is None else advantages
    steps, groups, members, _ = work.suffix.shape
    cut = work.widths(shared=shared)[0]
    samples, order = [], []
    # As in training: by task, member and step.
    for group in range(groups):
        for member in range(members):
            for step in range(steps):
                number = (step * groups + group) * members + member
                prompt = (*work.prefix[group].tolist(), *work.suffix[step, group, member].tolist())
                samples.append(
                    Sample(
                        prefix_ids=prompt[:cut],
                        suffix_ids=prompt[cut:],
                        response_ids=tuple(work.response[step, group, member].tolist()),
                        old_logprobs=tuple(old[number].tolist()),
                        advantage=float(advantages[number]),
                        trajectory=number,
                    )
                )
                order.append(number)
    prefix, suffix, new = work.widths(shared=shared)
    columns = micro // prefix_rows if shared else 1
    shapes = Shapes(
        tokens=micro * (suffix + new),
        samples_per_row=columns,
        prefix_buckets=(prefix_bucket or prefix,),
        row_buckets=(suffix + new,),
        response_buckets=(new,),
        devices=prefix_rows,
    )
    batch = make_minibatch(samples, shapes)
    found = np.asarray(ref)[order].reshape(-1, micro // columns, columns, new)
    return with_reference(batch, list(found))


def make_engine(
    config: TransformerConfig,
    work: Work,
    *,
    shared: bool,
    rows: int | None = None,
    prefill: int = 8,
    prefix_bucket: int = 0,
) -> LocalEngine:
    """An engine with slots for all prompts of a step of the workload, or for `rows` rows of them.

    Args:
      config: sizes.
      work: tokens.
      shared: whether a group's prefix is computed once.
      rows: prefix rows of the decode state.
      prefill: suffixes of one prefill call.
      prefix_bucket: padded length of a prefix; 0 is none.
    """
    _, groups, members, _ = work.suffix.shape
    prefix, suffix, _ = work.widths(shared=shared)
    columns = members if shared else 1
    rows = rows or groups * members // columns
    mesh = make_mesh()
    layout = Layout(
        prefix_rows=rows,
        group_members=columns,
        prefix_buckets=(prefix_bucket or prefix,),
        suffix_buckets=(suffix,),
        cache_buckets=(suffix,),
        prefix_cache=max(rows * columns, groups),
        prefill_tokens=prefill * suffix,
        fuse_projections=should_fuse(mesh),
    )
    return LocalEngine(config, layout, seed=0, stops=(), mesh=mesh)


def answer(engine: LocalEngine, work: Work, *, shared: bool) -> np.ndarray:
    """Greedy answers ``[steps, B, G, A]``, step after step, as many tokens as are asked for."""
    steps, groups, members, _ = work.suffix.shape
    cut = work.widths(shared=shared)[0]
    out = np.zeros(work.response.shape, np.int32)
    for step in range(steps):
        requests = []
        for group in range(groups):
            prefix = tuple(work.prefix[group].tolist())
            for member in range(members):
                prompt = prefix + tuple(work.suffix[step, group, member].tolist())
                requests.append(Generate(prompt[:cut], prompt[cut:], (0,) * ADDRESS_WIDTH))
        sampling = Sampling(temperature=0.0, max_tokens=out.shape[-1])
        found = generate(engine, requests, sampling)
        out[step] = np.array([f.ids for f in found]).reshape(groups, members, -1)
    return out
