"""The released router: what it finds, and what it is known to miss."""

import pytest

from skillrl.skills.keyword_router import route
from skillrl.skills.retrieval import get_retrieval, retrieve
from skillrl.types import GENERAL, Task
from tests.skills.builders import CLEAN, HEAT, LOOK, PICK, TWO, TableEmbedder, bank_of

COOL = "pick_cool_then_place_in_recep"
HOUSEHOLD = (PICK, LOOK, CLEAN, HEAT, COOL, TWO)
SHOP = ("apparel", "footwear", "home_decor", "electronics", "accessories", "beauty_health", "other")


@pytest.mark.parametrize(
    ("goal", "category"),
    [
        ("put some book on bed", PICK),
        ("look at bowl under the desklamp", LOOK),
        ("examine the pen with the desklamp", LOOK),
        ("clean some apple and put it in fridge", CLEAN),
        ("put a clean mug in cabinet", CLEAN),
        ("Heat some egg and put it in fridge", HEAT),
        ("cool some tomato and put it in microwave", COOL),
        ("put a cool tomato in microwave", COOL),
    ],
)
def test_goals_of_alfworld_that_it_routes_well(goal, category):
    assert route(goal, HOUSEHOLD) == category


@pytest.mark.parametrize(
    ("goal", "right", "found"),
    [
        ("put a hot egg in fridge", HEAT, PICK),  # half of the goals of heating
        ("find two pen and put them in drawer", TWO, LOOK),  # half of those of two things
        ("put two pen in drawer", TWO, PICK),  # the other half
        ("put some wheat bread on countertop", PICK, HEAT),  # "heat" within a word
        ("put a cleaning cloth in the drawer", PICK, CLEAN),
        ("look at the mug, clean it and put it under the sink", CLEAN, LOOK),  # the order decides
    ],
)
def test_known_misses_in_alfworld(goal, right, found):
    assert route(goal, HOUSEHOLD) == found != right


@pytest.mark.parametrize(
    ("goal", "right", "found"),
    [
        ("i need a wall clock", "home_decor", "other"),
        ("find me string lights", "home_decor", "accessories"),  # st-ring
        ("i want a steering wheel cover", "other", "footwear"),  # w-heel, before "ring"
        ("find me a rugged toolbox", "other", "home_decor"),  # rug-ged
        ("i need dress shoes", "footwear", "apparel"),  # the first list wins
        ("i want a phone bag", "accessories", "electronics"),
        ("find me a vegan face wash", "beauty_health", "other"),
    ],
)
def test_known_misses_in_webshop(goal, right, found):
    assert route(goal, SHOP) == found != right


def test_goals_of_webshop_that_it_routes_well():
    assert route("Find me a red shirt", SHOP) == "apparel"
    assert route("i need a rugged phone case", SHOP) == "electronics"


def test_search_has_no_category_that_is_ever_found():
    assert route("who was born first, A or B?", ("comparison", "multi_hop_reasoning")) == ""
    assert route("clean the mug", ()) == ""


def test_a_bank_by_its_released_names_keeps_them():
    released = ("pick_and_place", "look_at_obj_in_light", "clean", "heat", "cool", "examine")
    assert route("find two pen and put them in drawer", released) == "examine"
    assert route("heat some egg and put it in fridge", released) == "heat"


def test_the_rule_paper_is_stored_in_the_category_that_was_guessed():
    bank = bank_of(
        ("gen_001", 0.1, GENERAL, "skill"),
        ("dyn_001", 0.1, GENERAL, "skill"),
        ("pic_001", 0.1, PICK, "skill"),
        ("hea_001", 0.9, HEAT, "skill"),
        ("err_001", 0.9, HEAT, "mistake"),
        ("err_002", 0.9, PICK, "mistake"),
    )
    embedder = TableEmbedder()
    task = Task(id="train/1", split="train", category=HEAT, goal="put a hot egg in fridge")
    missed = retrieve(bank, task, embedder=embedder, order="paper")
    assert [s.id for s in missed.skills] == ["dyn_001", "gen_001", "pic_001", "err_002"]
    task = Task(id="train/1", split="train", category=HEAT, goal="heat some egg")
    found = retrieve(bank, task, embedder=embedder, order="paper")
    assert [s.id for s in found.skills] == ["dyn_001", "gen_001", "hea_001", "err_001"]
    assert embedder.asked == []
    assert not get_retrieval("paper").uses_embedder


def test_the_rule_paper_without_a_category_has_general_skills_alone():
    bank = bank_of(("gen_001", 0.1, GENERAL, "skill"), ("com_001", 0.9, "comparison", "skill"))
    task = Task(id="train/1", split="train", category="comparison", goal="who is older?")
    found = retrieve(bank, task, embedder=TableEmbedder(), order="paper")
    assert [skill.id for skill in found.skills] == ["gen_001"]
