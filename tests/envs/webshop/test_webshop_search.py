"""What a catalogue finds by the original's shortcuts."""

from __future__ import annotations

import pytest
from webshop_recordings import FOLDER

from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.sources import find


@pytest.fixture(scope="module")
def shop() -> Catalogue:
    return Catalogue(find(FOLDER / "catalogue"))


def test_random_search_is_a_function_of_its_seed(shop: Catalogue) -> None:
    first, again, other = (shop.find(["<r>"], seed=seed) for seed in ("0/1", "0/1", "0/2"))
    assert first is not None
    assert len(set(first)) == 50
    assert first == again != other


@pytest.mark.parametrize("keywords", [["<a>", "cotton"], ["<a>"], ["<c>"]])
def test_searches_that_the_original_cannot_answer(shop: Catalogue, keywords: list[str]) -> None:
    assert shop.find(keywords, seed="") is None


def test_shortcuts_list_by_equality(shop: Catalogue) -> None:
    assert shop.find(["<c>", "garden"], seed="")
    assert shop.find(["<c>", "gardens"], seed="") == ()
    found = shop.find(["<q>", "ankle", "boots"], seed="")
    assert found is not None
    assert {shop.product(number).query for number in found} == {"ankle boots"}
    assert shop.number("S26") is not None
    assert shop.number("s26") is None
