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
    Measured,
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


def four():
    return SkillBank().add(
        [Skill(title=title, principle=f"{title} it.", category=CLEAN) for title in "ABCD"]
    )


def test_the_teacher_merges_and_retires():
    answer = {
        "merge": [proposal("E", ids=["pic_001", "pic_002"], cause="the same")],
        "retire": [{"id": "pic_003", "cause": "it misleads"}],
    }
    rollouts = group(CLEAN, 0, 4)
    new, event = evolve(
        four(), rollouts, teacher=Recorder(evolve=json.dumps(answer)), step=5, policy_version=20
    )
    assert [(item.id, item.title) for item in new.skills] == [("pic_001", "E"), ("pic_004", "D")]
    assert (event.merged, event.retired) == (("pic_001",), ("pic_003", "pic_002"))
    assert (event.added, event.refined, event.bank_after, new.version) == ((), (), 2, 2)
    shown = {t.id for t in rollouts}
    for line in new.history[4:]:
        assert (line.policy_version, set(line.sources)) == (20, shown)
    assert new.history[4].reason == "it misleads"
    assert json.loads(json.dumps(event.to_json()))["merged"] == ["pic_001"]


@pytest.mark.parametrize(
    "entry",
    [
        {"merge": [proposal("E", ids=["pic_001"])]},
        {"merge": [proposal("E", ids=["pic_001", "pic_001"])]},
        {"merge": [proposal("E", ids=["pic_001", "gen_009"])]},
        {"merge": [proposal("E", ids="pic_001")]},
        {"merge": [proposal("", ids=["pic_001", "pic_002"])]},
        {"retire": [{"id": "gen_009"}]},
        {"retire": ["pic_001"]},
        {"retire": {"id": "pic_001"}},
        {"retire": [{"id": "pic_002"}]},  # which is measured to help
    ],
)
def test_a_merge_or_retirement_of_what_is_not_there_is_malformed(entry):
    teacher = Recorder(evolve=json.dumps(entry))
    utility = {"pic_002": Measured(0.2, low=0.1)}
    new, event = evolve(four(), group(CLEAN, 0, 4), teacher=teacher, step=5, utility=utility)
    assert new == four()
    assert event.teacher_failures == 1


def test_the_teacher_is_told_what_skills_are_worth_and_the_simulated_one_listens():
    bank = four().add([Skill(title="E", principle="A it.", category=CLEAN)])
    bank = bank.record_use([played([], won=True, skills=("pic_002",))])
    utility = {
        "pic_002": Measured(-0.2, low=-0.33, high=-0.07, pairs=40),
        "pic_003": Measured(-0.2, low=-0.41, high=0.01, pairs=12),
    }
    teacher = Recorder()
    new, event = evolve(
        bank, group(CLEAN, 0, 4), teacher=teacher, step=5, utility=utility, max_new_skills=2
    )
    text = teacher.chats[0][1][1]["content"]
    listed = [line for line in text.splitlines() if line.startswith("[pic_00")]
    assert listed == [
        f"[pic_001] ({CLEAN}) A: A it. (unmeasured)",
        f"[pic_002] ({CLEAN}) B: B it. (won 1 of 1) (helps -20 points, -33 to -7, 40 pairs)",
        f"[pic_003] ({CLEAN}) C: C it. (helps -20 points, -41 to +1, 12 pairs)",
        f"[pic_004] ({CLEAN}) D: D it. (unmeasured)",
        f"[pic_005] ({CLEAN}) E: A it. (unmeasured)",
    ]
    assert (event.merged, event.retired) == (("pic_001",), ("pic_002", "pic_005"))
    assert new.get("pic_001").principle == "A it."
    reasons = {item.skill: item.reason for item in new.history if item.action == "retired"}
    assert reasons["pic_002"] == "measured to hurt: -33 to -7 points"
    assert reasons["pic_005"] == "merged into pic_001"


def test_the_bank_keeps_to_its_cap_whether_or_not_there_are_failures():
    utility = {"pic_001": Measured(-0.1), "pic_003": Measured(0.1)}
    for rollouts, left in (
        (group(CLEAN, 4, 0), {"pic_003", "pic_002"}),
        (group(CLEAN, 0, 4), {"pic_003", "dyn_001"}),
    ):
        teacher = Recorder(evolve=json.dumps({"add": [proposal("New")]}))
        new, event = evolve(
            four(), rollouts, teacher=teacher, step=5, utility=utility, max_skills=2
        )
        assert {item.id for item in new.skills} == left
        assert len(event.retired) == 4 + len(event.added) - 2
        assert new.version == event.bank_after == 2


def test_a_long_request_is_shortened_and_the_event_says_so():
    long = [("go to shelf 1", "You see " + "a mug, " * 400), *NEVER_OPENED, ("look", "Nothing.")]
    rollouts = [played(long, task=str(i)) for i in range(4)]
    teacher = Recorder()
    _, event = evolve(SkillBank(), rollouts, teacher=teacher, step=5, max_request_tokens=2500)
    size = sum(len(message["content"]) for message in teacher.chats[0][1])
    assert 9900 < size <= 10000
    assert "characters left out" in teacher.chats[0][1][1]["content"]
    assert event.cut > 4000
    assert (event.omitted, len(event.analysed)) == (0, 4)
    _, event = evolve(SkillBank(), rollouts, teacher=teacher, step=5, max_request_tokens=1400)
    assert event.omitted > 0
    assert len(event.analysed) == 4 - event.omitted
    assert teacher.chats[1][1][1]["content"].count("=== Trajectory") == len(event.analysed)


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
