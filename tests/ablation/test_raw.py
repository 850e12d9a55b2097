"""Banks of trajectories, flat retrieval, and prompts that show something else or nothing."""

import dataclasses

import pytest

from skillrl.ablation.raw import raw_bank, skill_budget
from skillrl.config.settings import SkillRetrievalConfig
from skillrl.errors import SkillRLError
from skillrl.skills import caps
from skillrl.skills.retrieval import Retriever, for_prompt, retrieve
from skillrl.types import GENERAL, Task
from tests.skills.builders import (
    CIRCLES,
    CLEAN,
    GOALS,
    HEAT,
    NOTHING,
    WIN_CLEAN,
    WIN_HEAT,
    TableEmbedder,
    bank_of,
    played,
)

TASK = Task(id="train/1", split="train", category=HEAT, goal="put a hot egg in fridge")


def words(skills):
    return sum(len(f"{skill.title} {skill.principle}".split()) for skill in skills)


def test_successes_alone_become_entries_and_the_first_of_a_task():
    bank = raw_bank(
        [
            played(CIRCLES, task="0000"),
            played(WIN_CLEAN, task="0001", won=True),
            played(WIN_HEAT, task="0001", won=True, category=HEAT),
            played(WIN_HEAT, task="0002", won=True, category=HEAT, error="broke"),
        ],
        budget=1000,
        count_tokens=words,
    )
    (entry,) = bank.skills
    assert (entry.title, entry.category, entry.kind) == (GOALS[CLEAN], CLEAN, "skill")
    assert entry.principle.startswith(
        "go to cabinet 1 (You arrive at cabinet 1. The cabinet 1 is closed.), open cabinet 1 (You"
    )
    assert entry.principle.endswith("move mug 1 to cabinet 1")  # nothing was seen after it


def test_what_is_too_long_loses_what_was_seen_then_its_end():
    episodes = [played([*WIN_HEAT[:1], ("jump", NOTHING), *WIN_HEAT[1:]], category=HEAT, won=True)]
    actions = [action for action, _ in WIN_HEAT]
    title = len(GOALS[HEAT].split())
    whole = title + sum(len(action.split()) for action in actions)
    (entry,) = raw_bank(episodes, budget=whole, count_tokens=words).skills
    assert entry.principle == ", ".join(actions)  # without the step that was not valid
    (cut,) = raw_bank(episodes, budget=whole - 1, count_tokens=words).skills
    assert cut.principle == ", ".join(actions[:-1])
    (least,) = raw_bank(episodes, budget=0, count_tokens=words).skills
    assert least.principle == actions[0]


def test_without_a_success_there_is_nothing_to_show():
    with pytest.raises(SkillRLError, match="no collected episode was won"):
        raw_bank([played(CIRCLES)], budget=10, count_tokens=words)


def test_the_budget_is_what_skills_take_on_average():
    bank = bank_of(("a", 0.9, HEAT, "skill"), ("b", 0.8, HEAT, "skill"))
    tasks = [TASK, dataclasses.replace(TASK, id="train/2", category=CLEAN)]

    def own(bank, task):
        return bank.select(category=task.category)

    assert skill_budget(bank, tasks, retrieve=own, count_tokens=words) == 2  # (4 + 0) / 2
    assert skill_budget(bank, tasks[:1] * 3 + tasks[1:], retrieve=own, count_tokens=words) == 3
    assert skill_budget(bank, [], retrieve=own, count_tokens=words) == 0


def test_a_flat_list_knows_no_category_kind_or_threshold():
    bank = bank_of(
        ("a", 0.1, HEAT, "skill"),
        ("b", 0.9, CLEAN, "skill"),
        ("c", 0.5, GENERAL, "skill"),
        ("d", 0.7, CLEAN, "mistake"),
    )
    budgets = {"top_k": 1, "general_top_k": 1, "mistakes_top_k": 1}
    found = retrieve(bank, TASK, embedder=TableEmbedder(), order="flat", **budgets)
    assert [skill.id for skill in found.skills] == ["b", "d", "c"]
    budgets = dict.fromkeys(budgets, 0)
    none = retrieve(bank, TASK, embedder=TableEmbedder(), order="flat", **budgets)
    assert none.skills == ()


def test_neutral_text_stands_in_the_same_places_as_long():
    bank = bank_of(("a", 0.9, HEAT, "skill"), ("b", 0.8, GENERAL, "mistake"))
    settings = SkillRetrievalConfig(content="neutral")
    skills = Retriever(TableEmbedder(), SkillRetrievalConfig())(bank, TASK)
    retriever = Retriever(TableEmbedder(), settings, count_tokens=caps.estimated_tokens)
    twins = retriever(bank, TASK)
    assert [(t.id, t.category, t.kind) for t in twins] == [
        (s.id, s.category, s.kind) for s in skills
    ]
    assert all(t.principle != s.principle for t, s in zip(twins, skills, strict=True))
    for twin, skill in zip(twins, skills, strict=True):
        assert abs(caps.estimated_tokens([twin]) - caps.estimated_tokens([skill])) <= 2
    assert retriever(bank, TASK) == twins


def test_nothing_is_shown_and_no_embedder_asked():
    embedder, settings = TableEmbedder(), SkillRetrievalConfig(content="none")
    bank = bank_of(("a", 0.9, HEAT, "skill"))
    assert Retriever(embedder, settings)(bank, TASK) == ()
    assert for_prompt(bank, TASK, embedder=embedder, settings=settings) == ()
    assert embedder.asked == []
