"""Requests to the tiny policy, a way to serve them all, and the slowest correct sampler."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillrl.inference.base import Generate, Generated, Sampling, generate
from skillrl.models.transformer import logits
from skillrl.parallel import random_keys

SEED = 11
STOPS = (1, 2, 3, 4, 5, 6, 7)
PREFIX_BUCKETS, SUFFIX_BUCKETS = (12,), (6, 9)
LIMIT = 6
_WIDTH = 12 + 9 + LIMIT


def request(prefix: int, suffix: int, member: int, *, prefix_length: int = 12) -> Generate:
    """A request whose ids depend on the numbers alone; `suffix` is also its length."""
    rng = np.random.default_rng([prefix, prefix_length])
    prefix_ids = tuple(rng.integers(8, 64, prefix_length).tolist())
    rng = np.random.default_rng([prefix, suffix, member])
    suffix_ids = tuple(rng.integers(8, 64, suffix).tolist())
    return Generate(prefix_ids, suffix_ids, (random_keys.RL, 0, prefix, member, 0, suffix))


REQUESTS = (
    *(request(0, suffix, member) for suffix, member in ((6, 0), (4, 1), (1, 2), (5, 3), (3, 4))),
    *(request(1, suffix, member, prefix_length=5) for suffix, member in ((6, 0), (2, 1))),
    request(2, 4, 0, prefix_length=1),
    request(0, 9, 5),
    request(3, 8, 0, prefix_length=9),
    request(3, 5, 1, prefix_length=9),
)


def serve(engine, requests: Sequence[Generate], sampling: Sampling) -> list[Generated]:
    """Answers of all requests, in order."""
    return generate(engine, requests, sampling)


class Reference(NamedTuple):
    """A response, and the full log-softmax [V] that each of its tokens was drawn from."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    full: np.ndarray
    allowed: list[np.ndarray]


@functools.partial(jax.jit, static_argnames="config")
def _next(params, tokens, length, *, config):
    return logits(params, tokens[None], config=config, lengths=length[None])[0, length - 1]


def reference(params, config, asked: Generate, sampling: Sampling) -> Reference:
    """Computes the whole row again for every token; top-k and top-p as their definitions say."""
    key = random_keys.fold_keys(jax.random.key(SEED), np.array([asked.rng_address]))[0]
    prompt = [*asked.prefix_ids, *asked.suffix_ids]
    ids, logprobs, rows, allowed, finished = [], [], [], [], False
    while len(ids) < sampling.max_tokens and not finished:
        tokens = np.zeros(_WIDTH, np.int32)
        row = prompt + ids
        tokens[: len(row)] = row
        now = np.asarray(_next(params, tokens, np.int32(len(row)), config=config))
        scaled = now / max(sampling.temperature, 1e-6)
        order = np.argsort(-scaled, kind="stable")
        if sampling.top_k:
            order = order[: sampling.top_k]
        if sampling.top_p < 1:
            p = np.exp(scaled[order] - scaled[order].max())
            mass = np.cumsum(p / p.sum())
            order = order[: 1 + int(np.searchsorted(mass, sampling.top_p))]
        noise = np.asarray(jax.random.gumbel(jax.random.fold_in(key, len(ids)), now.shape))
        noisy = scaled + noise if sampling.temperature > 0 else now
        token = int(order[np.argmax(noisy[order])])
        full = np.asarray(jax.nn.log_softmax(jnp.asarray(now)))
        ids.append(token)
        logprobs.append(float(full[token]))
        rows.append(full)
        allowed.append(order)
        finished = token in STOPS
    return Reference(tuple(ids), tuple(logprobs), finished, np.stack(rows), allowed)
