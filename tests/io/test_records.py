"""Records from JSON: every field of its declared type, whatever else comes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from skillrl.errors import SkillRLError
from skillrl.io import records


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str
    marks: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outer:
    title: str
    won: bool
    count: int = 0
    score: float = 0.0
    ids: tuple[int, ...] = ()
    one: Inner = Inner("")
    many: tuple[Inner, ...] = ()
    payload: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    share: float | None = 0.5


GOOD = {"title": "t", "won": True}


def test_a_whole_record():
    found = records.read(
        Outer,
        GOOD
        | {
            "count": 3,
            "score": 1,  # a whole number is a number
            "ids": [0, 2**31 - 1],
            "one": {"name": "x", "marks": [0.5, 2]},
            "many": [{"name": "y"}],
            "payload": {"a": [None, {"b": 1.5}]},
            "share": None,
        },
    )
    assert found == Outer(
        "t",
        True,
        3,
        1.0,
        (0, 2**31 - 1),
        Inner("x", (0.5, 2.0)),
        (Inner("y"),),
        {"a": [None, {"b": 1.5}]},
        None,
    )
    assert type(found.score) is float
    assert records.read(Outer, GOOD) == Outer("t", True)


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"won": "false"}, ["field 'won' is 'false'", "true or false"]),
        ({"won": 1}, ["field 'won' is 1"]),
        ({"won": None}, ["field 'won' is None"]),
        ({"title": 3}, ["field 'title' is 3", "a text"]),
        ({"count": -1}, ["field 'count' is -1", "from 0"]),
        ({"count": True}, ["field 'count' is True"]),
        ({"count": 1.0}, ["field 'count' is 1.0"]),
        ({"count": 2**31}, ["field 'count' is 2147483648"]),
        ({"score": float("nan")}, ["field 'score' is nan", "finite"]),
        ({"score": 10**400}, ["field 'score' is 1000", "finite"]),
        ({"score": "1"}, ["field 'score' is '1'"]),
        ({"ids": [1, -2]}, ["field 'ids' has -2 as item 1", "from 0"]),
        ({"ids": [1, "2"]}, ["field 'ids' has '2' as item 1"]),
        ({"ids": [True]}, ["field 'ids' has True as item 0"]),
        ({"ids": "12"}, ["field 'ids' is '12'", "a list"]),
        ({"ids": {}}, ["field 'ids' is {}", "a list"]),
        ({"one": "x"}, ["one: is 'x'", "an object"]),
        ({"one": {}}, ["one: field 'name' is missing"]),
        ({"one": {"name": "x", "marks": [1.0, float("inf")]}}, ["one: field 'marks' has inf"]),
        ({"many": {}}, ["field 'many' is {}", "a list"]),
        ({"many": [{"name": "x"}, 3]}, ["many[1]: is 3"]),
        ({"payload": []}, ["field 'payload' is []"]),
        ({"payload": {"a": float("inf")}}, ["field 'payload'", "plain JSON"]),
        ({"payload": {"a": DEEP}}, ["field 'payload'", "plain JSON"]),
        ({"share": "0.5"}, ["field 'share' is '0.5'", "a finite number"]),
        ({"colour": "red"}, ["unknown field 'colour'", "title, won, count"]),
        ({"title": "x" * 10**6, "won": 3}, ["field 'won' is 3"]),
        ({"won": "x" * 10**6}, ["field 'won' is 'xxx", "..."]),
    ],
)
def test_each_field_is_checked_and_named(change, words):
    with pytest.raises(SkillRLError) as caught:
        records.read(Outer, GOOD | change, "here")
    assert str(caught.value).startswith("here")
    for word in words:
        assert word in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 3, "text", [GOOD]])
def test_what_is_no_object(value):
    with pytest.raises(SkillRLError, match="must be an object"):
        records.read(Outer, value)


def test_what_is_missing_is_named():
    with pytest.raises(SkillRLError, match="field 'won' is missing"):
        records.read(Outer, {"title": "t"})
