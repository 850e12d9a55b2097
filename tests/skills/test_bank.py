import dataclasses
import json

import pytest

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.describe import describe_bank
from skillrl.skills.proposals import Addition, Merge, Refinement, Retirement
from skillrl.skills.store import bank_from_json, bank_to_json
from skillrl.teacher.hashing_embedder import HashingEmbedder
from skillrl.types import GENERAL, Exams, Provenance, Skill
from tests.skills.builders import CLEAN, HEAT, played


def skill(title, principle="Do it well.", *, category=GENERAL, **fields):
    return Skill(title=title, principle=principle, category=category, **fields)


def evolved(title, **fields):
    return Addition(skill=skill(title, **fields), evolved=True)


def test_ids_are_given_by_tier_and_kind():
    bank = SkillBank().add(
        [skill("A"), skill("B", category=HEAT), skill("C", kind="mistake"), skill("D")]
    )
    assert [item.id for item in bank.skills] == ["gen_001", "pic_001", "err_001", "gen_002"]
    assert bank.version == 1
    assert SkillBank().version == 0


def test_evolved_ids_never_collide_even_after_reload_and_loss():
    bank = SkillBank().apply([evolved("A"), evolved("B")])
    bank = bank_from_json(bank_to_json(bank))
    lost = dataclasses.replace(bank, skills=bank.skills[:1])  # dyn_002 lives in the history only
    grown = lost.apply([evolved("C")], step=5)
    assert [item.id for item in grown.skills] == ["dyn_001", "dyn_003"]


def test_a_taken_id_is_an_error():
    bank = SkillBank().add([dataclasses.replace(skill("A"), id="gen_007")])
    with pytest.raises(SkillRLError, match="gen_007"):
        bank.add([dataclasses.replace(skill("B"), id="gen_007")])


def test_same_title_is_refused_within_a_category_and_by_general_ones_only():
    bank = SkillBank().add([skill("Open  doors!", category=CLEAN)])
    again = bank.add([skill("open doors", "Other words.", category=CLEAN)], step=3)
    assert len(again) == 1
    assert again.version == bank.version
    assert again.history[-1].action == "refused"
    assert again.history[-1].skill == bank.skills[0].id
    assert again.history[-1].step == 3
    assert len(bank.add([skill("open doors", category=HEAT)])) == 2
    assert len(bank.add([skill("open doors", category=GENERAL)])) == 2
    general = SkillBank().add([skill("Open doors")])
    assert len(general.add([skill("open doors", category=HEAT)])) == 1


def test_near_duplicates_are_refused_by_cosine():
    embedder = HashingEmbedder()
    bank = SkillBank().add([skill("Clean first", "Clean the mug with the sinkbasin.")])
    near = skill("Clean it first", "Clean the mug with the sinkbasin.")
    far = skill("Use the lamp", "Hold the bowl and turn on the desklamp.")
    grown = bank.add([near, far], embedder=embedder)
    assert [item.title for item in grown.skills] == ["Clean first", "Use the lamp"]
    assert "cosine 1.00 with gen_001" in grown.history[1].reason
    assert len(bank.add([near])) == 2  # without an embedder only titles count


def test_updates_leave_the_old_bank_alone():
    bank = SkillBank().add([skill("A")])
    before = bank_to_json(bank)
    bank.add([skill("B")])
    bank.apply([Refinement(target="gen_001", principle="New."), Retirement(target="gen_001")])
    bank.record_use([played([], won=True, skills=("gen_001",))])
    assert bank_to_json(bank) == before


def test_refine_keeps_the_id_records_the_old_words_and_restarts_statistics():
    bank = SkillBank().add([skill("A", "Old.")]).record_use([played([], skills=("gen_001",))])
    change = Refinement(target="gen_001", principle="New.", sources=("t",), reason="no help")
    new = bank.apply([change], step=9)
    assert (new.version, new.get("gen_001").principle) == (2, "New.")
    assert new.history[-1].before == "A. Old."
    assert new.get("gen_001").use.episodes == 0
    assert new.get("gen_001").provenance.sources == ("t",)
    same = new.apply([Refinement(target="gen_001", principle="New.")], step=10)
    assert same.version == 2
    assert same.history[-1].action == "refused"


def test_a_retired_skill_is_gone_and_its_id_is_never_given_again():
    bank = SkillBank().add([skill("A", "Old."), skill("B")])
    new = bank.apply([Retirement(target="gen_002", reason="of no use")], step=3)
    assert [item.id for item in new.skills] == ["gen_001"]
    assert (new.version, new.history[-1].action, new.history[-1].reason) == (
        2,
        "retired",
        "of no use",
    )
    assert new.history[-1].before == "B. Do it well."
    assert bank_from_json(bank_to_json(new)) == new
    assert new.add([skill("C")]).skills[-1].id == "gen_003"
    with pytest.raises(SkillRLError, match="gen_002"):
        new.apply([Retirement(target="gen_002")])


def test_skills_that_say_the_same_become_one():
    first = skill(
        "A",
        "Old a.",
        when_to_apply="w",
        category=HEAT,
        exams=Exams(pairs=3),
        provenance=Provenance("o", 1),
    )
    second = skill("B", "Old b.", category=HEAT, provenance=Provenance("o", 1, ("t1",)))
    bank = SkillBank().add([first, second, skill("C", category=HEAT)])
    bank = bank.record_use([played([], skills=("pic_001",))])
    merge = Merge(
        targets=("pic_001", "pic_002"),
        title="B",
        principle="New.",
        teacher="o3",
        sources=("t2",),
        reason="they say the same",
    )
    new = bank.apply([merge], step=7, policy_version=28)
    assert [item.id for item in new.skills] == ["pic_001", "pic_003"]
    one = new.get("pic_001")
    assert (one.title, one.principle, one.when_to_apply, one.category) == ("B", "New.", "w", HEAT)
    assert one.provenance == Provenance("o3", 7, ("t1", "t2"))
    assert (one.use.episodes, one.exams) == (0, Exams())
    kept, gone = new.history[3:]
    assert (kept.action, kept.skill, kept.before, kept.after) == (
        "merged",
        "pic_001",
        "A. Old a.. w",
        "B. New.. w",
    )
    assert (gone.action, gone.skill, gone.before, gone.after) == (
        "retired",
        "pic_002",
        "B. Old b.",
        "",
    )
    assert gone.reason == "merged into pic_001"
    for event in (kept, gone):
        assert (event.version, event.step, event.policy_version) == (2, 7, 28)
        assert event.sources == ("t2",)
    assert new.version == 2


def test_a_merge_over_categories_is_general_and_may_repeat_nobody():
    bank = SkillBank().add([skill("A", category=HEAT), skill("B", category=CLEAN), skill("C")])
    targets = ("pic_001", "pic_002")
    new = bank.apply([Merge(targets=targets, title="D", principle="New.")])
    assert [(item.id, item.category) for item in new.skills] == [
        ("pic_001", GENERAL),
        ("gen_001", GENERAL),
    ]
    same = bank.apply([Merge(targets=targets, title="c", principle="New.")])
    assert (same.skills, same.version) == (bank.skills, 1)
    assert same.history[-1].reason == "same title as gen_001"
    assert same.history[-1].after == "c. New."
    for few in (("pic_001",), (), ("pic_001", "pic_001", "pic_002")):
        with pytest.raises(SkillRLError, match="two or more different"):
            Merge(targets=few, title="D", principle="New.")
    with pytest.raises(SkillRLError, match="gen_009"):
        bank.apply([Merge(targets=("pic_001", "gen_009"), title="D", principle="New.")])


def test_new_words_may_not_repeat_another_skill():
    embedder = HashingEmbedder()
    words = "Clean the mug with the sinkbasin."
    bank = SkillBank().add(
        [skill("Clean first", words), skill("Use the lamp", "Turn on the desklamp.", category=HEAT)]
    )
    near = Refinement(target="pic_001", title="Clean it first", principle=words, sources=("t",))
    same = bank.apply([near], embedder=embedder)
    assert same.skills == bank.skills
    assert "cosine 1.00 with gen_001" in same.history[-1].reason
    assert same.history[-1].skill == "gen_001"
    assert same.history[-1].sources == ("t",)
    assert same.history[-1].after == f"Clean it first. {words}"
    assert len(bank.apply([near]).history[-1].before) > 0  # without an embedder only titles count
    title = bank.apply([Refinement(target="pic_001", title="clean FIRST")])
    assert title.history[-1].reason == "same title as gen_001"
    # Its own old words are no rival, however near: gen_001 gets better ones.
    better = bank.apply(
        [Refinement(target="gen_001", principle=words + " Now.")], embedder=embedder
    )
    assert better.history[-1].action == "refined"
    # What is said in another category, and not in general, may be said again.
    other = bank.apply(
        [Refinement(target="gen_001", principle="Turn on the desklamp.", title="Use the lamp")],
        embedder=embedder,
    )
    assert other.history[-1].action == "refined"


def test_what_left_the_bank_in_an_event_is_not_changed_by_the_rest_of_it():
    bank = SkillBank().add([skill("A"), skill("B")])
    new = bank.apply(
        [
            Retirement(target="gen_001", reason="no use"),
            Refinement(target="gen_001", principle="New."),
            Merge(targets=("gen_002", "gen_001"), title="D", principle="New."),
            Retirement(target="gen_001"),
        ]
    )
    assert [event.action for event in new.history[2:]] == ["retired", *["refused"] * 3]
    assert all("left the bank in this event" in event.reason for event in new.history[3:])
    assert [event.after for event in new.history[3:]] == ["New.", "D. New.", ""]


def test_the_limit_holds_for_new_words_and_for_what_leaves_apart():
    bank = SkillBank().add([skill(title) for title in "ABCD"])
    proposals = [
        Retirement(target="gen_001"),
        evolved("E"),
        evolved("F"),
        Merge(targets=("gen_002", "gen_003"), title="G", principle="New."),
    ]
    new = bank.apply(proposals, limit=1)
    told = [(event.action, event.skill) for event in new.history[4:]]
    assert told == [
        ("retired", "gen_001"),
        ("added", "dyn_001"),
        ("refused", ""),
        ("refused", "gen_002"),
    ]


def test_proposals_of_one_call_are_one_version_and_a_line_of_history_each():
    bank = SkillBank().add([skill("A"), skill("B")])
    proposals = [
        evolved("a"),
        Refinement(target="gen_001", principle="New."),
        evolved("C"),
        Refinement(target="gen_002", title="b"),
        evolved("D"),
    ]
    new = bank.apply(proposals, step=5, limit=2)
    told = [(e.version, e.action, e.skill, e.title) for e in new.history[2:]]
    assert told == [
        (1, "refused", "gen_001", "a"),  # as yet nothing had changed
        (2, "refined", "gen_001", "A"),
        (2, "added", "dyn_001", "C"),
        (2, "refused", "gen_002", "b"),
        (2, "refused", "", "D"),
    ]
    assert new.version == 2
    assert "max_new_skills=2" in new.history[-1].reason
    assert bank.apply([]) is bank


def test_examinations_add_up_and_new_words_start_afresh():
    bank = SkillBank().add([skill("A"), skill("B")])
    one = Exams(pairs=4, gain=-1, squares=3, step=5, policy_version=20)
    two = Exams(pairs=2, gain=-2, squares=2, step=10, policy_version=40)
    measured = bank.record_exams({"gen_002": one}).record_exams({"gen_002": two})
    assert measured.get("gen_002").exams == Exams(
        pairs=6, gain=-3, squares=5, step=10, policy_version=40
    )
    assert (measured.get("gen_001").exams, measured.version) == (Exams(), bank.version)
    assert bank_from_json(json.loads(json.dumps(bank_to_json(measured)))) == measured
    fresh = measured.apply([Refinement(target="gen_002", principle="New.")])
    assert fresh.get("gen_002").exams == Exams()
    with pytest.raises(SkillRLError, match="gen_009"):
        bank.record_exams({"gen_009": one})


def test_a_bank_beyond_its_cap_loses_the_least_worth_in_the_same_version():
    bank = SkillBank().add([skill(title) for title in "ABC"])
    worth = {"gen_001": 0.1, "gen_002": -0.2, "gen_003": 0.0}.get
    new = bank.apply(
        [evolved("D")],
        step=5,
        limit=1,
        max_skills=2,
        worth=lambda item: worth(item.id, -1.0),
    )
    assert [item.id for item in new.skills] == ["gen_001", "dyn_001"]
    told = [(event.version, event.action, event.skill) for event in new.history[3:]]
    assert told == [(2, "added", "dyn_001"), (2, "retired", "gen_002"), (2, "retired", "gen_003")]
    assert new.history[-1].reason == "more than evolution.max_skills=2"


def test_record_use_counts_wins_and_leaves_out_broken_episodes():
    bank = SkillBank().add([skill("A"), skill("B")])
    episodes = [
        played([], won=True, skills=("gen_001", "gen_002")),
        played([], won=False, skills=("gen_001",)),
        played([], won=True, skills=("gen_001",), error="server gone"),
    ]
    used = bank.record_use(episodes)
    assert [(s.use.episodes, s.use.wins) for s in used.skills] == [(2, 1), (1, 1)]
    assert used.version == bank.version
    with pytest.raises(SkillRLError, match="gen_009"):
        bank.record_use([played([], skills=("gen_009",))])


def test_malformed_skills_are_refused():
    with pytest.raises(SkillRLError, match="principle"):
        SkillBank().add([skill("A", " ")])
    with pytest.raises(SkillRLError, match="kind 'tip'"):
        SkillBank().add([skill("A", kind="tip")])


def test_summary_and_table():
    bank = SkillBank().add([skill("A"), skill("B", category=HEAT)])
    bank = bank.apply([evolved("C", kind="mistake", category=HEAT)], step=5)
    assert bank.summary() == {
        "version": 2,
        "total": 3,
        "general": 1,
        "task_specific": 1,
        "mistakes": 1,
        "evolved": 1,
        "categories": {GENERAL: 1, HEAT: 2},
    }
    text = describe_bank(bank, width=60)
    assert "gen_001" in text
    assert "!dyn_001" in text
    assert "v2 step 5 added" in text
    assert describe_bank(SkillBank()).startswith("Skill bank, version 0: 0 entries")
