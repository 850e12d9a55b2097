"""The update without any of its tricks: whole prompts, one row each, one gradient."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from skillrl.models.parameters import axes_tree
from skillrl.models.transformer import logits
from skillrl.parallel.rules import replicated, tree_shardings
from skillrl.training.batch import Sample
from skillrl.training.losses import grpo_loss, sft_loss, token_weights
from skillrl.training.optimizer import state_shardings
from skillrl.training.update import make_updater

WIDTH, RESPONSE = 24, 6


class PlainRows(NamedTuple):
    """What the losses read of rows, flat: the fields of `MicroBatch`."""

    weights: Any
    old: Any
    ref: Any
    advantages: Any


def sft(logprobs, rows):
    loss = sft_loss(logprobs, rows.weights)
    return loss, {"loss": loss}


def grpo(logprobs, rows):
    return grpo_loss(
        logprobs,
        old=rows.old,
        ref=rows.ref,
        advantages=rows.advantages,
        weights=rows.weights,
        clip_low=0.2,
        clip_high=0.28,
        kl_coeff=0.3,
    )


def either(logprobs, rows):
    """`sft` where `ref` is positive, which no log-probability is, else `grpo`: compiled once."""
    (one, sft_metrics), (other, grpo_metrics) = sft(logprobs, rows), grpo(logprobs, rows)
    return jnp.where(rows.ref.max() > 0, one, other), sft_metrics | grpo_metrics


class Kept(NamedTuple):
    """State of an optimiser that also remembers the gradient it was given."""

    inner: Any
    gradient: Any


def keep_gradient(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer`, with the last gradient in its state."""

    def init(params):
        return Kept(optimizer.init(params), jax.tree.map(jnp.zeros_like, params))

    def update(grads, state, params):
        updates, inner = optimizer.update(grads, state.inner, params)
        return updates, Kept(inner, grads)

    return optax.GradientTransformation(init, update)


def build(config, params, mesh, loss, optimizer, **options):
    """An updater for `params`, placed on `mesh` as a session would."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    shardings = tree_shardings(mesh, axes_tree(config), shapes)
    return make_updater(
        config=config,
        loss=loss,
        optimizer=optimizer,
        mesh=mesh,
        param_shapes=shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(
            optimizer, shapes, param_shardings=shardings, scalar=replicated(mesh)
        ),
        **options,
    ), jax.device_put(params, shardings)


def samples(count: int = 7, *, seed: int = 0) -> list[Sample]:
    """Rows of three prefixes, with all kinds of lengths, old log-probabilities and advantages."""
    rng = np.random.default_rng(seed)
    prefixes = [tuple(rng.integers(0, 64, n).tolist()) for n in (12, 3, 5)]
    found = []
    for i in range(count):
        suffix, response = 1 + (5 * i) % 6, 1 + (3 * i) % RESPONSE
        found.append(
            Sample(
                prefix_ids=prefixes[(0, 1, 0, 2, 1, 0, 0)[i % 7]],
                suffix_ids=tuple(rng.integers(0, 64, suffix).tolist()),
                response_ids=tuple(rng.integers(0, 64, response).tolist()),
                old_logprobs=tuple((-4.0 + rng.normal(size=response)).tolist()),
                advantage=float(rng.normal()),
                trajectory=i // 2,
            )
        )
    return found


@functools.partial(jax.jit, static_argnames="config")
def logprobs(params, tokens, lengths, starts, *, config):
    """Log-probabilities [N, A] of the tokens from `starts` on, by whole rows [N, WIDTH]."""
    full = jax.nn.log_softmax(logits(params, tokens, config=config, lengths=lengths))
    at = jnp.minimum(starts[:, None] + jnp.arange(RESPONSE), WIDTH - 1)
    targets = jnp.take_along_axis(tokens, at, 1)
    picked = jnp.take_along_axis(full, at[..., None] - 1, 1)
    return jnp.take_along_axis(picked, targets[..., None], -1)[..., 0]


class Plain(NamedTuple):
    """Loss, metrics and gradient over all samples; log-probabilities [N, A] of their responses."""

    loss: float
    metrics: dict
    grads: Any
    logprobs: np.ndarray


def plain(params, config, loss, rows, *, ref=None, aggregation="token_mean") -> Plain:
    """The definition of a minibatch's loss, by one `jax.grad`."""
    tokens = np.zeros((len(rows), WIDTH), np.int32)
    starts, lengths = np.zeros(len(rows), int), np.zeros(len(rows), int)
    old = np.zeros((len(rows), RESPONSE), np.float32)
    mask = np.zeros((len(rows), RESPONSE), bool)
    for i, s in enumerate(rows):
        prompt = [*s.prefix_ids, *s.suffix_ids]
        row = [*prompt, *s.response_ids]
        tokens[i, : len(row)], starts[i], lengths[i] = row, len(prompt), len(row)
        mask[i, : len(s.response_ids)] = True
        old[i, : len(s.old_logprobs)] = s.old_logprobs
    weights = token_weights(mask, [s.trajectory for s in rows], kind=aggregation)
    fields = PlainRows(
        weights,
        old,
        np.zeros_like(old) if ref is None else ref,
        np.array([s.advantage for s in rows], np.float32),
    )

    places = (tokens, lengths, starts)
    (value, (metrics, found)), grads = _gradient(params, places, fields, config=config, loss=loss)
    return Plain(float(value), jax.device_get(metrics), grads, np.where(mask, found, 0.0))


@functools.partial(jax.jit, static_argnames=("config", "loss"))
def _gradient(params, places, fields, *, config, loss):
    def whole(params):
        found = logprobs(params, *places, config=config)
        value, metrics = loss(found, fields)
        return value, (metrics, found)

    return jax.value_and_grad(whole, has_aux=True)(params)


def distance(tree, other) -> float:
    """Relative distance of two trees, in the norm over all leaves."""
    tree, other = (jax.tree.map(np.asarray, t) for t in (tree, other))
    gap = optax.tree.norm(jax.tree.map(lambda a, b: a - b, tree, other))
    return float(gap / optax.tree.norm(other))
