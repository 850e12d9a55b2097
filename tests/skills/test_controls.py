"""Arms of an evaluation: neutral text of the same length, skills of other categories."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrl.agent.prompt import render_skills
from skillrl.config.presets import resolve_path
from skillrl.config.settings import SkillRetrievalConfig
from skillrl.errors import SkillRLError
from skillrl.models.tokenizer import Tokenizer
from skillrl.skills.bank import SkillBank, skill_text
from skillrl.skills.controls import (
    AskedArm,
    in_place_of,
    make_arms,
    num_played,
    parse_arms,
    shuffled,
)
from skillrl.skills.neutral import neutral_bank
from skillrl.skills.retrieval import Retriever
from skillrl.skills.store import save_bank
from skillrl.types import GENERAL, Skill, SkillUse, Task
from tests.skills.builders import CLEAN, HEAT, LOOK, TableEmbedder, bank_of

TEXTS = ("title", "principle", "when_to_apply")
BANK = bank_of(
    ("g1", 0.9, GENERAL, "skill"),
    ("h1", 0.9, HEAT, "skill"),
    ("h2", 0.5, HEAT, "skill"),
    ("c1", 0.3, CLEAN, "skill"),
    ("c2", 0.2, CLEAN, "skill"),
    ("c3", 0.1, CLEAN, "mistake"),
    ("l1", 0.7, LOOK, "skill"),
    ("m1", 0.9, GENERAL, "mistake"),
)
RETRIEVER = Retriever(TableEmbedder(), SkillRetrievalConfig(top_k=2, similarity_threshold=0.4))
SKILL = Skill(
    id="hea_001",
    title="Treat before you put",
    principle="Heat the object in the microwave before you go to its place, and check it.",
    when_to_apply="The goal names a hot object",
    category=HEAT,
    kind="mistake",
    use=SkillUse(4, 2),
)


def task(number: int, category: str = HEAT) -> Task:
    return Task(id=f"valid_unseen/{number:04d}", split="valid_unseen", category=category, goal="x")


# ---------------------------------------------------------------- neutral text


def test_neutral_text_keeps_the_shape_and_nothing_of_the_words():
    (new,) = neutral_bank(SkillBank((SKILL,), version=7)).skills
    assert (new.id, new.category, new.kind) == (SKILL.id, SKILL.category, SKILL.kind)
    assert new.use == SkillUse()
    assert neutral_bank(SkillBank((SKILL,), version=7)).version == 7
    for name in TEXTS:
        assert len(getattr(new, name).split()) == len(getattr(SKILL, name).split())
        assert getattr(new, name).endswith(".") == getattr(SKILL, name).endswith(".")
    advice = {"heat", "microwave", "object", "put", "goal", "hot", "treat", "check", "go"}
    assert not advice & {word.strip(".").lower() for word in skill_text(new).split()}


def test_what_a_skill_becomes_depends_on_itself_alone():
    other = SkillBank((BANK.skills[0], SKILL))
    assert neutral_bank(other).skills[1] == neutral_bank(SkillBank((SKILL,))).skills[0]
    twice = [SKILL, Skill(id="hea_002", title=SKILL.title, principle=SKILL.principle)]
    first, second = neutral_bank(SkillBank(tuple(twice))).skills
    assert first.principle != second.principle


@given(st.lists(st.integers(1, 120), min_size=3, max_size=3))
def test_every_number_of_words_is_met(lengths):
    texts = {name: " ".join(["word"] * n) for name, n in zip(TEXTS, lengths, strict=True)}
    (new,) = neutral_bank(SkillBank((Skill(id="a", **texts),))).skills
    assert [len(getattr(new, name).split()) for name in TEXTS] == lengths


def test_a_text_that_is_not_there_stays_away():
    (new,) = neutral_bank(SkillBank((Skill(id="a", title="One", principle="Do it now"),))).skills
    assert new.when_to_apply == ""


@pytest.mark.parametrize("policy", ["alfworld", "search"])
def test_with_a_tokenizer_the_number_of_tokens_is_met(policy):
    tokenizer = Tokenizer.load(resolve_path(f"asset:tiny_qwen2_{policy}"))
    words = f"{SKILL.principle} {SKILL.when_to_apply} {SKILL.title}".split()
    skills = [
        Skill(
            id=f"s{n}",
            title=" ".join(words[n : n + 1 + n % 4]),
            principle=" ".join(words[n % 5 : n + 6]),
            when_to_apply=" ".join(words[: n % 7]),
        )
        for n in range(12)
    ]

    def count(*skills):
        return len(tokenizer.encode(render_skills(skills)))

    new = neutral_bank(SkillBank(tuple(skills)), count_tokens=count)
    for skill, neutral in zip(skills, new.skills, strict=True):
        assert abs(count(neutral) - count(skill)) <= 1, skill_text(neutral)
    assert abs(count(*new.skills) - count(*skills)) <= 3


def test_neutral_text_stands_where_the_skills_would():
    (own,) = make_arms(parse_arms("own"), {"own": BANK}, retriever=RETRIEVER)
    (arm,) = make_arms(parse_arms("neutral"), {"own": BANK}, retriever=RETRIEVER)
    for number in range(4):
        skills = arm.retrieve(arm.bank, task(number))
        assert [s.id for s in skills] == [s.id for s in own.retrieve(own.bank, task(number))]
        assert all(skill in arm.bank.skills and skill not in BANK.skills for skill in skills)


def test_twins_must_be_there():
    with pytest.raises(SkillRLError, match="no skill 'g1'"):
        in_place_of(BANK, RETRIEVER)(SkillBank(), task(0))


# ---------------------------------------------------------------- another category's skills


def test_shuffled_gives_another_categorys_skills_alone():
    (arm,) = make_arms(parse_arms("shuffled"), {"own": BANK}, retriever=RETRIEVER)
    seen = collections.Counter()
    for number in range(60):
        for category in (HEAT, CLEAN, LOOK):
            skills = arm.retrieve(BANK, task(number, category))
            (given_,) = {skill.category for skill in skills}
            assert given_ not in (category, GENERAL)
            assert len(skills) <= len(RETRIEVER(BANK, task(number, category)))
            assert skills == arm.retrieve(BANK, task(number, category))
            seen[category, given_] += 1
    assert len(seen) == 6
    assert min(seen.values()) > 12  # of 30 expected
    # h1 is above the threshold for every query here, c1 and c2 are not: they come all the same.
    cleaned = next(
        found for n in range(9) if (found := arm.retrieve(BANK, task(n)))[0].category == CLEAN
    )
    assert [skill.id for skill in cleaned] == ["c1", "c2", "c3"]


def test_shuffled_gives_no_more_than_the_task_had():
    few = bank_of(("h1", 0.9, HEAT, "skill"), *[(f"c{n}", 0.9, CLEAN, "skill") for n in range(5)])
    assert len(RETRIEVER(few, task(0))) == 1
    assert [s.id for s in shuffled(RETRIEVER)(few, task(0))] == ["c0"]
    only = bank_of(("c1", 0.9, CLEAN, "skill"))
    assert shuffled(RETRIEVER)(only, task(0, CLEAN)) == ()
    assert shuffled(RETRIEVER)(only, task(0, HEAT)) == ()  # it had none of its own


def test_what_cannot_be_shuffled_or_imitated_is_refused():
    one = bank_of(("h1", 0.9, HEAT, "skill"), ("g1", 0.9, GENERAL, "skill"))
    for bank, words in ((one, f"skills of {HEAT} alone"), (SkillBank(), "no category alone")):
        with pytest.raises(SkillRLError, match=words):
            make_arms(parse_arms("shuffled"), {"own": bank}, retriever=RETRIEVER)
    with pytest.raises(SkillRLError, match="no skills to imitate"):
        make_arms(parse_arms("neutral"), {"own": SkillBank()}, retriever=RETRIEVER)


# ---------------------------------------------------------------- what --bank says


def test_arms_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.json", "a,b.json", "neutral"):
        save_bank(BANK, name)
    assert parse_arms("own, none,shuffled:initial,neutral:b.json") == (
        AskedArm("own", "own"),
        AskedArm("none", "none"),
        AskedArm("shuffled:initial", "initial", "shuffled"),
        AskedArm("neutral:b.json", "b.json", "neutral"),
    )
    assert parse_arms("a,b.json") == (AskedArm("a,b.json", "a,b.json"),)
    assert parse_arms("shuffled,neutral") == (
        AskedArm("shuffled", "own", "shuffled"),
        AskedArm("neutral", "own", "neutral"),
    )
    assert parse_arms("./neutral") == (AskedArm("./neutral", "./neutral"),)
    assert [num_played(text) for text in (None, "none", "own", "own,none", "x,y,z")] == [
        1, 1, 2, 2, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--bank=: no such arm"),
        ("own,", "no such arm"),
        ("Own", "--bank=Own: no such arm, nor a file; an arm is none, own, initial or the file"),
        ("neutral:none", "no such arm"),
        ("neutral:", "no such arm"),
        ("none:own", "no such arm"),
        ("shuffled:gone.json", "--bank=shuffled:gone.json: no such arm"),
        ("own,none,own", "'own' stands there twice"),
        ("a\0b", "no such arm"),
        ("x" * 5000, "no such arm"),
    ],
)
def test_what_is_no_arm_is_refused_with_those_there_are(text, words):
    with pytest.raises(SkillRLError, match=words) as caught:
        parse_arms(text)
    assert len(str(caught.value)) < 600
