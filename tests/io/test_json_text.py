"""JSON from outside: marks, halves of characters, and encodings that are not UTF-8."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.io.json_text import loads

ANY = st.text(st.characters(categories=None))  # surrogates too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY,
    lambda inner: st.lists(inner) | st.dictionaries(ANY, inner),
    max_leaves=10,
)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_it(mark):
    assert loads(mark + b'{"a": "\xc3\xa9"}') == {"a": "é"}
    assert loads((mark + b"[1]").decode()) == [1]


def test_half_an_emoji_is_repaired_and_a_whole_one_is_not():
    assert loads(r'["\ud83d", "\uD83D\uDE00", "\\ud83d"]') == ["\ufffd", "😀", "\\ud83d"]
    assert loads(rb'{"\udc00": {"x": ["\ud83d"]}}') == {"\ufffd": {"x": ["\ufffd"]}}


@given(VALUES)
def test_whatever_comes_out_can_be_written(value):
    found = loads(json.dumps(value))
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    if json.loads(json.dumps(value)) == value:
        assert loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe[\x001\x00]\x00", b'"\xed\xa0\xbd"', b"[\xe9]", b"", b"[1", b"\xef\xbb\xbf"],
)
def test_what_is_no_json_in_utf_8_is_a_value_error(content):
    with pytest.raises(ValueError):  # json.loads takes the first two
        loads(content)
