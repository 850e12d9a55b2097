"""Half an emoji and control characters: repaired where they enter, shown as what they are."""

from hypothesis import given
from hypothesis import strategies as st

from skillrl.text import printable, repair

ANY = st.text(st.characters(categories=None))  # surrogates too


def test_lone_surrogates_become_the_replacement_character():
    assert repair("a\ud83db") == "a\ufffdb"
    assert repair({"\udc00": ["\ud800", 1, None, ("x", "\udfff")]}) == {
        "\ufffd": ["\ufffd", 1, None, ("x", "\ufffd")]
    }


def test_what_is_valid_is_not_copied():
    value = {"a": ["b", {"c": "😀"}], "d": ()}
    assert repair(value) is value


@given(ANY)
def test_whatever_comes_out_can_be_encoded(text):
    repair(text).encode("utf-8")
    assert repair(repair(text)) == repair(text)


def test_control_characters_are_shown():
    assert printable("\x1b[2Jgone\x07 \x9bA\u202e\n\tkept é") == (
        "\\x1b[2Jgone\\x07 \\x9bA\\u202e\n\tkept é"
    )


@given(ANY)
def test_printable_text_has_none_left(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert all(
        char in "\n\t" or not ("\0" <= char < " " or "\x7f" <= char < "\xa0") for char in shown
    )
