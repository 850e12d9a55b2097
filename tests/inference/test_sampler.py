"""The sampler against one that computes every row anew, and `choose` by hand and by count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.inference.base import Sampling
from skillrl.inference.layout import Layout
from skillrl.inference.local import LocalEngine
from skillrl.inference.sampler import choose
from tests.inference.engines import (
    LIMIT,
    PREFIX_BUCKETS,
    REQUESTS,
    SEED,
    STOPS,
    SUFFIX_BUCKETS,
    reference,
    serve,
)

PLAIN = Sampling(max_tokens=LIMIT)


@pytest.fixture(scope="module")
def engine(tiny_config, tiny_params, one_device):
    layout = Layout(
        prefix_rows=3,
        group_members=1,
        prefix_buckets=PREFIX_BUCKETS,
        suffix_buckets=SUFFIX_BUCKETS,
        cache_buckets=SUFFIX_BUCKETS[-1:],
        prefix_cache=4,
        prefill_tokens=18,
    )
    made = LocalEngine(tiny_config, layout, seed=SEED, stops=STOPS, mesh=one_device)
    made.publish(tiny_params, 0)
    return made


@pytest.mark.parametrize(
    "sampling",
    [
        PLAIN,
        Sampling(temperature=0.0, max_tokens=LIMIT),
        Sampling(temperature=0.6, max_tokens=LIMIT),
        Sampling(temperature=1.7, max_tokens=LIMIT),
        Sampling(temperature=1.3, top_k=5, top_p=0.7, max_tokens=LIMIT),
    ],
    ids=str,
)
def test_tokens_and_logprobs_equal_the_plain_computation(
    engine, tiny_config, tiny_params, sampling
):
    # One bucket is enough where the sampling needs a compilation of its own.
    whole = sampling.top_k == 0 and sampling.top_p == 1
    requests = REQUESTS if whole else REQUESTS[:5]
    for asked, found in zip(requests, serve(engine, requests, sampling), strict=True):
        expected = reference(tiny_params, tiny_config, asked, sampling)
        assert found.ids == expected.ids
        assert found.finished is expected.finished
        # Always those of the full softmax at temperature 1.
        np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-5)
        for token, allowed in zip(found.ids, expected.allowed, strict=True):
            assert token in allowed


def test_stop_tokens_end_a_response_and_are_part_of_it(engine):
    answers = serve(engine, REQUESTS, PLAIN)
    assert {a.finished for a in answers} == {True, False}  # both are met
    for answer in answers:
        assert len(answer.ids) == len(answer.logprobs)
        assert not set(answer.ids[:-1]) & set(STOPS)
        assert answer.finished is (answer.ids[-1] in STOPS)
        if not answer.finished:
            assert len(answer.ids) == LIMIT


def test_greedy_ignores_the_address(engine):
    greedy = Sampling(temperature=0.0, max_tokens=LIMIT)
    (one,) = serve(engine, REQUESTS[:1], greedy)
    elsewhere = REQUESTS[0].__class__(REQUESTS[0].prefix_ids, REQUESTS[0].suffix_ids, (9,) * 6)
    assert serve(engine, [elsewhere], greedy) == [one]


# --- choose -----------------------------------------------------------------------------

MASS = np.array([0.15, 0.5, 0.05, 0.3], np.float32)


@functools.partial(jax.jit, static_argnames=("top_k", "nucleus"))
def draws(temperature, top_p=1.0, *, top_k=0, nucleus=False):
    """4096 tokens from MASS."""
    keys = jax.random.split(jax.random.key(0), (1, 4096))
    logits = jnp.broadcast_to(jnp.log(MASS), (1, 4096, 4))
    options = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "nucleus": nucleus}
    return choose(logits, keys, index=jnp.int32(3), **options)[0]


def share(tokens):
    return np.bincount(tokens, minlength=4) / len(tokens)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_softmax(temperature):
    expected = MASS ** (1 / temperature) / np.sum(MASS ** (1 / temperature))
    np.testing.assert_allclose(share(draws(temperature)), expected, atol=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.001, [1]), (0.45, [1]), (0.55, [1, 3]), (0.79, [1, 3]), (0.9, [0, 1, 3])],
)
def test_top_p_keeps_the_smallest_set_with_that_mass(top_p, kept):
    found = share(draws(1.0, top_p, nucleus=True))
    assert np.flatnonzero(found).tolist() == kept
    expected = np.where(np.isin(np.arange(4), kept), MASS, 0)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)


@pytest.mark.parametrize(("top_k", "kept"), [(1, [1]), (2, [1, 3]), (9, [0, 1, 2, 3])])
def test_top_k_keeps_the_k_most_likely(top_k, kept):
    assert np.flatnonzero(share(draws(1.0, top_k=top_k))).tolist() == kept


def test_top_p_counts_what_top_k_left():
    # Of {1, 3}, token 1 has 0.625 of the mass.
    assert set(draws(1.0, 0.6, top_k=2, nucleus=True).tolist()) == {1}
    assert set(draws(1.0, 0.7, top_k=2, nucleus=True).tolist()) == {1, 3}


def test_every_token_index_draws_anew():
    keys = jax.random.split(jax.random.key(0), (1, 512))
    logits = jnp.broadcast_to(jnp.log(MASS), (1, 512, 4))
    one, other = (choose(logits, keys, index=t, temperature=1.0, top_p=1.0)[0] for t in (0, 1))
    same = np.mean(np.asarray(one) == np.asarray(other))
    assert abs(same - np.sum(MASS**2)) < 0.1


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -0.1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}, {"max_tokens": 0}],
)
def test_sampling_that_makes_no_sense(wrong):
    with pytest.raises(SkillRLError, match=next(iter(wrong))):
        Sampling(**wrong)
