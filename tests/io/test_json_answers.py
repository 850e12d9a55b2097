"""JSON from outside: decoded, repaired, and never deeper than Python's own functions bear."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.io.json_text import MAX_DEPTH, decode_json, is_real

TEXTS = st.text(st.characters())  # lone surrogates included
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_whatever_was_decoded_can_be_written_again(value):
    found = decode_json(json.dumps(value))
    json.dumps(found, ensure_ascii=False).encode()  # no half character is left


@given(st.binary(max_size=60))
def test_bytes_are_json_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        decode_json(data)


def test_half_an_emoji_and_a_byte_order_mark():
    assert decode_json('{"\\ud83d": ["a\\udc00b"]}') == {"\ufffd": ["a\ufffdb"]}
    assert decode_json(b"\xef\xbb\xbf[1]") == decode_json("\ufeff[1]") == [1]
    assert decode_json(b'"\xed\xa0\xbd"') == "\ufffd"  # a surrogate in raw UTF-8


def test_depth_has_a_limit():
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(decode_json(nested)) == nested
    for deep in (f"[{nested}]", "[" * 100_000, '{"a":' * 100_000):
        with pytest.raises(ValueError):
            decode_json(deep)


@pytest.mark.parametrize(
    ("value", "answer"),
    [(1, True), (-0.5, True), (True, False), ("1", False), (None, False), (float("nan"), False),
     (float("inf"), False), (10**400, False), (1e301, False)],
)  # fmt: skip
def test_numbers_that_arithmetic_can_take(value, answer):
    assert is_real(value) is answer
