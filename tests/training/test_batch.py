"""From samples to padded arrays: which lies where, with which weight."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.training.batch import Sample, make_minibatch
from skillrl.training.packing import Shapes

SHAPES = Shapes(
    tokens=20,
    samples_per_row=2,
    prefix_buckets=(4, 8),
    row_buckets=(5, 8, 11),
    response_buckets=(2, 5),
)


def sample(prefix, suffix, response, trajectory=0, advantage=0.0):
    """Ids that say where they belong: prefix p has tokens 10p + 1, 10p + 2, ..."""
    number, length = prefix
    return Sample(
        prefix_ids=tuple(10 * number + 1 + i for i in range(length)),
        suffix_ids=tuple(100 + i for i in range(suffix)),
        response_ids=tuple(200 + i for i in range(response)),
        old_logprobs=tuple(-0.1 * (i + 1) for i in range(response)),
        advantage=advantage,
        trajectory=trajectory,
    )


A, B, C = (1, 3), (2, 4), (3, 2)


def prefixes(batch):
    """Ids of the prefixes by their numbers."""
    return {
        int(which): tuple(block.tokens[row, : block.lengths[row]].tolist())
        for block in batch.prefixes
        for row, which in enumerate(block.index)
        if which < batch.prefix_room
    }


def rows(batch):
    """(prefix ids, suffix ids, response ids, old, weights, advantage) of every slot in use."""
    ids = prefixes(batch)
    for micro in batch.micro_batches:
        for row, member in zip(*np.nonzero(micro.suffix_lengths), strict=True):
            prefix = ids[micro.prefix[row]]
            assert micro.prefix_lengths[row] == len(prefix)
            s, r = micro.suffix_lengths[row, member], micro.response_lengths[row, member]
            assert not micro.tokens[row, member, s + r :].any()
            yield (
                prefix,
                tuple(micro.tokens[row, member, :s].tolist()),
                tuple(micro.tokens[row, member, s : s + r].tolist()),
                micro.old[row, member, :r],
                micro.weights[row, member],
                micro.advantages[row, member],
            )


def test_arrays_by_hand():
    # A block of 5 tokens has two rows of two slots; one of prefixes of 4 has five rows or one.
    samples = [sample(A, 2, 2, 0, 0.5), sample(B, 3, 1, 1, -1.0), sample(A, 1, 2, 2)]
    batch = make_minibatch(samples, SHAPES)
    one, two = batch.prefixes
    np.testing.assert_array_equal(one.tokens, [[11, 12, 13, 0]])
    np.testing.assert_array_equal(two.tokens, [[21, 22, 23, 24]])
    assert (one.lengths, two.lengths) == ([3], [4])
    assert (one.index, two.index) == ([0], [1])
    assert (batch.prefix_room, batch.prefix_width) == (2, 4)
    (micro,) = batch.micro_batches
    np.testing.assert_array_equal(micro.prefix, [0, 1])
    np.testing.assert_array_equal(micro.prefix_lengths, [3, 4])
    np.testing.assert_array_equal(
        micro.tokens,
        [
            [[100, 101, 200, 201, 0], [100, 200, 201, 0, 0]],
            [[100, 101, 102, 200, 0], [0, 0, 0, 0, 0]],
        ],
    )
    np.testing.assert_array_equal(micro.suffix_lengths, [[2, 1], [3, 0]])
    np.testing.assert_array_equal(micro.response_lengths, [[2, 2], [1, 0]])
    np.testing.assert_allclose(micro.advantages, [[0.5, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(micro.weights, [[[0.2, 0.2]] * 2, [[0.2, 0], [0, 0]]])
    np.testing.assert_allclose(micro.old, [[[-0.1, -0.2]] * 2, [[-0.1, 0], [0, 0]]])
    assert not micro.ref.any()
    assert batch.num_samples == 3
    # Samples: 11 of 2*2*5. Prefixes, in both passes: 7 of two blocks of 4.
    assert batch.padding == pytest.approx(1 - (11 + 2 * 7) / (20 + 2 * 8))


def test_widths_depend_on_a_samples_own_lengths_and_scores_on_the_longest_response():
    samples = [sample(A, 4, 1), sample(A, 1, 5), sample(A, 3, 2), sample(A, 6, 3), sample(A, 7, 1)]
    batch = make_minibatch(samples, dataclasses.replace(SHAPES, samples_per_row=1, tokens=16))
    # Samples of 9, of 8 and 6, of 5, of 5: three of the last fit the budget, one its quarter.
    assert [m.tokens.shape for m in batch.micro_batches] == [
        (1, 1, 11),
        (2, 1, 8),
        (1, 1, 5),
        (1, 1, 5),
    ]
    assert [m.weights.shape[-1] for m in batch.micro_batches] == [5, 5, 2, 2]
    assert make_minibatch([sample((1, 5), 1, 1)], SHAPES).prefixes[0].tokens.shape == (1, 8)


def test_no_more_tokens_are_scored_than_a_slot_has():
    shapes = dataclasses.replace(SHAPES, response_buckets=(7,))
    (micro,) = make_minibatch([sample(A, 1, 2)], shapes).micro_batches
    assert micro.tokens.shape[-1] == micro.weights.shape[-1] == 5


def test_prefixes_lie_in_blocks_of_their_own_width():
    shapes = dataclasses.replace(SHAPES, tokens=32)  # eight or two of 4, four or one of 8
    batch = make_minibatch([sample((p, 2 + p), 1, 1) for p in range(6)], shapes)
    assert [block.tokens.shape for block in batch.prefixes] == [(1, 8)] * 3 + [(2, 4)] * 2
    assert [block.index.tolist() for block in batch.prefixes] == [[3], [4], [5], [0, 1], [2, 8]]
    assert sorted(prefixes(batch)) == list(range(6))
    assert (batch.prefix_room, batch.prefix_width) == (8, 8)


@pytest.mark.parametrize(("count", "room"), [(1, 1), (2, 2), (3, 4), (5, 8)])
def test_few_prefix_counts_compile_and_empty_rows_belong_to_no_prefix(count, room):
    shapes = dataclasses.replace(SHAPES, tokens=32)
    batch = make_minibatch([sample((p, 2), 1, 1) for p in range(count)], shapes)
    assert batch.prefix_room == room
    numbers = np.concatenate([block.index for block in batch.prefixes])
    assert sorted(numbers[numbers < room]) == list(range(count))
    assert all((block.lengths[block.index >= room] == 1).all() for block in batch.prefixes)


def test_full_rows_go_on_in_the_next_row_and_block():
    samples = [sample(A, 1, 1, i) for i in range(5)] + [sample(B, 1, 1, 5)]
    batch = make_minibatch(samples, SHAPES)
    assert [m.prefix.tolist() for m in batch.micro_batches] == [[0, 0], [0, 1]]
    filled = [m.suffix_lengths.astype(bool).tolist() for m in batch.micro_batches]
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
    (micro,) = make_minibatch([bare], SHAPES).micro_batches
    assert not micro.old.any()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (sample((1, 9), 1, 1), ("prefix of 9", "rollout.prefix_buckets")),
        (sample(A, 7, 5), ("row of 12", "rollout.suffix_buckets")),
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
    st.integers(1, 80),
    st.integers(1, 4),
    st.sampled_from(["token_mean", "trajectory_mean"]),
)
def test_every_sample_is_there_once_and_weights_add_up(numbers, tokens, slots, aggregation):
    samples = [sample(*n) for n in numbers]
    shapes = dataclasses.replace(SHAPES, tokens=tokens, samples_per_row=slots)
    batch = make_minibatch(samples, shapes, aggregation=aggregation)
    found = list(rows(batch))
    assert len(found) == batch.num_samples == len(samples)
    key = lambda s: (s[0], s[1], s[2], s[-1])  # noqa: E731
    expected = [
        (s.prefix_ids, s.suffix_ids, s.response_ids, np.float32(s.advantage)) for s in samples
    ]
    assert sorted(map(key, found)) == sorted(expected)
    assert sorted(prefixes(batch).values()) == sorted({s.prefix_ids for s in samples})
    for *_, response, old, _, _ in found:
        np.testing.assert_allclose(old, [-0.1 * (i + 1) for i in range(len(response))], rtol=1e-6)
    total = sum(m.weights.sum() for m in batch.micro_batches)
    assert total == pytest.approx(1, abs=1e-5)
    computed = sum(m.tokens.size for m in batch.micro_batches) + 2 * sum(
        block.tokens.size for block in batch.prefixes
    )
    used = sum(len(s.suffix_ids) + len(s.response_ids) for s in samples)
    used += 2 * sum(map(len, {s.prefix_ids for s in samples}))
    assert batch.padding == pytest.approx(1 - used / computed)
    for micro in batch.micro_batches:
        assert micro.tokens[..., 0].size == 1 or micro.tokens.size <= tokens
        empty = micro.suffix_lengths == 0
        assert not micro.weights[empty].any()
        past = np.arange(micro.weights.shape[-1]) >= micro.response_lengths[..., None]
        assert not micro.weights[past].any()
    again = make_minibatch(samples, shapes, aggregation=aggregation)
    jax.tree.map(np.testing.assert_array_equal, again.micro_batches, batch.micro_batches)
