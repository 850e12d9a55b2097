"""Splits share no goal and no sentence, and by product they share no product either."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.envs.base import SPLITS
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.sources import Lists
from skillrl.envs.webshop.splits import HELD_OUT, divide
from skillrl.errors import SkillRLError


@pytest.mark.parametrize(
    ("layout", "sizes"), [("skillrl", (1500, 0, 500)), ("original", (500, 1000, 500))]
)
def test_released_layouts(layout: str, sizes: tuple[int, int, int]) -> None:
    splits = divide(np.arange(2000), layout, sentences=np.arange(2000))
    assert tuple(len(splits[split]) for split in SPLITS) == sizes
    assert list(splits["valid_unseen"]) == list(range(500))
    assert next(iter(splits["train"])) == {"skillrl": 500, "original": 1500}[layout]
    assert sorted(goal for split in SPLITS for goal in splits[split]) == list(range(2000))


@given(st.lists(st.integers(0, 30), max_size=300))
def test_by_product(rows: list[int]) -> None:
    splits = divide(np.array(rows, dtype=int), "products", sentences=np.arange(len(rows)))
    assert sorted(goal for split in SPLITS for goal in splits[split]) == list(range(len(rows)))
    products = {split: {rows[goal] for goal in splits[split]} for split in SPLITS}
    assert not products["valid_unseen"] & (products["train"] | products["valid_seen"])
    assert products["valid_seen"] <= products["train"]
    assert all(list(goals) == sorted(goals) for goals in splits.values())


def test_held_out_parts_do_not_grow_with_the_catalogue() -> None:
    rows = np.random.default_rng(0).integers(0, 3000, 12000)
    splits = divide(rows, "products", sentences=np.arange(12000))
    assert len(splits["valid_seen"]) == HELD_OUT
    assert HELD_OUT <= len(splits["valid_unseen"]) < HELD_OUT + 20


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 25)), max_size=120))
def test_by_product_no_sentence_is_in_two_splits(goals: list[tuple[int, int]]) -> None:
    rows, sentences = (np.array([pair[i] for pair in goals], dtype=int) for i in (0, 1))
    splits = divide(rows, "products", sentences=sentences)
    assert sorted(goal for split in SPLITS for goal in splits[split]) == list(range(len(goals)))
    texts = {split: {int(sentences[goal]) for goal in splits[split]} for split in SPLITS}
    assert not texts["train"] & texts["valid_seen"]
    assert not texts["valid_unseen"] & (texts["train"] | texts["valid_seen"])
    products = {split: {int(rows[goal]) for goal in splits[split]} for split in SPLITS}
    assert not products["valid_unseen"] & (products["train"] | products["valid_seen"])
    assert products["valid_seen"] <= products["train"]


def test_released_layouts_leave_out_what_is_held_out() -> None:
    sentences = np.arange(2000)
    sentences[[700, 1600]] = 3  # of valid_unseen
    sentences[1700] = 900  # of the dev goals of the paper
    skillrl = divide(np.arange(2000), "skillrl", sentences=sentences)
    assert list(skillrl["valid_unseen"]) == list(range(500))
    assert set(range(500, 2000)) - set(skillrl["train"]) == {700, 1600}
    original = divide(np.arange(2000), "original", sentences=sentences)
    assert list(original["valid_unseen"]) == list(range(500))
    assert set(range(500, 1500)) - set(original["valid_seen"]) == {700}
    assert set(range(1500, 2000)) - set(original["train"]) == {1600, 1700}


def test_a_layout_whose_training_goals_are_all_held_out_says_so() -> None:
    with pytest.raises(SkillRLError, match=r"none is left.*split=products"):
        divide(np.arange(600), "skillrl", sentences=np.arange(600) % 100)


_VALUES = ["Red", "red ", "S/M", "S | M"]
"""Two values, once they are cleaned."""


def _goals(listings: int, *, kind: str = "synthetic") -> Goals:
    """Of so many lamps with `_VALUES`, the first of which is listed under two asins."""
    options = {"Color": [{"value": value} for value in _VALUES]}
    names = {"TWIN": "lamp 0"} | {f"L{number}": f"lamp {number}" for number in range(listings)}
    products = [
        {"asin": asin, "name": name, "pricing": "$955", "customization_options": options}
        for asin, name in names.items()
    ]
    wish = {"instruction_attributes": ["soft"], "instruction_options": []}
    extras = {asin: {"instruction": f"Find me {name}", **wish} for asin, name in names.items()}
    human = {asin: [{"instruction": f"A {name}.", **wish}] * 4 for asin, name in names.items()}
    return Goals(Catalogue(Lists(products, extras, human, name="twins")), kind=kind, seed=0)


@pytest.mark.parametrize("kind", ["synthetic", "human"])
def test_sentences_tell_texts_apart(kind: str) -> None:
    goals = _goals(4, kind=kind)
    texts = [goal.text for goal in goals]
    assert len(texts) == 20
    keys = goals.sentences.tolist()
    assert len(set(keys)) == len(set(texts)) == len(set(zip(keys, texts, strict=True))) < 20
    start = "Find me lamp 0 with color: s | m, and price" if kind == "synthetic" else "A lamp 0, "
    assert any(text.startswith(start) for text in texts)


@pytest.mark.parametrize("layout", ["products", "skillrl", "original"])
def test_values_and_listings_that_are_equal_once_cleaned(layout: str) -> None:
    goals = _goals(500)
    splits = divide(goals.rows, layout, sentences=goals.sentences)
    texts = {split: {goals[goal].text for goal in splits[split]} for split in SPLITS}
    assert texts["train"]
    assert texts["valid_unseen"]
    assert not texts["train"] & texts["valid_seen"]
    assert not texts["valid_unseen"] & (texts["train"] | texts["valid_seen"])
