"""The local engine: placement never shows in a result, prefixes are computed once."""

import itertools

import jax
import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.inference import decode_state, sampler, worker
from skillrl.inference.base import Generate, Sampling
from skillrl.inference.layout import Layout
from skillrl.inference.local import LocalEngine
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
    workers=1,
    fused=False,
):
    suffix_buckets = SUFFIX_BUCKETS if members == 1 else SUFFIX_BUCKETS[-1:]  # compiles less
    layout = Layout(
        prefix_rows=rows,
        group_members=members,
        prefix_buckets=PREFIX_BUCKETS,
        suffix_buckets=suffix_buckets,
        cache_buckets=SUFFIX_BUCKETS[-1:],
        prefix_cache=cache,
        prefill_tokens=prefill,
        workers=workers,
        fuse_projections=fused,
    )
    engine = LocalEngine(config, layout, seed=seed, stops=STOPS, mesh=mesh)
    engine.publish(params, 0)
    return engine


def plain_layout(*, rows, **options):
    """A layout of rows that share nothing."""
    return Layout(
        **{
            "prefix_rows": rows,
            "group_members": 1,
            "prefix_buckets": PREFIX_BUCKETS,
            "suffix_buckets": SUFFIX_BUCKETS,
            "cache_buckets": SUFFIX_BUCKETS,
            "prefix_cache": 4,
            **options,
        }
    )


@pytest.fixture
def engine(tiny_config, tiny_params, one_device):
    return make_engine(tiny_config, tiny_params, one_device)


@pytest.fixture(
    scope="module",
    params=[(3, 1, False), (2, 3, False), (2, 3, True)],
    ids=["members=1", "members=3", "fused"],
)
def placed(request, tiny_config, tiny_params, one_device):
    """An engine of each layout, and its answers to all requests in their given order."""
    rows, members, fused = request.param
    engine = make_engine(
        tiny_config, tiny_params, one_device, rows=rows, members=members, fused=fused
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


def test_every_slot_gives_the_same_bits(placed):
    """The same request in each slot: those before it fill the slots before."""
    engine, expected = placed
    asked, answer = REQUESTS[0], expected[0]
    members = engine.slots // engine._layout.prefix_rows
    for row, member in itertools.product(range(engine._layout.prefix_rows), range(members)):
        before = [request(20 + r, 6, m) for r in range(row) for m in range(members)]
        beside = [Generate(asked.prefix_ids, (9, 10 + m), (0,) * 6) for m in range(member)]
        crowd = dict(enumerate([*before, *beside, asked]))
        assert engine.submit(crowd, SAMPLING) == list(crowd)
        last = len(crowd) - 1
        slots = {key: slot for found in assignments(engine) for slot, key in found.keys.items()}
        assert slots[last] == (row, member)
        found = {}
        while last not in found:
            found |= engine.step()
        assert found[last] == answer
        engine.reset()


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
        Generate(asked.prefix_ids, asked.suffix_ids, (*asked.rng_address[:5], step))
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


# --- slots ------------------------------------------------------------------------------


def assignments(engine):
    return [found for bucket in engine._assignments.values() for found in bucket]


def test_workers_and_prefill_sizes_change_no_answer(placed, tiny_config, tiny_params, one_device):
    """Not even the last bit where the compiled shapes are the same."""
    engine, expected = placed
    if engine._layout.group_members > 1:
        pytest.skip("the other layout says it all")
    two = make_engine(tiny_config, tiny_params, one_device, rows=3, workers=2)
    assert two.slots == 6
    assert serve(two, REQUESTS, SAMPLING) == expected
    one_by_one = make_engine(tiny_config, tiny_params, one_device, prefill=1)
    for one, other in zip(serve(one_by_one, REQUESTS, SAMPLING), expected, strict=True):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


@pytest.mark.slow
def test_a_suffix_longer_than_a_prefill_is_read_in_chunks(tiny_config, tiny_params, one_device):
    layout = Layout(
        prefix_rows=2,
        group_members=1,
        prefix_buckets=PREFIX_BUCKETS,
        suffix_buckets=(2, 4),
        cache_buckets=(9,),
        prefix_cache=4,
        prefill_tokens=4,
    )
    engine = LocalEngine(tiny_config, layout, seed=SEED, stops=STOPS, mesh=one_device)
    engine.publish(tiny_params, 0)
    found = serve(engine, REQUESTS, SAMPLING)  # of 1 to 9 tokens: 4 + 4 + 1 is the longest
    assert {len(r.suffix_ids) for r in REQUESTS} >= {1, 4, 5, 8, 9}
    for asked, answer in zip(REQUESTS, found, strict=True):
        expected = reference(tiny_params, tiny_config, asked, SAMPLING)
        assert answer.ids == expected.ids
        np.testing.assert_allclose(answer.logprobs, expected.logprobs, atol=1e-5)
    assert serve(engine, REQUESTS[::-1], SAMPLING) == found[::-1]


def test_a_slot_is_filled_again_while_its_neighbours_still_grow(engine):
    """Three slots and responses of 1 to 6 tokens: nobody waits for the longest."""
    waiting = dict(enumerate(request(p, 4, m) for p in range(4) for m in range(6)))
    lengths = [len(a.ids) for a in serve(engine, list(waiting.values()), SAMPLING)]
    assert set(lengths) >= {1, LIMIT}
    found, beside = {}, 0
    while waiting or any(found.keys for found in assignments(engine)):
        old = {key for other in assignments(engine) for key in other.keys.values()}
        for key in engine.submit(waiting, SAMPLING):
            del waiting[key]
            beside += bool(old)
        found |= engine.step()
    assert [len(found[i].ids) for i in range(len(found))] == lengths
    assert beside > len(found) / 2


@pytest.mark.parametrize("steps", [1, 2])
def test_how_decoding_is_cut_into_calls_changes_no_bit(placed, monkeypatch, steps):
    """Calls of a token or two, as a slow device gets them, against as many as it takes."""
    engine, expected = placed
    monkeypatch.setattr(worker, "FIRST_STEPS", steps)
    monkeypatch.setattr(worker, "CALL_SECONDS", 0.0)  # then one token a call
    engine.reset()
    engine._assignments.clear()  # workers that know their pace
    before = engine.tokens
    assert serve(engine, REQUESTS, SAMPLING) == expected
    assert engine.tokens - before == sum(len(answer.ids) for answer in expected)
    assert all(found.worker._steps == 1 for found in assignments(engine))
    engine._assignments.clear()


def test_group_members_lie_beside_those_with_their_prefix(tiny_config, tiny_params, one_device):
    engine = make_engine(tiny_config, tiny_params, one_device, rows=2, members=3)
    waiting = dict(enumerate(request(p, 4, m) for m in range(4) for p in (0, 1, 2)))
    # Prefix 0 and 1 have a row each; 2 and the fourth members wait for one.
    assert engine.submit(waiting, SAMPLING) == [0, 1, 3, 4, 6, 7]
    engine.reset()
    assert engine.submit(waiting, SAMPLING) == [0, 1, 3, 4, 6, 7]


def test_buckets_do_not_wait_for_each_other(tiny_config, tiny_params, one_device):
    layout = plain_layout(rows=1)
    engine = LocalEngine(tiny_config, layout, seed=SEED, stops=STOPS, mesh=one_device)
    engine.publish(tiny_params, 0)
    waiting = dict(enumerate([request(0, 9, 0), request(0, 9, 1), request(0, 4, 0)]))
    assert engine.submit(waiting, SAMPLING) == [0, 2]


def test_every_program_is_compiled_once(tiny_config, tiny_params, one_device):
    """Other crowds, orders, policies and temperatures compile nothing new."""
    programs = (sampler.prefill_prefix, sampler.prefill, decode_state.insert, decode_state.decode)
    engine = make_engine(tiny_config, tiny_params, one_device, rows=5)
    serve(engine, REQUESTS, SAMPLING)
    before = [program._cache_size() for program in programs]
    for requests in (REQUESTS[::-1], REQUESTS[:1], REQUESTS * 2):
        serve(engine, requests, Sampling(temperature=0.5, max_tokens=LIMIT))
        engine.publish(jax.tree.map(lambda x: x * 1.01, tiny_params), 1)
    assert [program._cache_size() for program in programs] == before


def test_a_step_without_a_request_is_a_bug(engine):
    with pytest.raises(RuntimeError, match="no accepted request"):
        engine.step()


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "suffix", "named"),
    [(13, 4, "rollout.prefix_buckets"), (4, 10, "rollout.cache_buckets")],
)
def test_a_prompt_too_long_for_the_buckets(engine, prefix, suffix, named):
    with pytest.raises(SkillRLError) as caught:
        engine.submit({0: request(0, suffix, 0, prefix_length=prefix)}, SAMPLING)
    for part in (f"{max(prefix, suffix)} tokens", "rl.max_prompt_length", named):
        assert part in str(caught.value)


def test_a_cache_smaller_than_one_call_is_refused():
    with pytest.raises(SkillRLError, match=r"rollout\.prefix_cache=2.*3"):
        plain_layout(rows=3, suffix_buckets=(8,), prefix_cache=2, prefill_tokens=24)


def test_a_prefill_has_a_multiple_of_the_devices_where_it_can():
    layout = plain_layout(
        rows=8, suffix_buckets=(8, 16), prefix_cache=64, prefill_tokens=100, devices=4
    )
    assert [layout.prefill_rows(width) for width in (8, 16, 40)] == [8, 4, 2]


def test_generating_before_publishing_is_a_bug(tiny_config, one_device):
    layout = plain_layout(rows=3)
    engine = LocalEngine(tiny_config, layout, seed=0, stops=STOPS, mesh=one_device)
    with pytest.raises(RuntimeError, match="publish"):
        engine.submit({0: REQUESTS[0]}, SAMPLING)


@pytest.mark.slow
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
