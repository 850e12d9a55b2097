"""Rows in grids: everyone once, within bounds, and little room that nobody needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.inference.base import ladder
from skillrl.training.packing import Grid, Shapes, pack

BUCKETS = (4, 6, 10)


def shapes(tokens=24, *, devices=1):
    return Shapes(tokens, 1, (8,), BUCKETS, (4,), devices)


@pytest.mark.parametrize(
    ("tokens", "devices", "width", "members", "expected"),
    [
        (960, 1, 10, 1, (96, 24, 1)),
        (960, 1, 10, 8, (12, 3, 8)),
        (960, 1, 13, 1, (73, 18, 1)),  # the budget is a limit, not an aim
        (30, 1, 10, 8, (1, 1, 3)),  # a line is no longer than the budget
        (30, 1, 10, 2, (1, 1, 2)),
        (9, 1, 10, 8, (1, 1, 1)),  # one row is always allowed
        (960, 8, 10, 2, (48, 8, 2)),
        (960, 8, 100, 2, (8, 8, 1)),  # one row per device
        (9, 8, 10, 8, (8, 8, 1)),
    ],
)
def test_grids_follow_from_the_budget(tokens, devices, width, members, expected):
    assert shapes(tokens, devices=devices).grid(width, members) == expected


def test_packing_by_hand():
    # 48 tokens: four rows of 10, eight of 6 or twelve of 4; the smaller sizes are 1, 2 and 3.
    rows = [(0, 3), (1, 6), (0, 9), (1, 5), (0, 4), (2, 6), (2, 1), (1, 2)]
    assert pack(rows, BUCKETS, shapes(48), members=1) == [
        Grid(10, 1, 1, [(0, [2])]),
        Grid(6, 2, 1, [(1, [1]), (1, [3])]),
        Grid(6, 2, 1, [(2, [5]), (0, [0])]),  # a row of width 4 takes the free line
        Grid(4, 3, 1, [(0, [4]), (2, [6]), (1, [7])]),
    ]


def test_a_line_of_one_prefix_is_filled_up_with_narrower_rows_of_the_same():
    rows = [(0, 5), (1, 3), (0, 2), (0, 3), (0, 1)]
    assert pack(rows, BUCKETS, shapes(12), members=2) == [
        Grid(6, 1, 2, [(0, [0, 2])]),
        Grid(4, 1, 2, [(1, [1])]),
        Grid(4, 1, 2, [(0, [3, 4])]),
    ]


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, [2]), (2, [2]), (3, [2, 2]), (6, [2] * 3), (7, [8]), (17, [8, 8, 2])]
)
def test_what_is_left_over_takes_quarter_grids(rows, sizes):
    grids = pack([(0, 4)] * rows, BUCKETS, shapes(32), members=1)
    assert [grid.size for grid in grids] == sizes


def test_a_row_too_long_is_named():
    with pytest.raises(SkillRLError) as caught:
        pack([(0, 4), (0, 11)], BUCKETS, shapes(), members=1)
    assert all(part in str(caught.value) for part in ("11 tokens", "10", "rl.max_prompt_length"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 10)), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(1, 9),
    st.sampled_from([1, 2, 8]),
)
def test_every_row_is_there_once_where_it_fits(rows, tokens, members, devices):
    made = shapes(tokens, devices=devices)
    grids = pack(rows, BUCKETS, made, members=members)
    found = [i for grid in grids for _, line in grid.lines for i in line]
    assert sorted(found) == list(range(len(rows)))
    for grid in grids:
        full, part, cells = made.grid(grid.width, members)
        assert grid.size in (full, part)
        assert grid.members == cells <= members
        assert grid.width in BUCKETS
        assert grid.size % devices == 0
        assert grid.cells <= tokens or (grid.size == devices and grid.members == 1)
        assert 0 < len(grid.lines) <= grid.size
        for prefix, line in grid.lines:
            assert 0 < len(line) <= grid.members
            assert all(rows[i][0] == prefix and rows[i][1] <= grid.width for i in line)
    # Every grid has a row of its own bucket: else it would be narrower.
    for grid in grids:
        longest = max(rows[i][1] for _, line in grid.lines for i in line)
        assert min(b for b in BUCKETS if b >= longest) == grid.width
    # Grids of a width leave less room than one of the smaller size holds.
    widths = [grid.width for grid in grids]
    assert widths == sorted(widths, reverse=True)
    for width in set(widths):
        last = [grid for grid in grids if grid.width == width]
        lines = sum(len(grid.lines) for grid in last)
        assert sum(grid.size for grid in last) - lines < made.grid(width, members)[1]
    # Within a bucket and a prefix, rows come in their order.
    order = {i: at for at, i in enumerate(found)}
    for prefix, bucket in {(p, min(b for b in BUCKETS if b >= n)) for p, n in rows}:
        same = [
            order[i]
            for i, (p, n) in enumerate(rows)
            if p == prefix and min(b for b in BUCKETS if b >= n) == bucket
        ]
        assert members > 1 or same == sorted(same)
    assert pack(rows, BUCKETS, made, members=members) == grids


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
    ("tokens", "members", "devices"), [(16384, 8, 1), (16384, 1, 1), (32768, 2, 4), (32768, 1, 8)]
)
def test_at_most_a_fifth_of_a_realistic_minibatch_is_padding(tokens, members, devices):
    rng = np.random.default_rng(0)
    rungs, rows_rungs = ladder(6000), ladder(7024)
    made = Shapes(tokens, members, rungs, rows_rungs, (1024,), devices)
    shares, compiled = [], set()
    for _ in range(8):
        prefixes, rows = household(rng)
        row_grids = pack(rows, rows_rungs, made, members=members)
        grids = pack(list(enumerate(prefixes.tolist())), rungs, made, members=1)
        computed = sum(g.cells for g in row_grids) + 2 * sum(g.cells for g in grids)
        used = sum(n for _, n in rows) + 2 * prefixes.sum()
        shares.append(1 - used / computed)
        compiled |= {(g.width, g.size) for g in row_grids}
    assert max(shares) <= 0.2
    assert len(compiled) <= 2 * len({width for width, _ in compiled})
