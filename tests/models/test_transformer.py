"""One definition, several ways through it: whole rows, segments, kept tokens, a cache."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.models import transformer
from skillrl.models.kv_cache import Append, Segment, kv_zeros
from skillrl.models.layers import rotary
from skillrl.models.logprobs import token_logprobs, token_logprobs_and_entropies, unembed
from skillrl.models.masks import causal_mask
from skillrl.models.transformer import forward, init, logits, unstack
from tests.conftest import spread_params

P, S, G = 7, 6, 3  # padded prefix, padded suffix, rows per prefix
PREFIXES = np.array([7, 4])
SUFFIXES = np.array([[6, 1, 3], [2, 5, 6]])


@pytest.fixture(scope="module", params=["qwen2", "qwen3"])
def model(request, tiny_config, tiny_params):
    if request.param == "qwen2":
        return tiny_config, tiny_params
    # Untied head and a head width that is not hidden / heads, as Qwen3 may have.
    config = dataclasses.replace(tiny_config, model_type="qwen3", tie_embeddings=False, head_dim=6)
    return config, spread_params(config, seed=3)


@pytest.fixture(scope="module")
def rows(model):
    """Right-padded prefixes [2, P] and suffixes [2, G, S], and their logits by whole rows."""
    config, params = model
    rng = np.random.default_rng(0)
    prefix = rng.integers(0, config.vocab_size, (2, P))
    suffix = rng.integers(0, config.vocab_size, (2, G, S))
    whole = np.zeros((2, G, P + S), int)
    for b in range(2):
        for g in range(G):
            n = PREFIXES[b]
            whole[b, g, :n] = prefix[b, :n]
            whole[b, g, n : n + S] = suffix[b, g]
    lengths = PREFIXES[:, None] + SUFFIXES
    plain = jax.jit(functools.partial(logits, config=config))
    found = plain(params, jnp.asarray(whole.reshape(2 * G, -1)), lengths=lengths.reshape(-1))
    found = np.asarray(found).reshape(2, G, P + S, -1)
    expected = np.stack(
        [[found[b, g, PREFIXES[b] : PREFIXES[b] + S] for g in range(G)] for b in range(2)]
    )
    return prefix, suffix, expected


@functools.partial(jax.jit, static_argnames="config")
def run_prefix(params, tokens, *, config):
    positions = jnp.broadcast_to(jnp.arange(P), (2, 1, P))
    mask = causal_mask(PREFIXES[:, None], P)
    _, kv = forward(params, tokens[:, None], positions, config=config, mask=mask)
    return Segment(kv, (jnp.arange(P) < PREFIXES[:, None])[:, None])


@functools.partial(jax.jit, static_argnames="config")
def run_suffix(params, prefix, tokens, lengths, keep=None, *, config):
    positions = PREFIXES[:, None, None] + jnp.arange(tokens.shape[-1])
    mask = causal_mask(lengths, tokens.shape[-1])
    hidden, kv = forward(
        params, tokens, positions, config=config, mask=mask, segments=(prefix,), keep=keep
    )
    return unembed(params, hidden), kv


def test_a_shared_prefix_and_suffixes_equal_whole_rows(model, rows):
    config, params = model
    prefix, suffix, expected = rows
    segment = run_prefix(params, prefix, config=config)
    assert segment.kv.k.shape == (2, 2, 1, 1, config.head_dim, P)
    found, kv = run_suffix(params, segment, suffix, SUFFIXES, config=config)
    assert kv.v.shape == (2, 2, G, 1, S, config.head_dim)
    real = np.arange(S) < SUFFIXES[..., None]
    assert np.abs(expected[real]).max() > 1  # the comparison is of something
    np.testing.assert_allclose(found[real], expected[real], atol=1e-5)


def test_padding_of_the_prefix_is_never_read(model, rows):
    config, params = model
    prefix, suffix, _ = rows
    other = np.where(np.arange(P) < PREFIXES[:, None], prefix, 1)
    found = [
        run_suffix(params, run_prefix(params, p, config=config), suffix, SUFFIXES, config=config)[0]
        for p in (prefix, other)
    ]
    real = np.arange(S) < SUFFIXES[..., None]
    np.testing.assert_array_equal(found[0][real], found[1][real])


def test_keep_gives_the_hidden_states_of_these_tokens_and_all_keys(model, rows):
    config, params = model
    prefix, suffix, _ = rows
    segment = run_prefix(params, prefix, config=config)
    every, kv = run_suffix(params, segment, suffix, SUFFIXES, config=config)
    keep = np.stack([SUFFIXES - 1, np.zeros_like(SUFFIXES)], -1)
    some, kv_kept = run_suffix(params, segment, suffix, SUFFIXES, keep, config=config)
    np.testing.assert_allclose(some, np.take_along_axis(every, keep[..., None], 2), atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), kv_kept, kv)


def test_decoding_into_a_cache_equals_whole_rows(model, rows):
    config, params = model
    prefix, suffix, expected = rows
    segment = run_prefix(params, prefix, config=config)
    cache = kv_zeros(config, (2, G), S)

    @jax.jit
    def step(cache, token, t):
        positions = jnp.broadcast_to(PREFIXES[:, None, None] + t, (2, G, 1))
        mask = jnp.broadcast_to(jnp.arange(S) <= t, (2, G, 1, S))
        hidden, cache = forward(
            params,
            token,
            positions,
            config=config,
            mask=mask,
            segments=(segment,),
            append=Append(cache, jnp.full((2, G), t)),
        )
        return unembed(params, hidden)[:, :, 0], cache

    found = []
    for t in range(S):
        now, cache = step(cache, suffix[:, :, t : t + 1], t)
        found.append(now)
    real = np.arange(S) < SUFFIXES[..., None]
    np.testing.assert_allclose(np.stack(found, 2)[real], expected[real], atol=1e-5)


def test_rotary_by_hand_and_by_distance():
    x = np.array([1.0, 2.0, 3.0, 4.0], np.float32).reshape(1, 1, 1, 1, 4)
    turned = rotary(x, np.full((1, 1, 1), 2), 100.0).reshape(4)
    a, b = 2.0, 0.2  # angles: position / theta^(i / half)
    np.testing.assert_allclose(
        turned,
        [
            np.cos(a) - 3 * np.sin(a),
            2 * np.cos(b) - 4 * np.sin(b),
            3 * np.cos(a) + np.sin(a),
            4 * np.cos(b) + 2 * np.sin(b),
        ],
        rtol=1e-5,
    )
    product = [
        jnp.sum(rotary(x, np.full((1, 1, 1), p), 100.0) * rotary(x, np.full((1, 1, 1), q), 100.0))
        for p, q in ((5, 3), (12, 10))
    ]
    np.testing.assert_allclose(*product, rtol=1e-5)  # only the distance counts


@functools.partial(jax.jit, static_argnames=("config", "remat"))
def gradient(params, tokens, lengths, *, config, remat):
    def loss(params):
        positions = jnp.broadcast_to(jnp.arange(S), tokens.shape)
        mask = causal_mask(lengths, S)
        hidden, kv = forward(params, tokens, positions, config=config, mask=mask, remat=remat)
        real = (jnp.arange(S) < lengths[..., None])[..., None]
        return jnp.sum(jnp.where(real, unembed(params, hidden), 0.0) ** 2) + jnp.sum(
            kv.v[0, 0] ** 2
        )

    return jax.grad(loss)(params)


def test_remat_changes_no_gradient(tiny_config, tiny_params):
    tokens = np.random.default_rng(2).integers(0, 64, (2, G, S))
    plain = gradient(tiny_params, tokens, SUFFIXES, config=tiny_config, remat="none")
    assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(plain))
    for remat in ("full", "dots"):
        other = gradient(tiny_params, tokens, SUFFIXES, config=tiny_config, remat=remat)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), other, plain
        )


@pytest.mark.parametrize("scan_layers", [True, False])
def test_deep_models_compute_the_same_whether_or_not_they_loop(
    tiny_config, scan_layers, monkeypatch
):
    monkeypatch.setattr(transformer, "UNROLL", 2)  # so that three layers are deep
    config = dataclasses.replace(tiny_config, num_layers=3, scan_layers=scan_layers)
    params = spread_params(config, seed=4)
    tokens = np.random.default_rng(2).integers(0, 64, (2, G, S))
    positions = jnp.broadcast_to(jnp.arange(S), tokens.shape)
    mask, keep = causal_mask(SUFFIXES, S), SUFFIXES[..., None] - 1
    run = jax.jit(functools.partial(forward, config=config, mask=mask))
    # The reference is a list of layers, one at a time.
    listed = {**params, "layers": unstack(params["layers"], 3)}
    expected, layers = run(listed, tokens, positions)
    found, kv = run(params, tokens, positions)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(kv.k, jnp.stack([layer.k for layer in layers]), atol=1e-5)
    some, _ = run(params, tokens, positions, keep=keep)
    picked = np.take_along_axis(np.asarray(expected), keep[..., None], 2)
    np.testing.assert_allclose(some, picked, atol=1e-5, rtol=1e-5)
    looped = dataclasses.replace(config, scan_layers=True)
    plain = gradient(params, tokens, SUFFIXES, config=looped, remat="none")
    other = gradient(params, tokens, SUFFIXES, config=config, remat="dots")
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3 * float(jnp.abs(a).max()))


@pytest.mark.parametrize(("remat", "kept"), [("none", None), ("dots", 2), ("full", 0)])
def test_what_a_layer_keeps_for_its_backward_pass(tiny_config, remat, kept):
    """Of what is as wide as the feed-forward, `dots` keeps gate and up, `full` nothing."""
    config = dataclasses.replace(tiny_config, num_layers=6)
    params = spread_params(config, seed=4)
    tokens = np.random.default_rng(2).integers(0, 64, (2, G, S))
    positions = jnp.broadcast_to(jnp.arange(S), tokens.shape)
    mask = causal_mask(SUFFIXES, S)

    def run(params):
        return forward(params, tokens, positions, config=config, mask=mask, remat=remat)[0]

    residuals = jax.tree.leaves(jax.eval_shape(lambda params: jax.vjp(run, params)[1], params))
    wide = [x.shape for x in residuals if x.shape == (6, *tokens.shape, config.intermediate_size)]
    assert len(wide) > 2 if kept is None else len(wide) == kept


def test_gradients_are_finite_with_fully_padded_rows(tiny_config, tiny_params):
    tokens = np.zeros((2, G, S), int)
    for lengths in (np.zeros((2, G), int), SUFFIXES * (np.arange(G) > 0)):
        found = gradient(tiny_params, tokens, lengths, config=tiny_config, remat="none")
        assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(found))


def test_a_single_layer_works(tiny_config):
    config = dataclasses.replace(tiny_config, num_layers=1)
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), config))
    out = jax.eval_shape(
        functools.partial(logits, config=config), shapes, jax.ShapeDtypeStruct((2, 5), jnp.int32)
    )
    assert (out.shape, out.dtype) == ((2, 5, 64), jnp.float32)


def test_causal_mask_by_hand():
    found = causal_mask(jnp.array([[2, 0]]), 3).seen[0].astype(int).tolist()
    assert found == [
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]],  # padding sees itself
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ]


@pytest.mark.parametrize("chunk", [1, 12, 18, 30, 1000])
def test_log_probabilities_in_chunks_are_those_of_all_at_once(tiny_config, tiny_params, chunk):
    """Six rows of five tokens: chunks of 1, 2 and 3 tokens a row, one not dividing five; all."""
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(2, 3, 5, tiny_config.hidden_size)), jnp.float32)
    targets = rng.integers(0, tiny_config.vocab_size, (2, 3, 5))
    weights = rng.normal(size=(2, 3, 5))

    def plain(params, hidden):
        scores = jax.nn.log_softmax(unembed(params, hidden))
        chosen = jnp.take_along_axis(scores, targets[..., None], -1)[..., 0]
        return (chosen * weights).sum(), chosen

    def chunked(params, hidden):
        chosen, entropies = token_logprobs_and_entropies(params, hidden, targets, chunk=chunk)
        return (chosen * weights).sum(), (chosen, entropies)

    want, expected = jax.jit(jax.grad(plain, argnums=(0, 1), has_aux=True))(tiny_params, hidden)
    got, (found, entropies) = jax.jit(jax.grad(chunked, argnums=(0, 1), has_aux=True))(
        tiny_params, hidden
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    shares = jax.nn.softmax(unembed(tiny_params, hidden))
    np.testing.assert_allclose(entropies, -(shares * jnp.log(shares)).sum(-1), atol=1e-5)
    alone = jax.jit(token_logprobs, static_argnames="chunk")
    np.testing.assert_array_equal(alone(tiny_params, hidden, targets, chunk=chunk), found)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_chunks_bound_the_scores_in_memory(tiny_config, tiny_params):
    """No array of the compiled backward pass is as large as the scores of all tokens."""
    hidden = jnp.ones((1, 2, 64, tiny_config.hidden_size))
    targets = jnp.zeros((1, 2, 64), jnp.int32)

    def largest(chunk):
        def total(hidden):
            return token_logprobs(tiny_params, hidden, targets, chunk=chunk).sum()

        text = jax.jit(jax.grad(total)).lower(hidden).compile().as_text()
        shapes = re.findall(r"f32\[([0-9,]+)\]", text)
        sizes = [np.prod([int(n) for n in s.split(",")]) for s in shapes if s.endswith(tail)]
        return max(sizes)

    tail = f",{tiny_config.vocab_size}"
    assert largest(0) >= 128 * tiny_config.vocab_size
    assert largest(16) <= 16 * tiny_config.vocab_size
