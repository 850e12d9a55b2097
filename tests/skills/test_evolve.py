import json

import pytest

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.evolve import evolve
from skillrl.skills.failures import select_failures
from skillrl.teacher.base import TeacherError
from skillrl.teacher.hashing_embedder import HashingEmbedder
from skillrl.teacher.simulated import SimulatedTeacher
from skillrl.types import GENERAL, Skill
from tests.skills.builders import (
    CLEAN,
    HEAT,
    LOOK,
    NEVER_OPENED,
    PICK,
    UNTREATED,
    WIN_CLEAN,
    played,
)
from tests.skills.test_distill import Recorder


def group(category, wins, losses, *, split="train", score=0.0):
    script = WIN_CLEAN if category == CLEAN else NEVER_OPENED
    made = [
        played(script, won=True, task=f"{category}-{i}", category=category, split=split)
        for i in range(wins)
    ]
    return made + [
        played(NEVER_OPENED, task=f"{category}-{i}", category=category, member=1, score=score)
        for i in range(losses)
    ]


def test_only_weak_categories_with_enough_episodes_are_analysed():
    rollouts = group(CLEAN, 1, 5) + group(HEAT, 3, 2) + group(LOOK, 0, 3) + group(PICK, 2, 3)
    found = select_failures(rollouts, evolution_threshold=0.4, min_episodes=4)
    assert found.failing == (CLEAN,)  # PICK is at 0.4 exactly, LOOK has three episodes
    assert found.rates[PICK].rate == 0.4
    assert {t.task.category for t in found.failures} == {CLEAN}


def test_round_robin_over_categories_and_one_of_each_task_first():
    rollouts = group(CLEAN, 0, 5) + group(HEAT, 0, 4) + group(LOOK, 0, 4)
    found = select_failures(rollouts, max_analysis_deep=7)
    names = sorted([CLEAN, HEAT, LOOK])  # equally weak: by name
    assert [t.task.category for t in found.failures] == [*names, *names, names[0]]
    same = [played([], task="1", member=m) for m in range(4)] + [played([], task="2")]
    chosen = select_failures(same, max_analysis_deep=3).failures
    assert [t.task.id for t in chosen[:2]] == ["train/1", "train/2"]


def test_worst_first():
    rollouts = [played([], task=str(i), score=s) for i, s in enumerate([0.5, 0.0, 0.9, 0.1])]
    found = select_failures(rollouts, max_analysis_deep=2)
    assert [t.score for t in found.failures] == [0.0, 0.1]


def test_deep_and_shallow():
    weak = group(CLEAN, 0, 12)
    assert len(select_failures(weak).failures) == 10
    strong = group(CLEAN, 0, 12) + group(HEAT, 30, 0)
    assert len(select_failures(strong).failures) == 5


def test_a_success_at_the_same_task_is_shown_beside_the_failure():
    rollouts = group(CLEAN, 1, 4)
    found = select_failures(rollouts)
    assert {key: value.task.id for key, value in found.pairs.items()} == {
        rollouts[1].id: rollouts[0].task.id
    }
    teacher = Recorder()
    evolve(SkillBank(), rollouts, teacher=teacher, step=5)
    text = teacher.chats[0][1][1]["content"]
    assert text.count("=== Trajectory") == 5
    assert "The same task, done right:\n=== Trajectory " + rollouts[0].id in text
    assert "Action: go to shelf 1" in text


def test_the_bank_grows_in_the_category_that_failed():
    rollouts = [*group(CLEAN, 0, 3), played(UNTREATED, task="u", category=CLEAN)]
    bank, event = evolve(
        SkillBank(), rollouts, teacher=SimulatedTeacher(), embedder=HashingEmbedder(), step=5
    )
    assert event.added[:2] == ("dyn_001", "dyn_002")
    assert {s.title for s in bank.skills} >= {"Open closed places", "Clean before you put"}
    assert {s.category for s in bank.skills} == {CLEAN}
    assert (event.bank_before, event.bank_after, bank.version) == (0, 1, 1)
    assert bank.skills[0].provenance.step == 5
    assert set(event.analysed) == {t.id for t in rollouts}
    again = json.loads(json.dumps(event.to_json()))
    assert again["categories"][CLEAN] == {"episodes": 4, "wins": 0, "rate": 0.0}
    later, second = evolve(bank, rollouts, teacher=SimulatedTeacher(), step=10)
    assert set(second.refined) == set(event.added)
    assert later.version == 2
    third, last = evolve(later, rollouts, teacher=SimulatedTeacher(), step=15)
    assert (last.added, last.refined, third.version) == ((), (), 2)


def proposal(title, **fields):
    return {"title": title, "principle": f"{title} it.", "category": CLEAN} | fields


def test_at_most_max_new_skills_and_duplicates_do_not_count():
    bank = SkillBank().add([Skill(title="Old", principle="Old it.", category=CLEAN)])
    answer = json.dumps({"add": [proposal(t) for t in ("old", "A", "B", "C")]})
    new, event = evolve(
        bank, group(CLEAN, 0, 4), teacher=Recorder(evolve=answer), step=5, max_new_skills=2
    )
    assert [new.get(name).title for name in event.added] == ["A", "B"]
    assert [r["title"] for r in event.refused] == ["old", "C"]
    assert "same title" in event.refused[0]["reason"]
    assert "max_new_skills=2" in event.refused[1]["reason"]
    assert new.version == 2
    assert len(new.history) == 5


@pytest.mark.parametrize(
    "answer",
    [
        "nothing",
        "{}",
        json.dumps({"add": [proposal("A", category=HEAT)]}),
        json.dumps({"add": [proposal("")]}),
        json.dumps({"refine": [proposal("A", id="gen_999")]}),
    ],
)
def test_malformed_proposals_leave_the_bank_and_are_counted(answer):
    bank = SkillBank().add([Skill(title="Old", principle="Old it.")])
    new, event = evolve(bank, group(CLEAN, 0, 4), teacher=Recorder(evolve=answer), step=5)
    assert new == bank
    assert (event.teacher_failures, event.requests, event.added) == (1, 3, ())


def test_a_dead_teacher_is_survived_and_counted():
    teacher = Recorder(evolve=TeacherError("server down"))
    new, event = evolve(SkillBank(), group(CLEAN, 0, 4), teacher=teacher, step=5)
    assert new == SkillBank()
    assert (event.teacher_failures, event.teacher_error) == (1, "server down")


def test_general_is_allowed_and_nothing_is_asked_without_failures():
    answer = json.dumps({"add": [proposal("A", category=GENERAL)]})
    bank, _ = evolve(SkillBank(), group(CLEAN, 0, 4), teacher=Recorder(evolve=answer), step=1)
    assert bank.skills[0].category == GENERAL
    teacher = Recorder()
    bank, event = evolve(bank, group(CLEAN, 4, 0), teacher=teacher, step=2)
    assert (teacher.chats, event.failing, event.analysed) == ([], (), ())
    evolve(bank, [], teacher=teacher, step=3)
    assert teacher.chats == []


class NoEmbedder:
    model_id = "none"

    def embed(self, texts):
        raise TeacherError("no embeddings today")


def test_an_embedder_that_fails_costs_the_event_and_not_the_run():
    bank = SkillBank().add([Skill(title="Old", principle="Old it.", category=CLEAN)])
    answer = json.dumps({"add": [proposal("New")]})
    same, event = evolve(
        bank, group(CLEAN, 0, 4), teacher=Recorder(evolve=answer), embedder=NoEmbedder(), step=5
    )
    assert same is bank
    assert (event.teacher_failures, event.added, event.bank_after) == (1, (), bank.version)
    assert "no embeddings today" in event.teacher_error
    assert event.requests == 1


@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen", "test"])
def test_held_out_episodes_are_refused_whatever_their_outcome(split):
    teacher = Recorder()
    for won in (True, False):
        rollouts = [*group(CLEAN, 0, 4), played([], split=split, won=won)]
        with pytest.raises(SkillRLError, match=split):
            evolve(SkillBank(), rollouts, teacher=teacher, step=5)
    assert teacher.chats == []


def test_broken_episodes_are_left_out():
    broken = [played([], task=str(i), error="gone") for i in range(8)]
    assert select_failures(broken).failing == ()
