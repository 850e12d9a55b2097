"""From samples to padded arrays: who stands where, with which weight."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.training.batch import Sample, Shapes, make_minibatch

SHAPES = Shapes(2, 2, (4, 8), (3, 6), (2, 5))


def sample(prefix, suffix, response, trajectory=0, advantage=0.0):
    """Ids that say where they belong: prefix p has tokens 10p + 1, 10p + 2, ..."""
    number, length = prefix
    return Sample(
        tuple(10 * number + 1 + i for i in range(length)),
        tuple(100 + i for i in range(suffix)),
        tuple(200 + i for i in range(response)),
        tuple(-0.1 * (i + 1) for i in range(response)),
        advantage,
        trajectory,
    )


A, B, C = (1, 3), (2, 4), (3, 2)


def rows(batch):
    """(prefix ids, suffix ids, response ids, old, weights, advantage) of every real cell."""
    for micro in batch.micros:
        width = micro.tokens.shape[-1] - micro.weights.shape[-1]
        for row, member in zip(*np.nonzero(micro.suffix_lengths), strict=True):
            which = micro.prefix[row]
            s, r = micro.suffix_lengths[row, member], micro.response_lengths[row, member]
            yield (
                tuple(batch.prefix_tokens[which, : batch.prefix_lengths[which]].tolist()),
                tuple(micro.tokens[row, member, :s].tolist()),
                tuple(micro.tokens[row, member, width : width + r].tolist()),
                micro.old[row, member, :r],
                micro.weights[row, member],
                micro.advantages[row, member],
            )


def test_arrays_by_hand():
    samples = [sample(A, 2, 2, 0, 0.5), sample(B, 3, 1, 1, -1.0), sample(A, 1, 2, 2)]
    batch = make_minibatch(samples, SHAPES)
    np.testing.assert_array_equal(batch.prefix_tokens, [[11, 12, 13, 0], [21, 22, 23, 24]])
    np.testing.assert_array_equal(batch.prefix_lengths, [3, 4])
    (micro,) = batch.micros
    np.testing.assert_array_equal(micro.prefix, [0, 1])
    np.testing.assert_array_equal(
        micro.tokens,
        [
            [[100, 101, 0, 200, 201], [100, 0, 0, 200, 201]],
            [[100, 101, 102, 200, 0], [0, 0, 0, 0, 0]],
        ],
    )
    np.testing.assert_array_equal(micro.suffix_lengths, [[2, 1], [3, 0]])
    np.testing.assert_array_equal(micro.response_lengths, [[2, 2], [1, 0]])
    np.testing.assert_allclose(micro.advantages, [[0.5, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(micro.weights, [[[0.2, 0.2]] * 2, [[0.2, 0], [0, 0]]])
    np.testing.assert_allclose(micro.old, [[[-0.1, -0.2]] * 2, [[-0.1, 0], [0, 0]]])
    assert not micro.ref.any()
    assert batch.rows == 3
    assert batch.padding == pytest.approx(1 - 11 / 20)  # 6 suffix and 5 response tokens of 2*2*5


MIXED = [sample(A, 4, 1), sample(A, 1, 5), sample(A, 3, 2), sample(A, 6, 3)]


def widths(batch):
    return [(m.tokens.shape[-1] - m.weights.shape[-1], m.weights.shape[-1]) for m in batch.micros]


def test_buckets_depend_on_a_rows_own_lengths():
    batch = make_minibatch(MIXED, dataclasses.replace(SHAPES, rows=1))
    assert widths(batch) == [(3, 2), (3, 5), (6, 2), (6, 5)]
    assert all(m.suffix_lengths.astype(bool).sum() == 1 for m in batch.micros)
    assert make_minibatch([sample((1, 5), 1, 1)], SHAPES).prefix_tokens.shape == (1, 8)


def test_rows_left_over_fill_up_a_wider_grid():
    batch = make_minibatch(MIXED, SHAPES)  # two rows a grid
    assert widths(batch) == [(3, 5), (6, 5)]
    lengths = [m.suffix_lengths[:, 0].tolist() for m in batch.micros]
    assert lengths == [[1, 3], [6, 4]]
    full = make_minibatch([MIXED[2]] * 4 + [MIXED[0]], SHAPES)  # two members: four fill a grid
    assert widths(full) == [(3, 2), (6, 2)]


@pytest.mark.parametrize(("prefixes", "padded"), [(1, 1), (2, 2), (3, 4), (5, 8)])
def test_few_prefix_counts_compile(prefixes, padded):
    batch = make_minibatch([sample((p, 2), 1, 1) for p in range(prefixes)], SHAPES)
    assert batch.prefix_tokens.shape == (padded, 4)
    assert (batch.prefix_lengths[prefixes:] == 1).all()  # a filler is a prefix of one token


def test_full_rows_go_on_in_the_next_row_and_grid():
    samples = [sample(A, 1, 1, i) for i in range(5)] + [sample(B, 1, 1, 5)]
    batch = make_minibatch(samples, SHAPES)
    assert [m.prefix.tolist() for m in batch.micros] == [[0, 0], [0, 1]]
    filled = [m.suffix_lengths.astype(bool).tolist() for m in batch.micros]
    assert filled == [[[True, True], [True, True]], [[True, False], [True, False]]]


def test_trajectory_mean_weighs_trajectories_alike():
    samples = [sample(A, 1, 2, 0), sample(A, 1, 2, 0), sample(A, 1, 1, 7)]
    batch = make_minibatch(samples, SHAPES, aggregation="trajectory_mean")
    weights = [w.tolist() for *_, w, _ in rows(batch)]
    np.testing.assert_allclose(weights, [[0.125, 0.125], [0.125, 0.125], [0.5, 0]])
    with pytest.raises(SkillRLError, match="token_mean"):
        make_minibatch(samples, SHAPES, aggregation="mean")


def test_demonstrations_have_no_old_logprobs():
    bare = dataclasses.replace(sample(A, 1, 2), old_logprobs=())
    (micro,) = make_minibatch([bare], SHAPES).micros
    assert not micro.old.any()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (sample((1, 9), 1, 1), ("prefix of 9", "rollout.prefix_buckets")),
        (sample(A, 7, 1), ("suffix of 7", "rollout.suffix_buckets")),
        (sample(A, 1, 6), ("response of 6", "train_batch.response_buckets")),
    ],
)
def test_a_sample_too_long_is_named(wrong, named):
    with pytest.raises(SkillRLError) as caught:
        make_minibatch([sample(A, 1, 1), wrong], SHAPES)
    assert all(part in str(caught.value) for part in named)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B, C, (4, 7)]),
            st.integers(1, 6),
            st.integers(1, 5),
            st.integers(0, 3),
            st.floats(-2, 2, width=32),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([(1, 1), (2, 2), (3, 1), (1, 4)]),
    st.sampled_from(["token_mean", "trajectory_mean"]),
)
def test_every_sample_is_there_once_in_order_and_weights_add_up(numbers, grid, aggregation):
    samples = [sample(*n) for n in numbers]
    shapes = dataclasses.replace(SHAPES, rows=grid[0], members=grid[1])
    batch = make_minibatch(samples, shapes, aggregation=aggregation)
    found = list(rows(batch))
    assert len(found) == batch.rows == len(samples)
    key = lambda s: (s[0], s[1], s[2], s[-1])  # noqa: E731
    expected = [
        (s.prefix_ids, s.suffix_ids, s.response_ids, np.float32(s.advantage)) for s in samples
    ]
    assert sorted(map(key, found)) == sorted(expected)
    for *_, response, old, _, _ in found:
        np.testing.assert_allclose(old, [-0.1 * (i + 1) for i in range(len(response))], rtol=1e-6)
    # Within a bucket and a prefix the order is that of the samples.
    for prefix in {f[0] for f in found}:
        for widths in {(len(f[1]) > 3, len(f[2]) > 2) for f in found}:
            mine = lambda s: s[0] == prefix and (len(s[1]) > 3, len(s[2]) > 2) == widths  # noqa: B023, E731
            assert [key(f) for f in found if mine(f)] == [e for e in expected if mine(e)]
    total = sum(m.weights.sum() for m in batch.micros)
    assert total == pytest.approx(1, abs=1e-5)
    cells = sum(m.tokens.size for m in batch.micros)
    used = sum(len(s.suffix_ids) + len(s.response_ids) for s in samples)
    assert batch.padding == pytest.approx(1 - used / cells)
    for micro in batch.micros:
        empty = micro.suffix_lengths == 0
        assert not micro.weights[empty].any()
        past = np.arange(micro.weights.shape[-1]) >= micro.response_lengths[..., None]
        assert not micro.weights[past].any()
