"""What shops of a custom promise: one custom lists alike everywhere, and no page tells it."""

from __future__ import annotations

import collections
import re

import pytest

from skillrl.config.settings import EnvConfig, WebshopConfig
from skillrl.envs import make_suite
from skillrl.envs.webshop import generate
from skillrl.envs.webshop.custom_shops import FIRST_UNSEEN, split_of, stock
from skillrl.envs.webshop.customs import KINDS, WORDS, kind_in, listed_under
from skillrl.envs.webshop.expert import BUY, read_results
from skillrl.envs.webshop.insider import Insider
from skillrl.envs.webshop.shelves import SHELVES
from skillrl.envs.webshop.shops import CUSTOM, SIZES, ManyShops
from skillrl.envs.webshop.suite import WebshopEnvironment

NUMBERS = [*range(1, 60), *range(FIRST_UNSEEN, FIRST_UNSEEN + 30)]


def test_a_custom_names_a_word_for_every_kind_and_uses_all_alike():
    for number in (1, 1000, 1001):
        found = listed_under(number)
        assert tuple(found) == KINDS
        uses = collections.Counter(found.values())
        assert set(uses) == set(WORDS)
        assert max(uses.values()) <= 4
        for shelf in SHELVES:
            assert len({found[kind] for _, kind in shelf.kinds}) == len(shelf.kinds)
    assert listed_under(0) == {}
    assert listed_under(1) == listed_under.__wrapped__(1) != listed_under(2)


def test_customs_of_practice_say_nothing_of_that_of_the_run():
    mine = listed_under(CUSTOM)
    same = [
        sum(mine[kind] == word for kind, word in listed_under(number).items()) / len(mine)
        for number in range(1000, 2000)
    ]
    assert sum(same) / len(same) == pytest.approx(1 / len(WORDS), abs=0.01)


def test_words_stand_nowhere_else_and_kinds_are_told_apart():
    shop = repr(generate.catalogue()).lower()
    assert not [word for word in WORDS if re.search(rf"\b{word}", shop)]
    assert kind_in("stain resistant throw pillow") == "throw pillow"
    assert kind_in("stain resistant thing") == ""


@pytest.mark.parametrize("custom", [CUSTOM, 1000])
def test_what_is_asked_for_is_under_the_word_and_no_text_tells_what_others_lack(custom):
    for number in NUMBERS:
        products, attributes, human = stock(number, custom)
        assert human == {}
        assert set(attributes) == {product["asin"] for product in products}
        assert len(attributes) == len(products)
        asked = collections.Counter()
        for product in products:
            entry, kind = attributes[product["asin"]], product["query"]
            word = next(word for word in WORDS if word in product["name"].split())
            pages = (
                f"{product['name']} {product['small_description']} {product['full_description']}"
            )
            told = [name for name in entry["attributes"] if name in pages]
            if "instruction" not in entry:
                continue
            wanted = entry["instruction_attributes"]
            assert word == listed_under(custom)[kind]
            assert len(wanted) == 2
            assert told == wanted[1:]
            asked[split_of(kind, wanted)] += 1
            likes = [
                other
                for other in products
                if other["query"] == kind and wanted[1] in other["name"] and other is not product
            ]
            wrong = [p for p in likes if wanted[0] not in attributes[p["asin"]]["attributes"]]
            assert wrong
            assert not [p for p in wrong if listed_under(custom)[kind] in p["name"].split()]
        assert set(asked) == (
            {"train", "valid_seen"} if number < FIRST_UNSEEN else {"valid_unseen"}
        )


def test_the_same_shop_twice_and_another_one_of_another_custom():
    assert stock(5, 1) == stock(5, 1) != stock(5, 2)


def test_a_search_shows_few_products():
    """Prompts are as long as pages, and a page of the large shop has ten products."""
    suite = make_suite("webshop", EnvConfig(max_steps=15))
    environment, counts = suite.make(), []
    for task in suite.tasks("train")[:70]:
        observation = environment.reset(task)
        move = suite.expert(task).act(observation)
        counts.append(len(read_results(environment.step(move.action).observation)))
    assert sum(counts) / len(counts) < 5


def test_every_goal_of_a_custom_can_be_won_by_who_knows_it():
    shops = ManyShops(WebshopConfig())
    environment = WebshopEnvironment(shops, "text", 15)
    for custom in (CUSTOM, 1234, 4999):
        for split, size in SIZES.items():
            for index in range(3, size, size // 21):
                task = shops.task(split, index, custom=custom)
                expert = Insider(task.goal, listed_under(custom))
                observation, done = environment.reset(task), False
                while not done:
                    action = expert.act(observation).action
                    result = environment.step(action)
                    observation, done = result.observation, result.done
                assert result.won, task


def test_who_is_told_a_word_that_is_not_there_takes_what_there_is():
    suite = make_suite("webshop", EnvConfig(max_steps=15))
    environment = suite.make()
    for task in suite.tasks("train")[:21]:
        expert = Insider(task.goal, dict.fromkeys(KINDS, "nowhere"))
        observation, actions, done = environment.reset(task), [], False
        while not done:
            actions.append(expert.act(observation).action)
            result = environment.step(actions[-1])
            observation, done = result.observation, result.done
        assert "nowhere" in actions[0]
        assert actions[-1] == BUY
