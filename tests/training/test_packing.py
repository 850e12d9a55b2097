"""Samples in blocks: each once, within bounds, and little room that nobody needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.config.settings import TrainBatchConfig
from skillrl.errors import SkillRLError
from skillrl.parallel.buckets import Buckets, make_buckets
from skillrl.training.packing import SampleBlock, Shapes, pack

BUCKETS = (4, 6, 10)


def shapes(tokens=24, *, devices=1):
    return Shapes(
        tokens=tokens,
        samples_per_row=1,
        prefix_buckets=(8,),
        row_buckets=BUCKETS,
        response_buckets=(4,),
        devices=devices,
    )


def block(width, num_rows, samples_per_row, rows):
    return SampleBlock(width=width, num_rows=num_rows, samples_per_row=samples_per_row, rows=rows)


@pytest.mark.parametrize(
    ("tokens", "devices", "width", "samples_per_row", "expected"),
    [
        (960, 1, 10, 1, (96, 24, 1)),
        (960, 1, 10, 8, (12, 3, 8)),
        (960, 1, 13, 1, (73, 18, 1)),  # the budget is a limit, not an aim
        (30, 1, 10, 8, (1, 1, 3)),  # a prefix row is no longer than the budget
        (30, 1, 10, 2, (1, 1, 2)),
        (9, 1, 10, 8, (1, 1, 1)),  # one sample is always allowed
        (960, 8, 10, 2, (48, 8, 2)),
        (960, 8, 100, 2, (8, 8, 1)),  # one sample per device
        (9, 8, 10, 8, (8, 8, 1)),
    ],
)
def test_blocks_follow_from_the_budget(tokens, devices, width, samples_per_row, expected):
    assert shapes(tokens, devices=devices).block_sizes(width, samples_per_row) == expected


def test_packing_by_hand():
    # 48 tokens: four samples of 10, eight of 6 or twelve of 4; the smaller sizes are 1, 2 and 3.
    rows = [(0, 3), (1, 6), (0, 9), (1, 5), (0, 4), (2, 6), (2, 1), (1, 2)]
    assert pack(rows, BUCKETS, shapes=shapes(48), samples_per_row=1) == [
        block(10, 1, 1, [(0, [2])]),
        block(6, 2, 1, [(1, [1]), (1, [3])]),
        block(6, 2, 1, [(2, [5]), (0, [0])]),  # a sample of width 4 takes the free row
        block(4, 3, 1, [(0, [4]), (2, [6]), (1, [7])]),
    ]


def test_a_row_of_one_prefix_is_filled_up_with_narrower_samples_of_the_same():
    rows = [(0, 5), (1, 3), (0, 2), (0, 3), (0, 1)]
    assert pack(rows, BUCKETS, shapes=shapes(12), samples_per_row=2) == [
        block(6, 1, 2, [(0, [0, 2])]),
        block(4, 1, 2, [(1, [1])]),
        block(4, 1, 2, [(0, [3, 4])]),
    ]


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, [2]), (2, [2]), (3, [2, 2]), (6, [2] * 3), (7, [8]), (17, [8, 8, 2])]
)
def test_what_is_left_over_takes_quarter_blocks(rows, sizes):
    blocks = pack([(0, 4)] * rows, BUCKETS, shapes=shapes(32), samples_per_row=1)
    assert [block.num_rows for block in blocks] == sizes


def test_a_sample_too_long_is_named():
    with pytest.raises(SkillRLError) as caught:
        pack([(0, 4), (0, 11)], BUCKETS, shapes=shapes(), samples_per_row=1)
    assert all(part in str(caught.value) for part in ("11 tokens", "10", "rl.max_prompt_length"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 10)), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(1, 9),
    st.sampled_from([1, 2, 8]),
)
def test_every_sample_is_there_once_where_it_fits(samples, tokens, slots, devices):
    made = shapes(tokens, devices=devices)
    blocks = pack(samples, BUCKETS, shapes=made, samples_per_row=slots)
    found = [i for block in blocks for _, row in block.rows for i in row]
    assert sorted(found) == list(range(len(samples)))
    for block in blocks:
        full, part, most = made.block_sizes(block.width, slots)
        assert block.num_rows in (full, part)
        assert block.samples_per_row == most <= slots
        assert block.width in BUCKETS
        assert block.num_rows % devices == 0
        single = block.num_rows == devices and block.samples_per_row == 1
        assert block.tokens <= tokens or single
        assert 0 < len(block.rows) <= block.num_rows
        for prefix, row in block.rows:
            assert 0 < len(row) <= block.samples_per_row
            assert all(samples[i][0] == prefix and samples[i][1] <= block.width for i in row)
    # Every block has a sample of its own bucket: else it would be narrower.
    for block in blocks:
        longest = max(samples[i][1] for _, row in block.rows for i in row)
        assert min(b for b in BUCKETS if b >= longest) == block.width
    # Blocks of a width leave less room than one of the smaller size holds.
    widths = [block.width for block in blocks]
    assert widths == sorted(widths, reverse=True)
    for width in set(widths):
        same = [block for block in blocks if block.width == width]
        free = sum(block.num_rows - len(block.rows) for block in same)
        assert free < made.block_sizes(width, slots)[1]
    # Within a bucket and a prefix, samples come in their order.
    order = {i: at for at, i in enumerate(found)}
    for prefix, bucket in {(p, min(b for b in BUCKETS if b >= n)) for p, n in samples}:
        same = [
            order[i]
            for i, (p, n) in enumerate(samples)
            if p == prefix and min(b for b in BUCKETS if b >= n) == bucket
        ]
        assert slots > 1 or same == sorted(same)
    assert pack(samples, BUCKETS, shapes=made, samples_per_row=slots) == blocks


def household(rng, groups=2, members=8):
    """Prefix and row lengths of a minibatch of long episodes by a 7B model, spread widely."""
    prefixes = rng.integers(1000, 1300, groups)
    rows = [
        (group, int(suffix + response))
        for group in range(groups)
        for _ in range(members)
        for suffix, response in zip(
            *(
                np.clip(np.exp(rng.normal(mean, 0.6, steps)), *ends)
                for steps in [rng.integers(10, 51)]
                for mean, ends in ((6.2, (150, 1500)), (4.8, (30, 400)))
            ),
            strict=True,
        )
    ]
    return prefixes, rows


@pytest.mark.parametrize(
    ("tokens", "slots", "devices"), [(16384, 8, 1), (16384, 1, 1), (32768, 2, 4), (32768, 1, 8)]
)
def test_at_most_a_fifth_of_a_realistic_minibatch_is_padding(tokens, slots, devices):
    rng = np.random.default_rng(0)
    made = Shapes(
        tokens=tokens,
        samples_per_row=slots,
        prefix_buckets=make_buckets(6000),
        row_buckets=make_buckets(7024),
        response_buckets=(1024,),
        devices=devices,
    )
    shares, compiled = [], set()
    for _ in range(8):
        prefixes, samples = household(rng)
        blocks = pack(samples, made.row_buckets, shapes=made, samples_per_row=slots)
        prefix_blocks = pack(
            list(enumerate(prefixes.tolist())),
            made.prefix_buckets,
            shapes=made,
            samples_per_row=1,
        )
        computed = sum(b.tokens for b in blocks) + 2 * sum(b.tokens for b in prefix_blocks)
        used = sum(n for _, n in samples) + 2 * prefixes.sum()
        shares.append(1 - used / computed)
        compiled |= {(b.width, b.num_rows) for b in blocks}
    assert max(shares) <= 0.2
    assert len(compiled) <= 2 * len({width for width, _ in compiled})


def test_shapes_from_the_settings():
    buckets = Buckets.from_limits(
        max_prompt_length=64, max_response_length=16, growth=2.0, prefix=(40,), row=(24, 99)
    )
    made = Shapes.from_config(
        TrainBatchConfig(tokens=1000), buckets=buckets, samples_per_row=3, devices=2
    )
    assert made == Shapes(
        tokens=1000,
        samples_per_row=3,
        prefix_buckets=(40,),
        row_buckets=(24, 80),  # 64 + 16: what is wider than the longest sample is not kept
        response_buckets=(16,),
        devices=2,
    )
    assert made.smallest_block == 250
