import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillrl.errors import Corrupt, SkillRLError
from skillrl.skills.bank import SkillBank
from skillrl.skills.history import ACTIONS, BankEvent
from skillrl.skills.proposals import Addition
from skillrl.skills.released import save_released
from skillrl.skills.store import bank_from_json, bank_to_json, load_bank, save_bank
from skillrl.types import GENERAL, Exams, Provenance, Skill, SkillUse
from tests.skills.builders import CLEAN, LOOK, PICK, TWO, played

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RELEASED = {
    "general_skills": [
        {"skill_id": "gen_001", "title": "Look", "principle": "Look first.", "when_to_apply": "now"}
    ],
    "task_specific_skills": {
        "pick_and_place": [{"skill_id": "pic_001", "title": "A", "principle": "P."}],
        "look_at_obj_in_light": [{"skill_id": "loo_001", "title": "B", "principle": "P."}],
        "examine": [{"skill_id": "exa_001", "title": "C", "principle": "P."}],
        "clean": [{"skill_id": "cle_001", "title": "D", "principle": "P."}],
    },
    "common_mistakes": [
        {
            "mistake_id": "err_001",
            "description": "Loops",
            "why_it_happens": "no memory",
            "how_to_avoid": "Keep a list.",
        }
    ],
    "metadata": {"source": "x"},
}


OWN = {"id": "a", "title": "b", "principle": "c"}
EVENT = {"version": 1, "step": 0, "action": "added", "skill": "a"}


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_own_format_round_trip(tmp_path):
    made = Skill(
        title="A",
        principle="P.",
        when_to_apply="w",
        category=CLEAN,
        provenance=Provenance("o3", 5, ("t1", "t2")),
    )
    bank = (
        SkillBank()
        .apply([Addition(skill=made, evolved=True)], step=5)
        .record_use([played([], won=True, skills=("dyn_001",))])
    )
    save_bank(bank, tmp_path / "deep" / "bank.json")
    assert load_bank(tmp_path / "deep" / "bank.json") == bank
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bank.json"]


TEXTS = st.text(st.characters(), max_size=12)
WORDS = TEXTS.filter(str.strip)
COUNTS = st.integers(0, 2**31 - 1)


@st.composite
def histories_of_exams(draw):
    pairs = draw(st.integers(0, 40))
    squares = draw(st.integers(0, pairs))
    return Exams(
        pairs=pairs,
        gain=draw(st.integers(-squares, squares)),
        squares=squares,
        step=draw(COUNTS),
        policy_version=draw(COUNTS),
    )


SKILLS = st.builds(
    Skill,
    id=WORDS,
    title=WORDS,
    principle=WORDS,
    when_to_apply=TEXTS,
    category=st.sampled_from([GENERAL, CLEAN]),
    kind=st.sampled_from(["skill", "mistake"]),
    provenance=st.builds(Provenance, TEXTS, COUNTS, st.lists(TEXTS, max_size=3).map(tuple)),
    use=st.tuples(COUNTS, COUNTS).map(lambda n: SkillUse(max(n), min(n))),
    exams=histories_of_exams(),
)
EVENTS = st.builds(
    BankEvent,
    version=COUNTS,
    step=COUNTS,
    action=st.sampled_from(ACTIONS),
    skill=TEXTS,
    title=TEXTS,
    reason=TEXTS,
    policy_version=COUNTS,
    sources=st.lists(TEXTS, max_size=3).map(tuple),
    before=TEXTS,
    after=TEXTS,
)
BANKS = st.builds(
    SkillBank,
    st.lists(SKILLS, max_size=3, unique_by=lambda skill: skill.id).map(tuple),
    COUNTS,
    st.lists(EVENTS, max_size=3).map(tuple),
)


@SLOW
@given(BANKS)
def test_any_bank_comes_back_from_its_json(bank):
    assert bank_from_json(json.loads(json.dumps(bank_to_json(bank)))) == bank


def test_a_bank_written_before_events_had_evidence_still_reads():
    data = {"format": 1, "version": 1, "skills": [OWN], "history": [EVENT | {"before": "x"}]}
    (event,) = bank_from_json(data).history
    assert (event.before, event.after, event.sources, event.policy_version) == ("x", "", (), 0)


def test_released_format_with_aliases(tmp_path):
    bank = load_bank(write(tmp_path / "b.json", RELEASED))
    assert [(s.id, s.category, s.kind) for s in bank.skills] == [
        ("gen_001", GENERAL, "skill"),
        ("pic_001", PICK, "skill"),
        ("loo_001", LOOK, "skill"),
        ("exa_001", LOOK, "skill"),
        ("cle_001", CLEAN, "skill"),
        ("err_001", GENERAL, "mistake"),
    ]
    assert bank.get("err_001").principle == "Keep a list."
    assert bank.get("err_001").when_to_apply == "no memory"


def test_query_type_skills_are_task_specific_skills(tmp_path):
    data = {"general_skills": [], "query_type_skills": {"comparison": RELEASED["general_skills"]}}
    (only,) = load_bank(write(tmp_path / "b.json", data)).skills
    assert only.category == "comparison"


def test_released_round_trip_keeps_the_words(tmp_path):
    bank = load_bank(write(tmp_path / "b.json", RELEASED))
    bank = bank.add([Skill(title="Again", principle="Do not.", category=CLEAN, kind="mistake")])
    save_released(bank, tmp_path / "c.json", metadata={"note": 1})
    again = load_bank(tmp_path / "c.json")
    assert {s.id: s for s in again.skills} == {s.id: s for s in bank.skills}
    raw = json.loads((tmp_path / "c.json").read_text())
    assert set(raw) == set(RELEASED)
    assert raw["metadata"]["note"] == 1
    assert set(raw["common_mistakes"][0]) == set(RELEASED["common_mistakes"][0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: "{", ["not valid JSON"]),
        (lambda d: [], ["not a skill bank"]),
        (lambda d: {"skills": []}, ["general_skills"]),
        (lambda d: d | {"general_skills": {}}, ["general_skills", "list"]),
        (lambda d: d | {"general_skills": ["x"]}, ["general_skills[0]", "object"]),
        (
            lambda d: d | {"general_skills": [{"skill_id": "a", "title": 3}]},
            ["general_skills[0]", "'title'", "3"],
        ),
        (
            lambda d: d | {"task_specific_skills": {"heat": [{"skill_id": "a", "title": "b"}]}},
            ["task_specific_skills.heat[0]", "'principle'"],
        ),
        (
            lambda d: d | {"general_skills": d["general_skills"] * 2},
            ["'gen_001'", "twice"],
        ),
        (lambda d: {"format": 99}, ["format 99"]),
        (lambda d: {"format": 1, "version": -1}, ["'version'", "-1"]),
        (
            lambda d: {"format": 1, "version": 0, "skills": [{"id": "a", "title": "b"}]},
            ["skills[0]", "'principle'", "missing"],
        ),
        (
            lambda d: {"format": 1, "version": 0, "skills": [{"title": "b", "principle": "c"}]},
            ["skills[0]", "'id'", "missing"],
        ),
        (
            lambda d: {"format": 1, "version": 0, "skills": [{"ID": "a"}]},
            ["skills[0]", "unknown field 'ID'"],
        ),
        (
            lambda d: {
                "format": 1,
                "version": 0,
                "skills": [{"id": "a", "title": "b", "principle": "c", "use": {"wins": "1"}}],
            },
            ["skills[0].use", "'wins'", "'1'"],
        ),
        (
            lambda d: {
                "format": 1,
                "version": 0,
                "skills": [OWN | {"exams": {"pairs": 2, "gain": -2, "squares": 1}}],
            },
            ["skills[0].exams", "gain -2 and squares 1 in 2 pairs"],
        ),
        (
            lambda d: {"format": 1, "version": 0, "skills": [OWN | {"exams": {"pairs": -1}}]},
            ["skills[0].exams", "'pairs' is -1", "from 0"],
        ),
        (lambda d: {"format": True, "version": 0}, ["format True"]),
        (lambda d: {"format": 1, "version": 0, "skils": []}, ["unknown field 'skils'", "history"]),
        (lambda d: {"format": 1, "version": 2**40}, ["'version'"]),
        (
            lambda d: {"format": 1, "version": 0, "skills": [OWN | {"use": {"wins": 3}}]},
            ["skills[0].use", "3 wins in 0 episodes"],
        ),
        (
            lambda d: {"format": 1, "version": 0, "skills": [OWN | {"id": ["x"]}]},
            ["skills[0]", "'id' is ['x']", "a text"],
        ),
        (
            lambda d: {"format": 1, "version": 0, "history": [EVENT | {"action": "forgot"}]},
            ["history[0]", "'forgot'", "added, refined, merged, retired, refused"],
        ),
        (
            lambda d: json.dumps(d | {"metadata": {"a": 1}}).replace('"a": 1', '"a": NaN'),
            ["the bank", "not finite"],
        ),
        (lambda d: d | {"metadata": [1]}, ["metadata", "[1]", "an object"]),
        (lambda d: {"format": 1, "version": 0, "notes": [1]}, ["'notes' is [1]"]),
        (
            lambda d: {"format": 1, "version": 0, "skills": [OWN | {"notes": "x"}]},
            ["skills[0]", "'notes' is 'x'"],
        ),
        (
            lambda d: d | {"general_skills": [d["general_skills"][0] | {"when_to_apply": False}]},
            ["general_skills[0]", "'when_to_apply' is False"],
        ),
    ],
)
def test_a_malformed_bank_names_file_entry_and_field(tmp_path, change, words):
    path = write(tmp_path / "b.json", change(dict(RELEASED)))
    with pytest.raises(SkillRLError) as caught:
        load_bank(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_missing_bank(tmp_path):
    with pytest.raises(SkillRLError, match="no such file"):
        load_bank(tmp_path / "none.json")


def test_half_an_emoji_and_a_byte_order_mark(tmp_path):
    text = json.dumps({"format": 1, "version": 0, "skills": [OWN | {"title": "half \ud83d"}]})
    (tmp_path / "b.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    bank = load_bank(tmp_path / "b.json")
    assert bank.skills[0].title == "half \ufffd"
    save_bank(bank, tmp_path / "c.json")
    assert load_bank(tmp_path / "c.json") == bank


def test_a_changed_bank_is_corrupt(tmp_path):
    path = tmp_path / "b.json"
    save_bank(SkillBank().add([Skill(title="A", principle="P.")]), path)
    path.write_text(path.read_text().replace('"P."', '"Q."'))
    with pytest.raises(Corrupt, match=r"b\.json: is corrupt"):
        load_bank(path)


def test_a_number_of_thousands_of_digits_is_no_number_of_an_id(tmp_path):
    strange = Skill(id="dyn_" + "9" * 5000, title="A", principle="P.")
    addition = Addition(skill=Skill(title="B", principle="Q."), evolved=True)
    bank = SkillBank((strange,)).apply([addition])
    assert bank.skills[1].id == "dyn_001"


def test_all_that_a_released_bank_says_is_written_again(tmp_path):
    data = {
        "general_skills": [RELEASED["general_skills"][0] | {"confidence": 0.5}],
        "task_specific_skills": RELEASED["task_specific_skills"],
        "query_type_skills": {"comparison": [{"skill_id": "com_001", "title": "E",
                                              "principle": "P.", "when_to_apply": ""}]},
        "common_mistakes": [RELEASED["common_mistakes"][0] | {"seen_in": ["t1", 2]}],
        "comments": "by hand",
        "metadata": {"source": "x", "total_memories_analyzed": 223, "success": {"clean": 9}},
    }  # fmt: skip
    bank = load_bank(write(tmp_path / "b.json", data))
    assert bank.get("exa_001").category == bank.get("loo_001").category == LOOK
    save_bank(bank, tmp_path / "own.json")
    assert load_bank(tmp_path / "own.json") == bank
    bank = load_bank(tmp_path / "own.json")
    save_released(bank, tmp_path / "c.json")
    again = json.loads((tmp_path / "c.json").read_text())
    for entries in data["task_specific_skills"].values():
        for entry in entries:
            entry.setdefault("when_to_apply", "")
    assert again == data | {"metadata": data["metadata"] | {"bank_version": 0}}
    assert load_bank(tmp_path / "c.json").skills == bank.skills


def test_categories_are_written_as_the_released_code_looks_for_them(tmp_path):
    bank = SkillBank().add(
        [Skill(title=c, principle="P.", category=c) for c in (CLEAN, PICK, LOOK, TWO, "apparel")]
    )
    save_released(bank, tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())["task_specific_skills"]
    assert list(found) == ["clean", "pick_and_place", LOOK, TWO, "apparel"]
    assert load_bank(tmp_path / "b.json").skills == bank.skills


def test_notes_outlive_what_happens_to_the_bank(tmp_path):
    bank = load_bank(write(tmp_path / "b.json", RELEASED | {"comments": "by hand"}))
    changed = bank.add([Skill(title="New", principle="Q.")]).record_use([])
    assert (
        changed.notes
        == bank.notes
        == {"released": {"fields": {"comments": "by hand", "metadata": {"source": "x"}}}}
    )
