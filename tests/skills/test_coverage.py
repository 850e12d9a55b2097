"""Which tasks get no skill of their own, what is said about it, and skills as they are stored."""

import dataclasses
import math

import pytest

from skillrl.config.settings import SkillRetrievalConfig
from skillrl.skills.coverage import coverage
from skillrl.skills.retrieval import for_prompt
from skillrl.types import GENERAL, Task
from tests.skills.builders import CLEAN, HEAT, LOOK, TableEmbedder, bank_of

TASKS = [
    Task(id="train/1", split="train", category=HEAT, goal="heat an egg"),
    Task(id="train/2", split="train", category=HEAT, goal="heat a mug"),
    Task(id="train/3", split="train", category=CLEAN, goal="clean a mug"),
    Task(id="train/4", split="train", category=LOOK, goal="look at a bowl"),
]
BANK = bank_of(
    ("h1", 0.237, HEAT, "skill"),
    ("h2", 0.1, HEAT, "skill"),
    ("c1", 0.5, CLEAN, "skill"),
    ("c2", 0.6, CLEAN, "skill"),
    ("g1", 0.9, GENERAL, "skill"),
    ("m1", 0.9, LOOK, "mistake"),
)


def counted(**settings):
    settings = SkillRetrievalConfig(**settings)
    return coverage(BANK, TASKS, embedder=TableEmbedder(), settings=settings), settings


def test_tasks_without_skills_are_counted_by_category():
    found, _ = counted()
    assert found.tasks == {HEAT: 2, CLEAN: 1, LOOK: 1}
    assert found.without == {HEAT: 2}
    assert found.missing == (LOOK,)
    assert found.numbers() == {"tasks": 4, "tasks_without_skills": 3, "task_skills": 0.5}


def test_the_threshold_that_is_advised_gives_each_of_them_a_skill():
    found, settings = counted()
    said = found.warning(settings, "hashing")
    for word in ("2 of 4 tasks", f"{HEAT} 2 of 2", "similarity_threshold=0.4", "=hashing", LOOK):
        assert word in said
    assert found.enough == 0.23
    assert "skill_retrieval.similarity_threshold=0.23" in said
    after, settings = counted(similarity_threshold=found.enough)
    assert after.without == {}
    assert after.numbers()["task_skills"] == 4 / 4  # h1 twice, c1 and c2
    assert after.warning(settings, "hashing") == f"the bank has no skills for {LOOK}"


def test_an_exact_hundredth_is_exceeded_too():
    bank = bank_of(("h", 0.25, HEAT, "skill"))
    settings = SkillRetrievalConfig()
    found = coverage(bank, TASKS[:2], embedder=TableEmbedder(), settings=settings)
    lower = dataclasses.replace(settings, similarity_threshold=found.enough)
    assert coverage(bank, TASKS[:2], embedder=TableEmbedder(), settings=lower).without == {}


def test_nothing_is_said_where_nobody_goes_without():
    settings = SkillRetrievalConfig(similarity_threshold=-1)
    found = coverage(BANK, TASKS[:3], embedder=TableEmbedder(), settings=settings)
    assert found.warning(settings, "hashing") == ""
    assert math.isnan(found.enough)
    none = SkillRetrievalConfig(top_k=0)  # asked for
    assert coverage(BANK, TASKS[:3], embedder=TableEmbedder(), settings=none).without == {}


def test_all_goals_are_embedded_in_one_request():
    embedder, sizes = TableEmbedder(), []
    embed = embedder.embed
    embedder.embed = lambda texts: sizes.append(len(texts)) or embed(texts)
    coverage(BANK, TASKS, embedder=embedder, settings=SkillRetrievalConfig())
    assert sizes[0] == len(TASKS)


STORED = bank_of(
    ("gen_001", 0.1, GENERAL, "skill"),
    ("gen_002", 0.9, GENERAL, "skill"),
    ("h1", 0.1, HEAT, "skill"),
    ("h2", 0.9, HEAT, "skill"),
    ("c1", 0.9, CLEAN, "skill"),
    ("m1", 0.1, GENERAL, "mistake"),
    ("m2", 0.9, CLEAN, "mistake"),
    ("m3", 0.9, HEAT, "mistake"),
    ("dyn_001", 0.1, GENERAL, "skill"),
)


@pytest.mark.parametrize(
    ("budgets", "wanted"),
    [
        ((6, 6, 5), ["dyn_001", "gen_001", "gen_002", "h1", "h2", "m1", "m3"]),
        ((2, 1, 1), ["dyn_001", "gen_001", "h1", "m1"]),
        ((0, 0, 0), []),
    ],
)
def test_stored_order_takes_the_first_and_asks_no_embedder(budgets, wanted):
    general, specific, mistakes = budgets
    settings = SkillRetrievalConfig(
        order="stored", general_top_k=general, top_k=specific, mistakes_top_k=mistakes
    )
    embedder = TableEmbedder()
    found = for_prompt(STORED, TASKS[0], embedder=embedder, settings=settings)
    assert [skill.id for skill in found] == wanted
    assert coverage(STORED, TASKS[:1], embedder=embedder, settings=settings).without == {}
    assert embedder.asked == []


def test_stored_order_gives_a_general_task_no_category_of_its_own():
    settings = SkillRetrievalConfig(order="stored")
    task = Task(id="train/9", split="train", category=GENERAL, goal="do something")
    ids = [s.id for s in for_prompt(STORED, task, embedder=TableEmbedder(), settings=settings)]
    assert ids == ["dyn_001", "gen_001", "gen_002", "m1"]
