import doctest
import math

import pytest

from skillrl.errors import SkillRLError
from skillrl.evaluation import intervals
from skillrl.evaluation.intervals import Z95, difference, wilson


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
