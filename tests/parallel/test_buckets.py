"""Buckets: by hand, from the limits alone, and rising to the longest."""

import itertools

import pytest

from skillrl.errors import SkillRLError
from skillrl.parallel.buckets import Buckets, bucket_of, make_buckets, thin_buckets


def test_buckets_by_hand():
    # 32 * 1.5 = 48; 72; 108 -> 104, a multiple of 8; 156 -> 152; 228 -> 224; 336 -> 320, of 64.
    assert make_buckets(330, growth=1.5) == (32, 48, 72, 104, 152, 224, 320, 330)
    assert make_buckets(20) == (20,)
    assert make_buckets(100, growth=2.0) == (32, 64, 100)


@pytest.mark.parametrize(("longest", "growth"), [(1, 1.25), (20, 1.25), (6000, 1.25), (100, 1.01)])
def test_buckets_rise_to_the_longest(longest, growth):
    buckets = make_buckets(longest, growth=growth)
    assert buckets[-1] == longest
    assert list(buckets) == sorted(set(buckets))
    assert all(b <= max(a * growth, a + 1) for a, b in itertools.pairwise(buckets))


def test_buckets_that_are_twice_apart():
    assert thin_buckets((112, 160, 256, 448)) == (160, 448)
    assert thin_buckets((16, 128, 192, 288)) == (16, 128, 288)
    assert thin_buckets((7,)) == (7,)


def test_a_bucket_is_the_smallest_that_holds_the_length():
    assert [bucket_of(n, (4, 8), what="suffix") for n in (0, 4, 5, 8)] == [4, 4, 8, 8]


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("prefix", ("rl.max_prompt_length", "rollout.prefix_buckets")),
        ("suffix", ("rl.max_prompt_length", "rollout.suffix_buckets")),
        ("response", ("rl.max_response_length", "train_batch.response_buckets")),
    ],
)
def test_too_long_names_the_fields_to_raise(what, fields):
    with pytest.raises(SkillRLError) as caught:
        bucket_of(9, (4, 8), what=what)
    for part in (f"{what} of 9 tokens", "8", *fields):
        assert part in str(caught.value)


def test_buckets_of_a_run_follow_from_the_limits():
    found = Buckets.from_limits(max_prompt_length=128, max_response_length=50, growth=2.0)
    assert found == Buckets(
        prefix=(32, 64, 128),
        suffix=(32, 64, 128),
        cache=(32, 64, 128),
        response=(32, 50),
        row=(32, 64, 128, 178),  # 128 + 50
        prefix_limit=127,  # one token is the suffix's
    )
    assert found.suffix_limit == 128


def test_given_buckets_are_taken_and_the_longest_always_has_one():
    found = Buckets.from_limits(
        max_prompt_length=128,
        max_response_length=50,
        growth=2.0,
        prefix=(100,),
        suffix=(20, 30, 90),
        response=(10, 40),
        row=(60, 140, 200),
    )
    assert found == Buckets(
        prefix=(100,),
        suffix=(20, 30, 90),
        cache=(30, 90),
        response=(10, 40, 50),  # the limit was raised since they were set
        row=(60, 140),  # 90 + 50: nothing is longer
        prefix_limit=100,
    )
    given = Buckets.from_limits(
        max_prompt_length=128, max_response_length=50, growth=2.0, cache=(16, 70)
    )
    assert (given.cache, given.suffix_limit) == ((16, 70), 70)
