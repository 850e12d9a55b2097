import json

import pytest

from skillrl.errors import SkillRLError
from skillrl.skills.demonstrations import rewrite_thoughts
from skillrl.skills.distill import distill
from skillrl.teacher.base import TeacherError
from skillrl.teacher.hashing_embedder import HashingEmbedder
from skillrl.teacher.simulated import SimulatedTeacher
from skillrl.types import GENERAL
from tests.skills.builders import (
    CIRCLES,
    CLEAN,
    HEAT,
    LOOK,
    NEVER_OPENED,
    PICK,
    UNTREATED,
    WIN_CLEAN,
    WIN_HEAT,
    played,
)


class Recorder:
    """Passes on to the simulated teacher, except for `answers` by purpose."""

    model_id = "recorder"
    simulated = True

    def __init__(self, **answers):
        self.answers, self.chats = answers, []

    def complete(self, messages, *, purpose):
        self.chats.append((purpose, messages))
        answer = self.answers.get(purpose)
        if isinstance(answer, Exception):
            raise answer
        return SimulatedTeacher().complete(messages, purpose=purpose) if answer is None else answer


ROLLOUTS = [
    played(WIN_CLEAN, won=True, task="1"),
    played(NEVER_OPENED, task="2"),
    played(UNTREATED, task="3"),
    played(WIN_HEAT, won=True, task="4", category=HEAT),
    played(CIRCLES, task="5", category=HEAT),
    played(NEVER_OPENED, task="6", category=LOOK),
    played(CIRCLES, task="7", category=PICK),
]


def test_bank_report_and_provenance():
    teacher, seen = Recorder(), []
    bank, report = distill(
        ROLLOUTS,
        teacher=teacher,
        categories=[PICK, CLEAN],
        embedder=HashingEmbedder(),
        progress=lambda *args: seen.append(args),
    )
    assert set(bank.categories) == {CLEAN, HEAT}  # of PICK and LOOK only what is general
    assert bank.version == 1
    assert bank.select(category=GENERAL, kind="skill")
    procedure = next(s for s in bank.skills if s.title == "Steps to clean")
    assert procedure.provenance.teacher == "recorder"
    assert procedure.provenance.sources == (ROLLOUTS[0].id,)
    assert any(s.title == "Forgot to clean" and s.kind == "mistake" for s in bank.skills)
    lesson = next(x for x in report.lessons if x.title == "Forgot to clean")
    assert lesson.where_it_failed
    assert lesson.what_was_wrong
    assert lesson.what_to_do_instead
    assert report.successes == {PICK: 0, CLEAN: 1, HEAT: 1, LOOK: 0}
    assert report.failures == {PICK: 1, CLEAN: 2, HEAT: 1, LOOK: 1}
    assert seen[0][0] == 0
    assert seen[-1][:2] == (len(teacher.chats), len(teacher.chats))
    json.dumps(report.to_json())


def test_general_skills_see_every_category_and_whole_trajectories():
    long = [(f"go to desk {i}", f"You arrive at desk {i}.") for i in range(1, 51)]
    many = [
        played(long, task=f"{c}{i}", category=c, won=i % 2 == 0)
        for c in (CLEAN, HEAT, LOOK, PICK)
        for i in range(6)
    ]
    teacher = Recorder()
    distill(many, teacher=teacher, categories=[CLEAN], max_per_category=8)
    text = next(m[1]["content"] for p, m in teacher.chats if p == "distill_general")
    for category in (CLEAN, HEAT, LOOK, PICK):
        assert text.count(f"Category: {category}\nOutcome: success") == 1
        assert text.count(f"Category: {category}\nOutcome: failure") == 1
    assert text.count("Action: go to desk 50") == 8


def test_questions_keep_to_a_budget_and_the_report_says_what_that_cost():
    long = [("go to desk 1", "You see " + "a pen, " * 300), *NEVER_OPENED, ("look", "Nothing.")]
    many = [played(long, task=str(i), won=i % 2 == 0) for i in range(8)]
    teacher = Recorder()
    _, report = distill(many, teacher=teacher, categories=[CLEAN], max_request_tokens=1500)
    for _, chat in teacher.chats:
        assert sum(len(message["content"]) for message in chat) <= 6000
        assert "Action: look" in chat[1]["content"]
    assert report.counts.cut > 0
    assert report.counts.omitted > 0  # of the general question, which would show all eight
    assert json.loads(json.dumps(report.to_json()))["counts"]["cut"] == report.counts.cut
    _, report = distill(many, teacher=teacher, categories=[CLEAN])
    assert (report.counts.cut, report.counts.omitted) == (0, 0)


def test_a_malformed_answer_is_skipped_and_counted():
    bank, report = distill(ROLLOUTS, teacher=Recorder(distill_success="?"), categories=[CLEAN])
    assert report.skipped == (f"distill_success {CLEAN}", f"distill_success {HEAT}")
    assert (report.counts.malformed, report.counts.skipped) == (6, 2)
    assert not any(s.title.startswith("Steps") for s in bank.skills)


def test_a_dead_teacher_ends_it():
    with pytest.raises(TeacherError):
        distill(ROLLOUTS, teacher=Recorder(distill_general=TeacherError("x")), categories=[])


def test_held_out_tasks_never_reach_the_teacher():
    teacher = Recorder()
    with pytest.raises(SkillRLError, match="valid_seen"):
        distill([played([], split="valid_seen")], teacher=teacher, categories=[])
    assert teacher.chats == []


def test_nothing_to_distil():
    bank, report = distill(
        [played([], error="gone")], teacher=SimulatedTeacher(), categories=[CLEAN]
    )
    assert len(bank) == 0
    assert report.excluded == 1


def test_the_order_of_the_trajectories_does_not_matter():
    made = [
        distill(order, teacher=SimulatedTeacher(), categories=[CLEAN, HEAT, LOOK, PICK])[0]
        for order in (ROLLOUTS, ROLLOUTS[::-1])
    ]
    assert made[0] == made[1]


def test_thoughts_are_one_per_step_and_checked():
    win = played(WIN_CLEAN, won=True)
    thoughts = rewrite_thoughts(win, teacher=SimulatedTeacher(), skills=[])
    assert len(thoughts) == len(win.steps)
    for bad in ('["one"]', json.dumps([""] * 7), json.dumps(["<action>x"] * 7), "{}"):
        assert rewrite_thoughts(win, teacher=Recorder(rewrite=bad), skills=[]) is None
    with pytest.raises(SkillRLError, match="not a success"):
        rewrite_thoughts(played(WIN_CLEAN), teacher=SimulatedTeacher(), skills=[])
    with pytest.raises(SkillRLError, match="valid_unseen"):
        rewrite_thoughts(
            played(WIN_CLEAN, won=True, split="valid_unseen"), teacher=SimulatedTeacher(), skills=[]
        )
