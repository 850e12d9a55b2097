"""What holds for any actions; pages and oddities are compared with recordings elsewhere."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webshop_recordings import FOLDER, catalogue, goals

from skillrl.envs.webshop import pages
from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.engine import Place, ShopEngine, ShopSession, parse_action
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.nouns import letters
from skillrl.envs.webshop.sources import Lists, find

NOT_UNDERSTOOD = [
    "",
    "search",
    "search[]",
    "click[]",
    "Search[lamp]",
    " search[lamp]",
    "think[lamp]",
    "click[search]",
    "click[buy now]",
    "click[nowhere]",
    "search[<a> cotton]",
    "search[<c>]",
    "buy now",
]


@pytest.fixture(scope="module")
def engine() -> ShopEngine:
    return ShopEngine(catalogue(), goals("human").prices, nouns=letters)


@pytest.mark.parametrize("action", NOT_UNDERSTOOD)
def test_what_is_not_understood_changes_nothing(engine: ShopEngine, action: str) -> None:
    session = ShopSession(number=3)
    assert engine.step(session, goals("human")[3], action) == (session, 0.0, False)


@settings(max_examples=500)
@given(st.text(alphabet="a[]\n", max_size=12))
def test_actions_are_parsed_as_by_the_original_expression(action: str) -> None:
    match = re.match(r"(.+)\[(.+)\]", action)
    assert parse_action(action) == (match and (match[1], match[2]))


@pytest.mark.parametrize("end", ["", "]", "x]"])
def test_many_brackets_are_answered(engine: ShopEngine, end: str) -> None:
    session = ShopSession(number=3)
    action = "[" * 200_000 + end
    assert engine.step(session, goals("human")[3], action) == (session, 0.0, False)


def _walk(engine: ShopEngine, seed: int) -> list[str]:
    """Pages of a random walk that clicks whatever can be clicked."""
    rng, goal, session, seen = (
        random.Random(seed),
        goals("synthetic")[seed % 50],
        ShopSession(number=0),
        [],
    )
    for _ in range(25):
        offers = [f"click[{text}]" for text in engine.clickables(session)]
        words = rng.choice(["oddity", "search_results item_page", '"red" shoes', "<r>", "7.5"])
        session = engine.step(session, goal, rng.choice([*offers, f"search[{words}]"])).session
        pieces = engine.page(session, goal)
        seen += [pages.as_text(pieces), pages.as_rich_text(pieces), engine.url(session)]
    return seen


def test_walks_are_the_same_every_time() -> None:
    shop = Catalogue(find(FOLDER / "catalogue"))
    engines = [ShopEngine(shop, goals("human").prices, nouns=letters) for _ in range(2)]
    for seed in range(60):
        assert _walk(engines[0], seed) == _walk(engines[1], seed)


@given(st.text(), st.text())
def test_any_text_is_answered(verb: str, argument: str) -> None:
    engine = ShopEngine(catalogue(), goals("human").prices, nouns=letters)
    goal = goals("human")[0]
    for action in (verb, f"search[{argument}]", f"click[{argument}]", f"{verb}[{argument}]"):
        session, reward, done = engine.step(ShopSession(number=0), goal, action)
        assert (reward, done) == (0.0, False)
        assert session.place in (Place.START, Place.RESULTS)


def test_a_product_called_like_a_button_is_opened() -> None:
    products = [{"asin": asin, "name": "Lamp"} for asin in ("features", "BUY NOW")]
    extras = {"features": {"instruction": "a lamp", "instruction_attributes": ["soft"]}}
    shop = Catalogue(Lists(products, extras, {}, name="odd"))
    made = Goals(shop, kind="synthetic", seed=0)
    engine = ShopEngine(shop, made.prices, nouns=letters)
    for asin in ("features", "buy now"):
        session = engine.step(ShopSession(number=0), made[0], "search[lamp]").session
        session = engine.step(session, made[0], f"click[{asin}]").session
        assert session.place is Place.ITEM
