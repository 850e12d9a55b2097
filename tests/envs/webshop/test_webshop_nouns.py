"""Noun finders by name; the rule itself is compared with its recordings elsewhere."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from skillrl.envs.webshop import nouns
from skillrl.errors import SkillRLError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    nouns._spacy.cache_clear()
    yield
    nouns._spacy.cache_clear()


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("Women's T-Shirt - Set of 2", ("t-shirt", "set")),
        ("Box box BOX", ("box", "box", "box")),
        ("ÉCLAIR x 4", ("clair",)),
        ("100% 3.5", ()),
    ],
)
def test_letters(title: str, found: tuple[str, ...]) -> None:
    assert nouns.letters(title) == found
    assert nouns.tagger("letters") is nouns.letters


def _fake_spacy(monkeypatch: pytest.MonkeyPatch, *, model: bool) -> None:
    """A stand-in for the library: words with a capital are proper nouns."""

    def load(name: str) -> object:
        if not model:
            raise OSError(f"[E050] Can't find model {name!r}.")
        return lambda title: [
            types.SimpleNamespace(text=word, pos_="PROPN" if word.istitle() else "ADJ")
            for word in title.split()
        ]

    monkeypatch.setitem(sys.modules, "spacy", types.SimpleNamespace(load=load))


def test_tagger_keeps_nouns_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_spacy(monkeypatch, model=True)
    assert nouns.tagger("spacy")("Red soft Lamp Red") == ("red", "lamp", "red")


def test_a_missing_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_spacy(monkeypatch, model=False)
    with pytest.raises(SkillRLError, match="spacy download en_core_web_sm"):
        nouns.tagger("spacy")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(SkillRLError, match="pip install spacy"):
        nouns.tagger("spacy")


def test_other_names_are_refused() -> None:
    with pytest.raises(SkillRLError, match="nouns=nltk: use letters or spacy"):
        nouns.tagger("nltk")
