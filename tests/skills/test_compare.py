"""Two versions of a bank, and one skill's life."""

import dataclasses

import pytest

from skillrl.errors import SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.compare import describe_difference, difference
from skillrl.skills.describe import describe_bank
from skillrl.skills.life import describe_life, sources_of
from skillrl.skills.proposals import Addition, Merge, Refinement, Retirement
from skillrl.types import Exams, Provenance, Skill, SkillUse


@dataclasses.dataclass(frozen=True)
class Estimate:
    mean: float
    low: float
    high: float
    pairs: int


def skill(title, principle="Do it.", source="train/1#policy.v0.m0.r0"):
    provenance = Provenance("o3", 0, (source,))
    return Skill(title=title, principle=principle, when_to_apply="now", provenance=provenance)


FIRST = SkillBank().add([skill(title) for title in ("One", "Two", "Three", "Four")], reason="new")
SECOND = FIRST.apply(
    [
        Refinement(
            target="gen_001",
            principle="Do it twice.",
            teacher="o4",
            sources=("train/7#policy.v9.m1.r0",),
            reason="once is not enough",
        ),
        Addition(skill=skill("Five"), evolved=True, reason="was missing"),
        Addition(skill=skill("one"), reason="said again"),
        Retirement(target="gen_002", reason="hurts"),
        Merge(
            targets=("gen_003", "gen_004"),
            title="Three and four",
            principle="Both.",
            teacher="o4",
            sources=(),
            reason="the same",
        ),
    ],
    step=5,
    policy_version=40,
)
USED = dataclasses.replace(
    SECOND,
    skills=tuple(
        dataclasses.replace(s, use=SkillUse(8, 3), exams=Exams(pairs=40, gain=5, squares=9, step=5))
        if s.id == "gen_001"
        else s
        for s in SECOND.skills
    ),
)


def test_what_was_added_refined_merged_and_retired():
    found = difference(FIRST, SECOND)
    assert [s.id for s in found.added] == ["dyn_001"]
    assert [(a.principle, b.principle) for a, b in found.refined] == [("Do it.", "Do it twice.")]
    assert [(a.title, b.title) for a, b in found.merged] == [("Three", "Three and four")]
    assert [s.id for s in found.retired] == ["gen_002", "gen_004"]
    assert {event.version for event in found.events} == {2}
    assert "refused" not in {event.action for event in found.events}


def test_use_and_examinations_are_no_difference():
    found = difference(SECOND, USED)
    assert (found.added, found.refined, found.merged, found.retired, found.events) == ((),) * 5
    with pytest.raises(SkillRLError, match="version 2 is newer than version 1"):
        difference(SECOND, FIRST)


def test_the_difference_in_words():
    text = describe_difference(FIRST, SECOND, width=80)
    assert text.startswith(
        "Skill bank, version 1 to 2: 1 added, 1 refined, 1 merged, 2 retired; 4 entries became 3"
    )
    for said in (
        "Added (1)\n  dyn_001  Five",
        "v2 step 5 policy 40 refined: once is not enough",
        "before: One | Do it. | now",
        "after: One | Do it twice. | now",
        "retired: hurts",
        "retired: merged into gen_003",
    ):
        assert said in text


def test_a_life_says_who_when_why_and_what_it_is_worth():
    text = describe_life(
        [FIRST, USED],
        "gen_001",
        utility={"gen_001": Estimate(0.12, 0.03, 0.21, 40)},
        evidence={"train/7#policy.v9.m1.r0": "'put a mug' (clean): lost in 30 steps; rl/1.jsonl"},
    )
    for said in (
        "gen_001  One  (skill of general, in the bank)\n    Do it twice.",
        "proposed by o3, v1 step 0\n    reason: new",
        "train/1#policy.v0.m0.r0\n          not on disk here",
        "v2 step 5 policy 40 refined\n        reason: once is not enough",
        "before: One. Do it.. now",
        "after: One. Do it twice.. now",
        "'put a mug' (clean): lost in 30 steps; rl/1.jsonl",
        "refused 'one'",  # what it kept out of the bank
        "Use: in 8 prompts, 3 of these episodes won",
        "40 tasks played with and without it, 7 won only with it, 2 only without",
        "Utility: helps +12 points, +3 to +21, 40 pairs: surely helps",
    ):
        assert said in text


def test_the_life_of_a_skill_that_has_gone():
    text = describe_life([FIRST, SECOND], "gen_002", utility={}, evidence={})
    assert "no longer in the bank; its last words" in text
    assert "v2 step 5 policy 40 retired\n        reason: hurts" in text
    assert "Examinations: none, so its utility is unmeasured" in text
    alone = describe_life([SECOND], "gen_002", utility={}, evidence={})
    assert "no file has it any more" in alone
    assert "words: Two. Do it." in alone


def test_a_life_without_history_and_one_that_never_was():
    bank = SkillBank((dataclasses.replace(skill("One"), id="x_1"),))
    text = describe_life([bank], "x_1", utility={}, evidence={})
    assert "proposed by o3, step 0; the history does not say how it came" in text
    assert "Changes (0)\n    none" in text
    with pytest.raises(SkillRLError, match=r"no skill 'gen_01' .* Near to it: gen_001"):
        describe_life([FIRST], "gen_01", utility={}, evidence={})


def test_all_sources_of_a_life_once():
    assert sources_of([FIRST, SECOND], "gen_001") == (
        "train/1#policy.v0.m0.r0",
        "train/7#policy.v9.m1.r0",
    )


def test_a_bank_is_shown_with_what_is_measured():
    utility = {
        "gen_001": Estimate(0.12, 0.03, 0.21, 40),
        "dyn_001": Estimate(-0.1, -0.3, 0.1, 12),
        "gen_002": Estimate(0, 0, 0, 1),
    }
    text = describe_bank(USED, utility=utility)
    assert "Utility: 2 measured (1 surely help, 0 surely hurt, 1 undecided), 1 unmeasured" in text
    assert "One  [helps +12 points, +3 to +21, 40 pairs; 3/8 won; o4, step 5, 2 sources]" in text
    assert "Three and four  [unmeasured; unused;" in text
    assert "v2 step 5 policy 40 refined gen_001 'One': once is not enough" in text
    assert "Utility: none of them is measured" in describe_bank(FIRST)
