import doctest
import math

import pytest

from skillrl.errors import SkillRLError
from skillrl.evaluation import intervals
from skillrl.evaluation.intervals import (
    Z95,
    difference,
    mean_interval,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
        (5, 10, 0.2366, 0.7634),
    ],
)
def test_wilson_against_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_hand_at_z_one():
    # p = 1/2, n = 1 would need half a success; n = 4, 2 successes, z = 1:
    # centre 1/2, half = 1 / 1.25 * sqrt(1/16 + 1/64) = 0.8 * sqrt(5) / 8.
    half = 0.1 * 5**0.5
    assert wilson(2, 4, 1.0) == pytest.approx((0.5 - half, 0.5 + half))


def test_wilson_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    for successes, n in ((-1, 5), (6, 5), (0, -1)):
        with pytest.raises(SkillRLError, match="successes"):
            wilson(successes, n)


@pytest.mark.parametrize("n", [1, 2, 7, 120, 5000])
def test_wilson_is_the_formula_of_its_docstring(n):
    for successes in range(0, n + 1, max(1, n // 37)):
        rate, scale = successes / n, 1 + Z95**2 / n
        centre = (rate + Z95**2 / (2 * n)) / scale
        half = Z95 / scale * math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n * n))
        expected = max(0.0, centre - half), min(1.0, centre + half)
        assert wilson(successes, n) == pytest.approx(expected, abs=1e-12)


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(intervals).failed == 0


def test_wilson_mirrors():
    low, high = wilson(3, 11)
    assert wilson(8, 11) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, 873-890, table II, method 10.
        (((56, 70), (48, 80)), 0.0524, 0.3339),
        (((9, 10), (3, 10)), 0.1705, 0.8090),
        (((10, 10), (0, 20)), 0.6791, 1.0),
        (((5, 56), (0, 29)), -0.0381, 0.1926),
    ],
)
def test_difference_against_published_values(counts, low, high):
    assert difference(*counts) == pytest.approx((low, high), abs=5e-5)


def test_difference_edges():
    assert difference((0, 0), (3, 5)) == (-1.0, 1.0)
    assert difference((3, 5), (0, 0)) == (-1.0, 1.0)
    low, high = difference((7, 20), (12, 30))
    assert difference((12, 30), (7, 20)) == pytest.approx((-high, -low))
    with pytest.raises(SkillRLError):
        difference((3, 2), (1, 2))


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter
        # 8: complete response before and after consolidation therapy (Cavo et al. 2012).
        (6, 16, 161, -0.1240, -0.0054),
    ],
)
def test_paired_difference_against_published_values(gained, lost, n, low, high):
    assert paired_difference(gained, lost, n=n) == pytest.approx((low, high), abs=5e-5)


def test_paired_difference_without_any_change_by_hand():
    # q = 0 for gained = lost = 0 and d >= 0, so n d^2 = z^2 d (1 - d), d = z^2 / (n + z^2).
    for n in (1, 20, 500):
        limit = Z95**2 / (n + Z95**2)
        assert paired_difference(0, 0, n=n) == pytest.approx((-limit, limit))


def test_paired_difference_where_nothing_was_lost_by_hand():
    # lost = 0 makes C = 0, and q = 0 where B >= 0: (5 - 10 d)^2 = z^2 10 d (1 - d), the larger
    # root; B = -5 + 15 d is positive there.
    z = 1.0
    # 100 d^2 - 100 d + 25 = 10 d - 10 d^2  =>  110 d^2 - 110 d + 25 = 0
    high = (110 + math.sqrt(110**2 - 4 * 110 * 25)) / 220
    assert paired_difference(5, 0, n=10, z=z)[1] == pytest.approx(high)


def test_paired_difference_edges_and_symmetry():
    assert paired_difference(0, 0, n=0) == (-1.0, 1.0)
    low, high = paired_difference(7, 7, n=14)
    assert low == pytest.approx(-high)
    for gained, lost, n in ((3, 1, 9), (9, 0, 9), (0, 4, 40), (20, 30, 120)):
        low, high = paired_difference(gained, lost, n=n)
        assert -1 <= low < (gained - lost) / n + 1e-12
        assert (gained - lost) / n - 1e-12 < high <= 1
        assert paired_difference(lost, gained, n=n) == pytest.approx((-high, -low))
    for gained, lost in ((-1, 0), (0, -1), (2, 2)):
        with pytest.raises(SkillRLError, match="cannot be more"):
            paired_difference(gained, lost, n=3)


def test_paired_difference_covers_the_truth_as_often_as_it_says():
    # Exact coverage over all outcomes of 30 tasks at 20 % gained and 10 % lost.
    n, up, down = 30, 0.2, 0.1
    covered = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            ways = math.comb(n, gained) * math.comb(n - gained, lost)
            chance = ways * up**gained * down**lost * (1 - up - down) ** (n - gained - lost)
            if chance > 1e-9:
                low, high = paired_difference(gained, lost, n=n)
                covered += chance * (low <= up - down <= high)
    assert 0.94 < covered < 0.97


def test_mean_interval_by_hand():
    # mean 2, s = 1, t_2 at 97.5 % is 4.30265 (any table): 2 +- 4.30265 / sqrt(3).
    half = 4.30265 / math.sqrt(3)
    assert mean_interval([1, 2, 3], low=-9, high=9) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert mean_interval([1, 2, 3], low=0, high=3) == (0, 3)
    assert mean_interval([0.5], low=0, high=1) == (0, 1)
    assert mean_interval([], low=0, high=1) == (0, 1)
