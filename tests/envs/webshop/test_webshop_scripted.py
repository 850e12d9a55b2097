"""Three scripted episodes on a shop of three products, with rewards of exactly 1.0, 0.5 and 0.2."""

from __future__ import annotations

from typing import Any

import pytest

from skillrl.envs.webshop.catalogue import Catalogue
from skillrl.envs.webshop.engine import ShopEngine, ShopSession
from skillrl.envs.webshop.goals import Goals
from skillrl.envs.webshop.nouns import letters
from skillrl.envs.webshop.sources import Lists

SHIRT, BLOUSE, COAT = "B000000001", "B000000002", "B000000003"


def _product(asin: str, name: str, *, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "asin": asin,
        "name": name,
        "category": "fashion",
        "query": kind,
        "product_category": f"Clothing › {kind}",
        "full_description": "",
        "small_description": ["Ships from the maker."],
        "pricing": "$19.99",
        "customization_options": {
            "Color": [{"value": "Navy"}, {"value": "Teal"}],
            "Size": [{"value": "Small"}, {"value": "Large"}],
        },
        "images": ["https://example.com/1.jpg"],
        **more,
    }


@pytest.fixture(scope="module")
def shop() -> Catalogue:
    products = [
        _product(SHIRT, "Harbor Linen Camp Shirt Collar Pocket", kind="shirts"),
        _product(BLOUSE, "Meadow Blouse Pocket", kind="blouses"),
        _product(COAT, "Harbor Linen Shirt Coat", kind="shirts"),
    ]
    wanted = ["machine wash", "long sleeve"]
    extras = {
        SHIRT: {
            "attributes": wanted,
            "instruction": "Find me machine wash, long sleeve shirts",
            "instruction_attributes": wanted,
        },
        BLOUSE: {"attributes": ["machine washable", "long sleeve"]},
        COAT: {"attributes": ["dry clean"]},
    }
    return Catalogue(Lists(products, extras, {}, name="three products"))


@pytest.mark.parametrize(
    ("actions", "reward", "why"),
    [
        (
            ["search[linen camp shirt]", f"click[{SHIRT}]", "click[navy]", "click[small]"],
            1.0,
            (2, 2, True, 1.0, 1.0),
        ),
        (
            ["search[meadow blouse]", f"click[{BLOUSE}]", "click[navy]", "click[small]"],
            0.5,  # all that was asked for, on another type of product: 5 of 5, halved
            (2, 2, True, 0.5, 1 / 6),
        ),
        (
            ["search[shirt coat]", f"click[{COAT}]", "click[teal]", "click[large]"],
            0.2,  # of five things only the price
            (0, 0, True, 1.0, 3 / 6),
        ),
    ],
)
def test_scripted_episode(
    shop: Catalogue, actions: list[str], reward: float, why: tuple[Any, ...]
) -> None:
    goals = Goals(shop, kind="synthetic", seed=0)
    goal = next(goal for goal in goals if dict(goal.options) == {"color": "navy", "size": "small"})
    assert goal.text.startswith(
        "Find me machine wash, long sleeve shirts with color: navy, and size: small, and price"
    )
    engine = ShopEngine(shop, goals.prices, nouns=letters)
    session = ShopSession(number=0)
    for action in actions:
        before, (session, earned, done) = session, engine.step(session, goal, action)
        assert (earned, done) == (0.0, False)
        assert session != before
    session, earned, done = engine.step(session, goal, "click[Buy Now]")
    assert (earned, done) == (reward, True)
    bought = session.reward
    assert bought is not None
    assert why == (
        bought.attributes,
        bought.options,
        bought.price,
        bought.r_type,
        bought.title_score,
    )
    assert engine.clickables(session) == {}
