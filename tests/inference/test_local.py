"""The local engine: placement never shows in a result, prefixes are computed once."""

import itertools

import jax
import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.inference import grid, lane, sampler
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
    reference,
    request,
    serve,
)

SAMPLING = Sampling(max_tokens=LIMIT)


def make_engine(
    config,
    params,
    mesh,
    *,
    rows=3,
    members=1,
    cache=4,
    seed=SEED,
    prefill=18,
    lanes=1,
    join=False,
):
    suffix_buckets = SUFFIX_BUCKETS if members == 1 else SUFFIX_BUCKETS[-1:]  # compiles less
    layout = Layout(
        rows,
        members,
        PREFIX_BUCKETS,
        suffix_buckets,
        SUFFIX_BUCKETS[-1:],
        cache,
        prefill,
        lanes,
        join,
    )
    engine = LocalEngine(config, layout, seed=seed, stops=STOPS, mesh=mesh)
    engine.publish(params, 0)
    return engine


@pytest.fixture
def engine(tiny_config, tiny_params, one_device):
    return make_engine(tiny_config, tiny_params, one_device)


@pytest.fixture(
    scope="module",
    params=[(3, 1, False), (2, 3, False), (2, 3, True)],
    ids=["members=1", "members=3", "joined"],
)
def placed(request, tiny_config, tiny_params, one_device):
    """An engine of each layout, and its answers to all requests in their given order."""
    rows, members, join = request.param
    engine = make_engine(
        tiny_config, tiny_params, one_device, rows=rows, members=members, join=join
    )
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
    """The same request in each cell of the grid: those before it fill the ones before."""
    engine, expected = placed
    asked, answer = REQUESTS[0], expected[0]
    members = engine.slots // engine._layout.rows
    for row, member in itertools.product(range(engine._layout.rows), range(members)):
        before = [request(20 + r, 6, m) for r in range(row) for m in range(members)]
        beside = [Generate(asked.prefix_ids, (9, 10 + m), (0,) * 6) for m in range(member)]
        crowd = dict(enumerate([*before, *beside, asked]))
        assert engine.take(crowd, SAMPLING) == list(crowd)
        last = len(crowd) - 1
        cells = {key: cell for lane in lanes(engine) for cell, key in lane.held.items()}
        assert cells[last] == (row, member)
        found = {}
        while last not in found:
            found |= engine.turn()
        assert found[last] == answer
        engine.abandon()


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


# --- cells ------------------------------------------------------------------------------


def lanes(engine):
    return [seating for bucket in engine._seatings.values() for seating in bucket]


def test_lanes_and_rows_of_a_prefill_change_no_answer(placed, tiny_config, tiny_params, one_device):
    """Not even the last bit where the compiled shapes are the same."""
    engine, expected = placed
    if engine._layout.members > 1:
        pytest.skip("the other layout says it all")
    two = make_engine(tiny_config, tiny_params, one_device, rows=3, lanes=2)
    assert two.slots == 6
    assert serve(two, REQUESTS, SAMPLING) == expected
    one_by_one = make_engine(tiny_config, tiny_params, one_device, prefill=1)
    for one, other in zip(serve(one_by_one, REQUESTS, SAMPLING), expected, strict=True):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_a_suffix_longer_than_a_prefill_is_read_in_chunks(tiny_config, tiny_params, one_device):
    layout = Layout(2, 1, PREFIX_BUCKETS, (2, 4), (9,), 4, 4)
    engine = LocalEngine(tiny_config, layout, seed=SEED, stops=STOPS, mesh=one_device)
    engine.publish(tiny_params, 0)
    found = serve(engine, REQUESTS, SAMPLING)  # of 1 to 9 tokens: 4 + 4 + 1 is the longest
    assert {len(r.suffix_ids) for r in REQUESTS} >= {1, 4, 5, 8, 9}
    for asked, answer in zip(REQUESTS, found, strict=True):
        expected = reference(tiny_params, tiny_config, asked, SAMPLING)
        assert answer.ids == expected.ids
        np.testing.assert_allclose(answer.logprobs, expected.logprobs, atol=1e-5)
    assert serve(engine, REQUESTS[::-1], SAMPLING) == found[::-1]


def test_a_cell_is_taken_again_while_its_neighbours_still_grow(engine):
    """Three cells and responses of 1 to 6 tokens: nobody waits for the longest."""
    waiting = dict(enumerate(request(p, 4, m) for p in range(4) for m in range(6)))
    lengths = [len(a.ids) for a in serve(engine, list(waiting.values()), SAMPLING)]
    assert set(lengths) >= {1, LIMIT}
    found, beside = {}, 0
    while waiting or any(lane.held for lane in lanes(engine)):
        old = {key for lane in lanes(engine) for key in lane.held.values()}
        for key in engine.take(waiting, SAMPLING):
            del waiting[key]
            beside += bool(old)
        found |= engine.turn()
    assert [len(found[i].ids) for i in range(len(found))] == lengths
    assert beside > len(found) / 2


@pytest.mark.parametrize("steps", [1, 2])
def test_how_decoding_is_cut_into_calls_changes_no_bit(placed, monkeypatch, steps):
    """Calls of a token or two, as a slow device gets them, against as many as it takes."""
    engine, expected = placed
    monkeypatch.setattr(lane, "FIRST_STEPS", steps)
    monkeypatch.setattr(lane, "CALL_SECONDS", 0.0)  # then one token a call
    engine.abandon()
    engine._seatings.clear()  # lanes that know their pace
    before = engine.tokens
    assert serve(engine, REQUESTS, SAMPLING) == expected
    assert engine.tokens - before == sum(len(answer.ids) for answer in expected)
    assert all(seating.lane._steps == 1 for seating in lanes(engine))
    engine._seatings.clear()


def test_members_sit_beside_those_with_their_prefix(tiny_config, tiny_params, one_device):
    engine = make_engine(tiny_config, tiny_params, one_device, rows=2, members=3)
    waiting = dict(enumerate(request(p, 4, m) for m in range(4) for p in (0, 1, 2)))
    # Prefix 0 and 1 have a row each; 2 and the fourth members wait for one.
    assert engine.take(waiting, SAMPLING) == [0, 1, 3, 4, 6, 7]
    engine.abandon()
    assert engine.take(waiting, SAMPLING) == [0, 1, 3, 4, 6, 7]


def test_buckets_do_not_wait_for_each_other(tiny_config, tiny_params, one_device):
    layout = Layout(1, 1, PREFIX_BUCKETS, SUFFIX_BUCKETS, SUFFIX_BUCKETS, 4)
    engine = LocalEngine(tiny_config, layout, seed=SEED, stops=STOPS, mesh=one_device)
    engine.publish(tiny_params, 0)
    waiting = dict(enumerate([request(0, 9, 0), request(0, 9, 1), request(0, 4, 0)]))
    assert engine.take(waiting, SAMPLING) == [0, 2]


def test_every_program_is_compiled_once(tiny_config, tiny_params, one_device):
    """Other crowds, orders, policies and temperatures compile nothing new."""
    programs = (sampler.prefill_prefix, sampler.prefill, grid.seat, grid.decode)
    engine = make_engine(tiny_config, tiny_params, one_device, rows=5)
    serve(engine, REQUESTS, SAMPLING)
    before = [program._cache_size() for program in programs]
    for requests in (REQUESTS[::-1], REQUESTS[:1], REQUESTS * 2):
        serve(engine, requests, Sampling(temperature=0.5, max_tokens=LIMIT))
        engine.publish(jax.tree.map(lambda x: x * 1.01, tiny_params), 1)
    assert [program._cache_size() for program in programs] == before


def test_turning_with_nothing_in_hand_is_a_bug(engine):
    with pytest.raises(RuntimeError, match="no request"):
        engine.turn()


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "suffix", "named"),
    [(13, 4, "rollout.prefix_buckets"), (4, 10, "rollout.cache_buckets")],
)
def test_a_prompt_too_long_for_the_buckets(engine, prefix, suffix, named):
    with pytest.raises(SkillRLError) as caught:
        engine.take({0: request(0, suffix, 0, prefix_length=prefix)}, SAMPLING)
    for part in (f"{max(prefix, suffix)} tokens", "rl.max_prompt_length", named):
        assert part in str(caught.value)


def test_a_cache_smaller_than_one_call_is_refused():
    with pytest.raises(SkillRLError, match=r"rollout\.prefix_cache=2.*3"):
        Layout(3, 1, (8,), (8,), (8,), 2, 24)


def test_a_prefill_has_a_multiple_of_the_devices_where_it_can():
    layout = Layout(8, 1, (8,), (8, 16), (8,), 64, 100, devices=4)
    assert [layout.prefill_rows(width) for width in (8, 16, 40)] == [8, 4, 2]


def test_generating_before_publishing_is_a_bug(tiny_config, one_device):
    layout = Layout(3, 1, PREFIX_BUCKETS, SUFFIX_BUCKETS, SUFFIX_BUCKETS, 4)
    engine = LocalEngine(tiny_config, layout, seed=0, stops=STOPS, mesh=one_device)
    with pytest.raises(RuntimeError, match="publish"):
        engine.take({0: REQUESTS[0]}, SAMPLING)


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
