"""The local engine: placement never shows in a result, prefixes are computed once."""

import itertools

import jax
import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Sampling
from skillrl.inference.local import Layout, LocalEngine
from skillrl.models.quantised import quantise
from tests.inference.engines import (
    LIMIT,
    PREFIX_BUCKETS,
    REQUESTS,
    SEED,
    STOPS,
    SUFFIX_BUCKETS,
    request,
    serve,
)

SAMPLING = Sampling(max_tokens=LIMIT)


def make_engine(config, params, mesh, *, rows=3, members=1, cache=4, seed=SEED):
    suffix_buckets = SUFFIX_BUCKETS if members == 1 else SUFFIX_BUCKETS[-1:]  # compiles less
    layout = Layout(rows, members, PREFIX_BUCKETS, suffix_buckets, cache)
    engine = LocalEngine(config, layout, seed=seed, stops=STOPS, mesh=mesh)
    engine.publish(params, 0)
    return engine


@pytest.fixture
def engine(tiny_config, tiny_params, one_device):
    return make_engine(tiny_config, tiny_params, one_device)


@pytest.fixture(scope="module", params=[(3, 1), (2, 3)], ids=["members=1", "members=3"])
def placed(request, tiny_config, tiny_params, one_device):
    """An engine of either layout, and its answers to all requests in their given order."""
    rows, members = request.param
    engine = make_engine(tiny_config, tiny_params, one_device, rows=rows, members=members)
    return engine, serve(engine, REQUESTS, SAMPLING)


# --- bit for bit ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_requests_changes_no_bit(placed, seed):
    engine, expected = placed
    order = np.random.default_rng(seed).permutation(len(REQUESTS))
    found = serve(engine, [REQUESTS[i] for i in order], SAMPLING)
    assert found == [expected[i] for i in order]


def test_a_request_alone_gets_the_same_bits(placed):
    engine, expected = placed
    for asked, answer in zip(REQUESTS, expected, strict=True):
        assert serve(engine, [asked], SAMPLING) == [answer]


def test_other_neighbours_change_no_bit(placed):
    engine, expected = placed
    others = [request(p, 5, 50 + m) for p, m in itertools.product((0, 7), range(4))]
    crowd = [r for pair in zip(others, REQUESTS, strict=False) for r in pair]
    found = serve(engine, crowd, SAMPLING)
    assert found[1::2] == expected[: len(others)]


def test_every_cell_gives_the_same_bits(placed):
    """The same request in each cell of the grid, by calling `generate` as `choose` would."""
    engine, expected = placed
    asked, answer = REQUESTS[0], expected[0]
    members = engine.slots // engine._layout.rows
    for row, member in itertools.product(range(engine._layout.rows), range(members)):
        before = [request(20 + r, 6, m) for r in range(row) for m in range(members)]
        beside = [Generate(asked.prefix_ids, (9, 10 + m), (0,) * 6) for m in range(member)]
        assert engine.generate([*before, *beside, asked], SAMPLING)[-1] == answer


def test_sharing_a_prefix_row_agrees_with_rows_of_ones_own(tiny_config, tiny_params, one_device):
    answers = [
        serve(
            make_engine(tiny_config, tiny_params, one_device, rows=rows, members=members),
            REQUESTS,
            SAMPLING,
        )
        for rows, members in ((3, 1), (2, 3))
    ]
    for one, other in zip(*answers, strict=True):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_seed_and_address_decide_the_draw(engine, tiny_config, tiny_params, one_device):
    asked = REQUESTS[0]
    elsewhere = [
        Generate(asked.prefix_ids, asked.suffix_ids, (*asked.address[:5], step))
        for step in range(6)
    ]
    found = serve(engine, elsewhere, SAMPLING)
    assert len({answer.ids for answer in found}) > 3
    other = make_engine(tiny_config, tiny_params, one_device, seed=SEED + 1)
    assert serve(other, elsewhere, SAMPLING) != found


# --- prefixes -------------------------------------------------------------------------


def test_a_prefix_is_computed_once_per_version(engine, tiny_params):
    serve(engine, REQUESTS, SAMPLING)
    distinct = len({r.prefix_ids for r in REQUESTS})
    assert engine.prefixes_computed == distinct == 4
    serve(engine, REQUESTS, SAMPLING)
    assert engine.prefixes_computed == distinct
    engine.publish(tiny_params, 1)
    assert engine.version == 1
    serve(engine, REQUESTS, SAMPLING)
    assert engine.prefixes_computed == 2 * distinct


def test_new_parameters_are_used_for_prefix_and_rest(engine, tiny_config, tiny_params, one_device):
    before = serve(engine, REQUESTS[:3], SAMPLING)
    changed = jax.tree.map(lambda x: x * 1.1, tiny_params)
    engine.publish(changed, 1)
    fresh = make_engine(tiny_config, changed, one_device)
    after = serve(engine, REQUESTS[:3], SAMPLING)
    assert after == serve(fresh, REQUESTS[:3], SAMPLING)
    assert after != before


def test_evicted_prefixes_come_back_with_the_same_bits(engine):
    many = [request(prefix, 5, 0) for prefix in range(7)]  # the cache holds four
    first = serve(engine, many, SAMPLING)
    assert engine.prefixes_computed == 7
    assert serve(engine, many, SAMPLING) == first
    assert engine.prefixes_computed > 7
    one_by_one = [serve(engine, [asked], SAMPLING)[0] for asked in reversed(many)]
    assert one_by_one == first[::-1]


def test_the_least_recently_used_prefix_goes_first(engine):
    old = [request(prefix, 5, 0) for prefix in range(4)]
    for asked in (*old, old[0], request(9, 5, 0)):  # 9 takes the place of 1
        serve(engine, [asked], SAMPLING)
    assert engine.prefixes_computed == 5
    serve(engine, [old[0], old[2]], SAMPLING)
    assert engine.prefixes_computed == 5
    serve(engine, [old[1]], SAMPLING)
    assert engine.prefixes_computed == 6


# --- choosing, and bad input ----------------------------------------------------------


def test_choose_takes_the_oldest_requests_bucket_and_at_most_one_grid(engine):
    long = [request(0, 9, m) for m in range(2)]
    short = [request(p, 4, 0) for p in range(5)]
    assert engine.choose([*long, *short]) == [0, 1]  # nobody waits for a fuller bucket
    assert engine.choose([*short, *long]) == [0, 1, 2]  # three cells, by arrival
    assert engine.choose([long[0], *short[:1], long[1]]) == [0, 2]
    assert engine.choose(long[:1]) == [0]


def test_choose_fills_rows_with_members_of_one_prefix(tiny_config, tiny_params, one_device):
    engine = make_engine(tiny_config, tiny_params, one_device, rows=2, members=3)
    assert engine.slots == 6
    waiting = [request(p, 4, m) for m in range(4) for p in (0, 1, 2)]
    # Full rows first: three of prefix 0, three of prefix 1.
    assert engine.choose(waiting) == [0, 3, 6, 1, 4, 7]
    assert engine.choose(waiting[:4]) == [0, 3, 1]


@pytest.mark.parametrize(
    ("prefix", "suffix", "named"),
    [(13, 4, "rollout.prefix_buckets"), (4, 10, "rollout.suffix_buckets")],
)
def test_a_prompt_too_long_for_the_buckets(engine, prefix, suffix, named):
    with pytest.raises(SkillRLError) as caught:
        engine.choose([request(0, suffix, 0, prefix_length=prefix)])
    for part in (f"{max(prefix, suffix)} tokens", "rl.max_prompt_length", named):
        assert part in str(caught.value)


def test_a_cache_smaller_than_one_call_is_refused():
    with pytest.raises(SkillRLError, match=r"rollout\.prefix_cache=2.*3"):
        Layout(3, 1, (8,), (8,), 2)


def test_generating_before_publishing_is_a_bug(tiny_config, one_device):
    layout = Layout(3, 1, PREFIX_BUCKETS, SUFFIX_BUCKETS, 4)
    engine = LocalEngine(tiny_config, layout, seed=0, stops=STOPS, mesh=one_device)
    with pytest.raises(RuntimeError, match="publish"):
        engine.generate(REQUESTS[:1], SAMPLING)


def test_int8_weights_sample_nearly_as_the_policy(tiny_config, tiny_params, one_device):
    exact = make_engine(tiny_config, tiny_params, one_device)
    rounded = make_engine(tiny_config, quantise(tiny_params), one_device)
    expected, found = (serve(engine, REQUESTS, SAMPLING) for engine in (exact, rounded))
    first = [
        (a.logprobs[0], b.logprobs[0])
        for a, b in zip(expected, found, strict=True)
        if a.ids[0] == b.ids[0]
    ]
    assert len(first) >= len(REQUESTS) // 2
    a, b = np.transpose(first)
    np.testing.assert_allclose(a, b, atol=0.2)
    assert (a != b).any()
