"""Exact match, against cases worked out by hand from the normalisation's definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.envs.search.grade import exact_match, normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Beatles", "beatles"),
        ("  A  tale of\nTwo Cities. ", "tale of two cities"),
        ("U.S.A.", "usa"),
        ("U. S. A.", "u s"),  # the last letter becomes the article
        ("rock-n-roll", "rocknroll"),
        ("theatre", "theatre"),
        ("an", ""),
        ("It's", "its"),
        ("Ärger", "ärger"),
        ("«Emma»", "«emma»"),  # only string.punctuation goes
        ("1,000", "1000"),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("prediction", "golden", "equal"),
    [
        ("the Jane Austen!", ["Jane Austen"], True),
        ("jane austen", ["Emma", "JANE AUSTEN."], True),
        ("Jane", ["Jane Austen"], False),
        ("Jane Austen of Steventon", ["Jane Austen"], False),
        ("", ["Jane Austen"], False),
        ("The", ["a"], True),  # nothing is left of both
        ("Jane Austen", [], False),
    ],
)
def test_exact_match(prediction, golden, equal):
    assert exact_match(prediction, golden) is equal


@given(st.text())
def test_an_answer_equals_itself_with_articles_case_and_punctuation(text):
    assert exact_match(f" the {text.lower()}", [text])
    assert normalise(text) == normalise(f"{text}.")
