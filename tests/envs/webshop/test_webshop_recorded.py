"""Everything that the original code answered in the recordings, compared with ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from webshop_recordings import catalogue, goal_of, goals, recorded

from skillrl.envs.webshop import pages
from skillrl.envs.webshop.engine import Place, ShopEngine, ShopSession
from skillrl.envs.webshop.matching import normalize_color, token_set_ratio
from skillrl.envs.webshop.nouns import letters
from skillrl.envs.webshop.reward import Reward, purchase_reward


def test_loading_gives_the_recorded_products() -> None:
    expected = recorded("products")
    shop = catalogue()
    assert [shop.product(i).asin for i in range(len(shop))] == list(expected)
    for number, (asin, entry) in enumerate(expected.items()):
        product = shop.product(number)
        assert shop.number(asin) == number
        assert product.price_text == entry["Price"]
        assert list(product.pricing) == entry["pricing"]
        assert float(goals("human").prices[number]) == entry["price"]
        assert product.query == entry["query"]
        assert list(product.attributes) == entry["Attributes"]
        assert {k: list(v) for k, v in product.options.items()} == entry["options"]
        assert list(product.options) == list(entry["options"])


@pytest.mark.parametrize("kind", ["human", "synthetic"])
def test_goals_and_their_order(kind: str) -> None:
    expected = recorded("goals")[kind]
    assert len(goals(kind)) == len(expected)
    for goal, entry in zip(goals(kind), expected, strict=True):
        options = entry["goal_options"]
        assert goal.asin == entry["asin"]
        assert goal.text == entry["instruction_text"]
        assert list(goal.attributes) == entry["attributes"]
        assert goal.price_upper == entry["price_upper"]
        assert list(goal.options) == list(options.items() if isinstance(options, dict) else options)


def test_prices_do_not_depend_on_the_kind_of_goals() -> None:
    assert (goals("human").prices == goals("synthetic").prices).all()


def _option(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def test_fuzzy_scores_are_those_of_thefuzz() -> None:
    pairs = recorded("matching")["token_set_ratio"]
    assert len(pairs) == 511
    wrong = [
        (left, right, score)
        for left, right, score in pairs
        if token_set_ratio(_option(left), _option(right)) != score
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["normalize_color", "normalize_color_pairs"])
def test_colours(name: str) -> None:
    for text, result in recorded("matching")[name]:
        assert normalize_color(_option(text)) == _option(result)


def test_nouns() -> None:
    titles = recorded("nouns")["titles"]
    assert {title: list(letters(title)) for title in titles} == titles


def _check_details(reward: Reward, info: dict[str, Any], attributes: int, options: int) -> None:
    assert reward.r_type == info["r_type"]
    assert reward.title_score == info["title_score"]
    assert reward.query_match == info["query_match"]
    assert reward.category_match == info["category_match"]
    assert reward.price == info["r_price"]
    assert reward.attributes / attributes == info["r_att"]
    if "r_option" in info:
        assert reward.options / options == info["r_option"]


def test_rewards() -> None:
    cases = recorded("rewards")["cases"]
    assert len(cases) == 600
    shop = catalogue()
    for case in cases:
        goal = goal_of(case["goal"])
        number = shop.number(case["asin"])
        assert number is not None
        reward = purchase_reward(
            shop.product(number),
            goal,
            price=case["price"],
            options=case["options"],
            nouns=letters,
        )
        assert reward.total == case["reward"], case["note"]
        _check_details(reward, case["info"], len(goal.attributes), len(goal.options))


def test_searches_find_what_the_recordings_found() -> None:
    shop = catalogue()
    searches = recorded("episodes")["searches"]
    for query, asins in searches.items():
        found = shop.find(query.split(" "), seed="")
        assert found is not None
        assert [shop.product(number).asin for number in found] == asins, query


class _Recorded:
    """Answers searches with the hits of one recorded step; "" is what the original cannot do."""

    def __init__(self) -> None:
        self.step: dict[str, Any] = {}

    def __call__(self, keywords: Sequence[str], seed: str) -> Sequence[int] | None:
        asins = self.step.get("hits")
        if asins is None:
            asins = recorded("episodes")["searches"][" ".join(keywords)]
        numbers = [catalogue().number(asin) for asin in asins]
        return [number for number in numbers if number is not None]


def _check_page(
    engine: ShopEngine, session: ShopSession, goal: Any, expected: dict[str, Any]
) -> None:
    pieces = engine.page(session, goal)
    assert pages.as_text(pieces) == expected["text"]
    assert pages.as_rich_text(pieces) == expected["text_rich"]
    assert list(engine.clickables(session)) == expected["clickables"]
    assert (session.place is Place.START) == expected["has_search_bar"]
    assert engine.url(session) == expected["url"]


def test_all_pages_of_all_episodes() -> None:
    episodes = recorded("episodes")["episodes"]
    hits = _Recorded()
    engine = ShopEngine(catalogue(), goals("human").prices, nouns=letters, find=hits)
    steps = 0
    for episode in episodes:
        goal = goals(episode["goals"])[episode["session"]]
        assert goal == goal_of(episode["goal"])
        session = ShopSession(number=episode["session"])
        _check_page(engine, session, goal, episode["reset"])
        for step in episode["steps"]:
            hits.step = step
            session, reward, done = engine.step(session, goal, step["action"])
            _check_page(engine, session, goal, step)
            assert (reward, done) == (step["reward"], step["done"])
            if "reward_info" in step:
                assert session.reward is not None
                _check_details(
                    session.reward, step["reward_info"], len(goal.attributes), len(goal.options)
                )
            steps += 1
    assert (len(episodes), steps) == (96, 840)


def test_the_shortcut_searches_by_query_and_category() -> None:
    shop = catalogue()
    for episode in recorded("episodes")["episodes"]:
        for step in episode["steps"]:
            if "hits" in step and step["action"].startswith(("search[<q>", "search[<c>")):
                keywords = step["action"][len("search[") : -1].lower().split(" ")
                found = shop.find(keywords, seed="")
                assert found is not None
                assert [shop.product(number).asin for number in found] == step["hits"]
