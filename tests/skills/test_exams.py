"""Which skills are examined on which tasks, and how pairs are counted."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.exams import PAIRS_EACH, by_urgency, pairs_of, plan, tally
from skillrl.types import GENERAL, Exams, Skill, Task, Trajectory

TASKS = [
    Task(id=f"train/{i:03d}", split="train", category="ab"[i % 2], goal="win") for i in range(60)
]


UNMEASURED = Exams()


def skill(name, category=GENERAL, exams=UNMEASURED):
    return Skill(id=name, title=name, principle="p", category=category, exams=exams)


def shown(bank, task):
    return [s for s in bank.skills if s.category in (GENERAL, task.category)]


def planned(bank, episodes, *, iteration=1, tasks=TASKS):
    return plan(bank, tasks, shown, episodes=episodes, seed=0, iteration=iteration)


def cost(sittings):
    return sum(len(sitting.arms) for sitting in sittings)


def counted(sittings):
    names = [name for sitting in sittings for name in sitting.examined]
    return {name: names.count(name) for name in names}


BANK = SkillBank((skill("g"), skill("a1", "a"), skill("a2", "a"), skill("b1", "b")))


def test_arms_differ_in_one_skill_and_nothing_takes_its_place():
    for sitting in planned(BANK, 64):
        whole, *others = ([s.id for s in arm] for arm in sitting.arms)
        assert whole == [s.id for s in shown(BANK, sitting.task)]
        assert len(others) == len(sitting.examined) > 0
        for name, arm in zip(sitting.examined, others, strict=True):
            assert arm == [s for s in whole if s != name]


def test_skills_take_turns_until_the_budget_is_spent():
    sittings = planned(BANK, 64)
    assert 62 < cost(sittings) <= 64
    counts = counted(sittings)
    assert set(counts) == {"g", "a1", "a2", "b1"}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert min(counts.values()) >= PAIRS_EACH
    assert len({sitting.task.id for sitting in sittings}) == len(sittings)


def test_the_same_arguments_give_the_same_plan_and_another_iteration_other_tasks():
    assert planned(BANK, 40) == planned(BANK, 40)
    first, second = ({s.task.id for s in planned(BANK, 40, iteration=i)} for i in (1, 2))
    assert first != second


def test_a_general_skill_is_examined_on_a_fair_sample_of_all_tasks():
    bank = SkillBank((skill("g"), skill("a1", "a")))
    sittings = planned(bank, 60)
    of = [s.task.category for s in sittings if "g" in s.examined]
    assert 0.25 < of.count("b") / len(of) < 0.75  # though a1 has none of its tasks there


def test_few_episodes_are_for_the_most_urgent_skill():
    assert set(counted(planned(BANK, 16))) == {"g"}
    assert planned(BANK, 1) == ()
    assert planned(SkillBank(), 64) == ()
    assert cost(planned(BANK, 2)) == 2


def test_unmeasured_then_widest_then_decided():
    bank = SkillBank(
        (
            skill("helps", exams=Exams(pairs=60, gain=40, squares=44)),
            skill("narrow", exams=Exams(pairs=60, gain=2, squares=20)),
            skill("new"),
            skill("wide", exams=Exams(pairs=9, gain=1, squares=5)),
        )
    )
    assert [s.id for s in by_urgency(bank)] == ["new", "wide", "narrow", "helps"]


def test_a_skill_that_no_task_retrieves_holds_nobody_up():
    bank = SkillBank((skill("never", "c"), skill("g")))
    assert set(counted(planned(bank, 16))) == {"g"}


def test_few_tasks_are_played_once_each():
    sittings = planned(BANK, 64, tasks=TASKS[:3])
    assert len(sittings) == 3
    assert cost(sittings) < 64


@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen", "test"])
def test_held_out_tasks_are_refused(split):
    held_out = dataclasses.replace(TASKS[0], id=f"{split}/000", split=split)
    with pytest.raises(SkillRLError, match=f"task '{split}/000' is of split '{split}'.*training"):
        planned(BANK, 8, tasks=[*TASKS, held_out])


def played(sittings, won):
    tasks = [sitting.task for sitting in sittings for _ in sitting.arms]
    return [
        Trajectory(
            task=task,
            prefix_ids=(),
            steps=(),
            won=outcome is True,
            error="lost" if outcome is None else "",
        )
        for task, outcome in zip(tasks, won, strict=False)
    ]


def test_pairs_are_counted_by_hand():
    bank = SkillBank((skill("g"), skill("a1", "a")))
    tasks = [t for t in TASKS if t.category == "a"][:3]
    sittings = planned(bank, 32, tasks=tasks)
    assert [len(s.arms) for s in sittings] == [3, 3, 3]
    first, second = sittings[0].examined
    won = [True, False, True, False, True, True, True, None, False]
    pairs = pairs_of(sittings, played(sittings, won))
    found = tally(((p.skill, p.difference) for p in pairs), step=5, policy_version=20)
    by_turn = {first: [1, -1], second: [0, -1, 1]}  # the failed one is left out
    if sittings[1].examined != (first, second):
        pytest.fail("the order of skills within a sitting changed")
    assert found == {
        name: Exams(pairs=len(d), gain=sum(d), squares=sum(map(abs, d)), step=5, policy_version=20)
        for name, d in by_turn.items()
    }
    with pytest.raises(ValueError, match="8 episodes for the 9 arms"):
        pairs_of(sittings, played(sittings, won)[:-1])


def test_a_failed_whole_episode_loses_its_sitting():
    sittings = planned(BANK, 16, tasks=TASKS[:1])
    arms = cost(sittings)
    assert pairs_of(sittings, played(sittings, [None] + [True] * (arms - 1))) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 150), st.integers(0, 5), st.integers(0, 4))
def test_a_plan_keeps_to_its_budget(episodes, iteration, skills):
    bank = SkillBank(BANK.skills[:skills])
    sittings = planned(bank, episodes, iteration=iteration)
    assert cost(sittings) <= episodes
    for sitting in sittings:
        assert len(set(sitting.examined)) == len(sitting.examined) > 0
