"""What counts as a number from outside, and how durations and sizes are said."""

from __future__ import annotations

import pytest

from skillrl.io.json_text import is_real
from skillrl.io.numbers import duration, is_number, is_whole_number, rough_duration, short_number

NOT_NUMBERS = (True, None, "1", [1], float("nan"), float("inf"), -float("inf"), 10**400)


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_no_finite_number_is_refused(value):
    assert not is_number(value)
    assert not is_real(value)


def test_numbers_so_large_that_a_sum_overflows_are_numbers_but_not_real():
    assert all(map(is_number, (0, -3, 1.5, 1e301)))
    assert is_real(1e300)
    assert not is_real(1e301)


def test_whole_numbers_are_ints_and_not_truth_values():
    assert is_whole_number(10**400)
    assert not any(map(is_whole_number, (True, 1.0, "1", None)))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (185, "3m05s"), (7625, "2h07m")]
)
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0.0 s"), (42, "42 s"), (600, "10 min"), (9000, "2.5 h"), (864000, "10 days")],
)
def test_durations_are_words(seconds, words):
    assert rough_duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (930, "930"), (12_300, "12 k"), (3.4e6, "3.4 M"), (5e10, "50 G")],
)
def test_numbers_are_short(number, words):
    assert short_number(number) == words
