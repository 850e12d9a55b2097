"""The generated shops: official schema, small vocabulary, confusable families."""

import collections
import json
import re
import subprocess
import sys

import pytest

from skillrl.envs.webshop import categories
from skillrl.envs.webshop.categories import CATEGORIES
from skillrl.envs.webshop.expert import parse_goal
from skillrl.envs.webshop.generate import (
    FILES,
    asin_parts,
    catalogue,
    category_of,
    write,
)
from skillrl.envs.webshop.product import read_product
from skillrl.errors import SkillRLError


@pytest.fixture(scope="module")
def shop():
    return catalogue()


def _dollars(product):
    return float(product["pricing"].removeprefix("$"))


def _values(product):
    return {
        name: [entry["value"] for entry in entries]
        for name, entries in product["customization_options"].items()
    }


def test_products_have_the_official_schema(shop):
    products, attributes, human = shop
    asins = [product["asin"] for product in products]
    assert len(set(asins)) == len(asins) == 420
    assert set(attributes) == set(asins) >= set(human)
    for product in products:
        assert re.fullmatch(r"[A-Z0-9]{10}", product["asin"])
        assert 5 <= len(product["name"].split()) <= 9
        assert re.fullmatch(r"\$\d\d\.00", product["pricing"])
        assert len(product["product_category"].split(" › ")) == 3
        assert all(product[key] for key in ("images", "query", "full_description"))
        assert all(isinstance(line, str) and line for line in product["small_description"])
        for values in _values(product).values():
            assert 2 <= len(values) == len(set(values)) <= 4


def test_no_value_stands_in_two_options_or_is_a_button(shop):
    buttons = {"search", "description", "features", "reviews", "attributes", "buy now"}
    for product in shop[0]:
        values = [value for options in _values(product).values() for value in options]
        assert len(values) == len(set(values))
        assert not buttons & {*values, *_values(product)}


def test_categories_are_those_of_the_skill_bank_and_equally_large(shop):
    counts = collections.Counter(category_of(product) for product in shop[0])
    assert counts == dict.fromkeys(CATEGORIES, 60)
    for product in shop[0]:  # as if it were an official one
        read = read_product(product, None, where="the shop")
        assert category_of(product) == categories.category_of(read)
    with pytest.raises(SkillRLError, match="Gardening"):
        category_of({"product_category": "Gardening › Tools › Spades"})


def test_the_whole_shop_says_few_words(shop):
    text = json.dumps(shop).lower().replace("https://example.com", "")
    assert len(set(re.findall(r"[a-z]+", text))) < 350
    assert len({product["pricing"] for product in shop[0]}) <= 9


def test_an_asin_is_two_of_few_parts_and_the_first_tells_neighbours_apart(shop):
    parts = set(asin_parts())
    kinds = collections.defaultdict(list)
    for product in shop[0]:
        head, tail = product["asin"][:5], product["asin"][5:]
        assert {head, tail} <= parts
        kinds[product["query"]].append(head)
    assert len(parts) == 105
    assert all(len(set(heads)) == len(heads) == 15 for heads in kinds.values())


def test_what_is_asked_for_can_be_read(shop):
    products, attributes, human = shop
    for product in products:
        entry = attributes[product["asin"]]
        texts = [product["name"], "\n".join(product["small_description"])]
        for attribute in entry["attributes"]:
            assert any(attribute in text for text in texts)
        assert set(entry.get("instruction_attributes", ())) <= set(entry["attributes"])
        if "instruction" in entry:
            assert entry["instruction"].startswith("Find me ")
            assert entry["instruction"].endswith(product["query"])
            assert entry["instruction_attributes"]
    for asin, instructions in human.items():
        for instruction in instructions:
            wanted = instruction["instruction_attributes"] + instruction["instruction_options"]
            assert wanted
            assert all(words in instruction["instruction"] for words in wanted)
            assert set(instruction["instruction_attributes"]) <= set(attributes[asin]["attributes"])
    assert sum(map(len, human.values())) == 42


def test_every_asked_product_has_a_confusable_one(shop):
    products, attributes, _ = shop
    asked = [p for p in products if "instruction" in attributes[p["asin"]]]
    assert len(asked) == 28 * 9
    for product in asked:
        mine = set(attributes[product["asin"]]["instruction_attributes"])
        twins = [
            other
            for other in products
            if other is not product
            and other["query"] == product["query"]
            and mine & set(attributes[other["asin"]]["attributes"])
        ]
        assert twins
        assert any(
            _dollars(other) != _dollars(product)
            or _values(other) != _values(product)
            or not mine <= set(attributes[other["asin"]]["attributes"])
            for other in twins
        )


def test_what_is_not_asked_for_costs_more_than_any_bound_of_its_twins(shop):
    products, attributes, _ = shop
    by_asin = {product["asin"]: product for product in products}
    for product in products:
        if "instruction" in attributes[product["asin"]]:
            continue
        twins = [
            by_asin[asin]
            for asin, entry in attributes.items()
            if entry["attributes"] == attributes[product["asin"]]["attributes"]
            and "instruction" in entry
            and by_asin[asin]["query"] == product["query"]
        ]
        assert twins
        for twin in twins:  # bounds: the first four multiples of 10 above the price
            assert _dollars(product) > (_dollars(twin) // 10 + 4) * 10


def test_every_instruction_is_understood_by_the_expert(shop):
    products, attributes, _ = shop
    for product in products:
        if instruction := attributes[product["asin"]].get("instruction"):
            assert parse_goal(instruction).phrase == instruction[8:].replace(",", "")


def test_callers_get_copies():
    catalogue()[0].clear()
    assert catalogue()[0]


def test_files_are_the_catalogue(tmp_path, shop):
    paths = write(tmp_path / "shop")
    assert tuple(path.name for path in paths) == FILES
    assert [json.loads(path.read_text("utf-8")) for path in paths] == list(shop)


def test_another_process_generates_the_same_shops():
    code = (
        "import hashlib, json; from skillrl.envs.webshop.custom_shops import stock;"
        "from skillrl.envs.webshop.generate import catalogue;"
        "text = json.dumps([catalogue(), stock(1, 1), stock(3004, 1), stock(700, 1234)]);"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    for seed in ("0", "17"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.startswith("c40d643012971d5e")  # what was measured; change it knowingly
