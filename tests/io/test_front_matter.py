"""Front matter: what JSON can say comes through exactly, all else is refused in one sentence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.io import front_matter

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXTS, PLAIN, max_size=4), TEXTS.map(lambda t: t.replace("\r", "")))
def test_what_is_written_is_read(values, body):
    assert front_matter.split(front_matter.join(values, body)) == (values, f"\n{body}\n")


@settings(max_examples=100, deadline=None)
@given(st.text("-:?[]{}&*!|>'\"#%@` \n\tab01.~,<", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        values, body = front_matter.split(f"---\n{text}\n---\nbody")
    except SkillRLError:
        return
    assert isinstance(values, dict)
    assert body.endswith("body")
    assert front_matter.split(front_matter.join(values, "x"))[0] == values


def test_a_word_is_a_number_or_a_truth_value_only_where_nothing_is_lost():
    text = (
        "---\nday: 2026-01-31\nversion: 1.10\nhalf: 0.5\nyes: yes\non: off\ntrue_: true\n"
        "zip: 012\ncount: 7\nhex: 0x1F\nquoted: '7'\nnothing:\nbig: 1e9\nnan: .nan\nsum: =\n"
        "long: |\n  one\n  two\nfolded: >-\n  one\n  two\nflow: [a, 1]\n---\n"
    )
    values, _ = front_matter.split(text)
    assert values == {
        "day": "2026-01-31", "version": "1.10", "half": 0.5, "yes": "yes", "on": "off",
        "true_": True, "zip": "012", "count": 7, "hex": "0x1F", "quoted": "7", "nothing": None,
        "big": "1e9", "nan": ".nan", "sum": "=", "long": "one\ntwo\n", "folded": "one two",
        "flow": ["a", 1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x", ["first line is 'name: x'", "'---'"]),
        ("---\nname: x", ["no end"]),
        ("---\na: *b\n---\n", ["line 2", "alias *b"]),
        ("---\na: &b [1]\nc: [*b, *b]\n---\n", ["line 3", "alias *b"]),
        ("---\na: !!python/object/apply:os.system [ls]\n---\n", ["line 2", "tag", "Remove"]),
        ("---\na: !mine x\n---\n", ["tag '!mine'"]),
        ("---\na: !!binary aGk=\n---\n", ["tag"]),
        ("---\na: 1\nb: 2\na: 3\n---\n", ["line 4", "'a' occurs twice"]),
        ("---\nm:\n  a: 1\n  a: 3\n---\n", ["line 4", "'a' occurs twice"]),
        ("---\n1: x\n---\n", ["key 1 is not a text"]),
        ("---\n? [a]\n: x\n---\n", ["not a text"]),
        ("---\ntrue: x\n---\n", ["key True is not a text"]),
        ("---\n- a\n---\n", ["['a']", "mapping"]),
        ("---\njust words\n---\n", ["'just words'", "mapping"]),
        ("---\na: b: c\n---\n", ["not YAML", "line 2", "Quote"]),
        ("---\na: [1\n---\n", ["not YAML"]),
        ("---\na: \x07\n---\n", ["not YAML"]),
        ('---\na: "\\Uffffffff"\n---\n', ["not YAML"]),
        ("---\na: " + "[" * 50 + "]" * 50 + "\n---\n", ["line 2", "flat"]),
        ("---\n" + "".join(f"k{i}: v\n" for i in range(2000)) + "---\n", ["shorten"]),
        ("---\na: " + "x" * 70_000 + "\n---\n", ["70,003 characters"]),
    ],
)
def test_what_is_refused_is_named(text, words):
    with pytest.raises(SkillRLError) as caught:
        front_matter.split(text)
    for word in words:
        assert word in str(caught.value)


def test_lines_may_end_as_on_windows_and_there_may_be_nothing():
    assert front_matter.split("---\r\na: b\r\n---\r\nx\r\n") == ({"a": "b"}, "x\n")
    assert front_matter.split("---\n---\n") == ({}, "")
    assert front_matter.split("---\n# nothing\n---\n") == ({}, "")


def test_what_could_not_be_read_again_is_not_written():
    with pytest.raises(SkillRLError, match="70,004 characters"):
        front_matter.join({"a": "x" * 70_000}, "")
