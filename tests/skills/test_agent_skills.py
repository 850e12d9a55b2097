"""Banks as directories of Agent Skills: ours come back as they were, others come in sensibly."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.errors import SkillRLError
from skillrl.skills.agent_skills import files_left_out
from skillrl.skills.bank import SkillBank
from skillrl.skills.proposals import Refinement
from skillrl.skills.store import export_bank, load_bank
from skillrl.types import GENERAL, Exams, Provenance, Skill, SkillUse
from tests.skills.builders import CLEAN

FOREIGN = """---
name: pdf-processing
description: Extract text from PDF files. Use when a user mentions PDFs.
license: MIT
allowed-tools:
- Bash(git:*)
- Read
version: 1.10
metadata:
  author: example-org
  created: 2026-01-31
---

# PDF processing

Open the file first.
"""
BANK = SkillBank(
    (
        Skill(
            id="gen_001",
            title="Look around",
            principle="Look before you act.\n\n- then act",
            when_to_apply="at the start",
            provenance=Provenance("o3", 5, ("train/0001#policy.v0.m0.r0",)),
            use=SkillUse(9, 4),
            exams=Exams(pairs=6, gain=-2, squares=4, step=5, policy_version=40),
        ),
        Skill(id="cle_001", title="Look: around!", principle="P.", category=CLEAN),
        Skill(
            id="err_001",
            title="Went in circles",
            principle="Keep a list.",
            when_to_apply="no memory",
            kind="mistake",
        ),
        Skill(id="漢", title="看", principle="先看。"),
    ),
    version=3,
)


def written(bank, place):
    export_bank(bank, place, format="agent_skills")
    return load_bank(place)


def folder(place, name, text):
    (place / name).mkdir(parents=True)
    (place / name / "SKILL.md").write_bytes(text.encode("utf-8", "surrogateescape"))
    return place


def test_a_bank_comes_back_but_for_its_version(tmp_path):
    assert written(BANK, tmp_path / "skills").skills == BANK.skills
    names = sorted(path.name for path in (tmp_path / "skills").iterdir())
    assert names == ["look-around", "look-around-2", "skill", "went-in-circles"]
    assert list(tmp_path.iterdir()) == [tmp_path / "skills"]  # no temporary is left
    text = (tmp_path / "skills" / "look-around" / "SKILL.md").read_text()
    assert text.startswith("---\nname: look-around\ndescription: ")
    assert "Look around. When: at the start" in text
    assert text.endswith("---\n\nLook before you act.\n\n- then act\n")
    mistake = (tmp_path / "skills" / "went-in-circles" / "SKILL.md").read_text()
    assert "Avoid: Went in circles. Why it happens: no memory" in mistake


def test_a_foreign_skill_comes_in_and_goes_out_as_it_was(tmp_path):
    folder(tmp_path / "a", "pdf-processing", FOREIGN)
    (skill,) = load_bank(tmp_path / "a").skills
    assert (skill.id, skill.title) == ("pdf-processing", "Pdf processing")
    assert skill.principle == "# PDF processing\n\nOpen the file first."
    assert skill.when_to_apply.startswith("Extract text from PDF files.")
    assert (skill.category, skill.kind, skill.use) == (GENERAL, "skill", SkillUse())
    assert skill.notes["agent_skills"]["front_matter"] == {
        "license": "MIT",
        "allowed-tools": ["Bash(git:*)", "Read"],
        "version": "1.10",
        "metadata": {"author": "example-org", "created": "2026-01-31"},
    }
    assert written(SkillBank((skill,)), tmp_path / "b").skills == (skill,)
    again = (tmp_path / "b" / "pdf-processing" / "SKILL.md").read_text()
    quoted = FOREIGN.replace("1.10", "'1.10'").replace("2026-01-31", "'2026-01-31'")
    assert again == quoted  # as texts, which the specification wants


def test_a_description_alone_is_the_principle(tmp_path):
    folder(
        tmp_path, "be-brief", "---\nname: be-brief\ndescription: >-\n  Answer\n  briefly.\n---\n"
    )
    (skill,) = load_bank(tmp_path).skills
    assert (skill.principle, skill.when_to_apply) == ("Answer briefly.", "")
    assert load_bank(tmp_path / "be-brief").skills == (skill,)  # the one folder is enough


def test_what_a_run_adds_to_a_foreign_skill_stands_in_its_metadata(tmp_path):
    bank = load_bank(folder(tmp_path / "a", "pdf-processing", FOREIGN))
    bank = bank.apply([Refinement(target="pdf-processing", principle="New.", teacher="o3")], step=4)
    (skill,) = written(bank, tmp_path / "b").skills
    assert skill == bank.skills[0]
    assert skill.notes["agent_skills"]["front_matter"]["license"] == "MIT"
    text = (tmp_path / "b" / "pdf-processing" / "SKILL.md").read_text()
    assert "author: example-org" in text
    assert "skillrl-provenance" in text


def test_files_beside_are_named_and_not_copied(tmp_path):
    place = folder(tmp_path / "a", "pdf-processing", FOREIGN)
    for name in ("scripts/run.py", "LICENSE.txt"):
        (place / "pdf-processing" / name).parent.mkdir(exist_ok=True)
        (place / "pdf-processing" / name).write_text("x")
    bank = load_bank(place)
    assert files_left_out(bank) == ("pdf-processing/LICENSE.txt", "pdf-processing/scripts/run.py")
    export_bank(bank, tmp_path / "bank.json", format="skillrl")
    assert load_bank(tmp_path / "bank.json") == bank
    export_bank(bank, tmp_path / "b", format="agent_skills")
    assert [p.name for p in (tmp_path / "b" / "pdf-processing").iterdir()] == ["SKILL.md"]


def test_an_edit_by_hand_counts(tmp_path):
    export_bank(BANK, tmp_path / "s", format="agent_skills")
    path = tmp_path / "s" / "look-around" / "SKILL.md"
    path.write_text(path.read_text().replace("Look before you act.", "Look twice."))
    skill = load_bank(tmp_path / "s").get("gen_001")
    assert skill == dataclasses.replace(BANK.skills[0], principle="Look twice.\n\n- then act")
    said = "Look around. When: at the start"
    path.write_text(path.read_text().replace(said, "Whenever you enter a room"))
    skill = load_bank(tmp_path / "s").get("gen_001")
    assert skill.when_to_apply == "Whenever you enter a room"
    assert skill.title == "Look around"


def test_ours_and_others_stand_side_by_side(tmp_path, caplog):
    export_bank(BANK, tmp_path / "s", format="agent_skills")
    folder(tmp_path / "s", "a-new-one", "---\nname: a-new-one\ndescription: D.\n---\nDo it.")
    (tmp_path / "s" / "drafts").mkdir()
    (tmp_path / "s" / ".git").mkdir()
    bank = load_bank(tmp_path / "s")
    assert [skill.id for skill in bank.skills] == [*(s.id for s in BANK.skills), "a-new-one"]
    assert "drafts without SKILL.md" in caplog.text
    assert ".git" not in caplog.text


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(written(BANK, tmp_path / "empty")) == 4
    for form, name in (("agent_skills", "empty"), ("released", "empty"), ("skillrl", "empty")):
        with pytest.raises(SkillRLError, match="something is there already"):
            export_bank(BANK, tmp_path / name, format=form)
    with pytest.raises(SkillRLError, match="the bank has no skill"):
        export_bank(SkillBank(), tmp_path / "x", format="agent_skills")
    with pytest.raises(SkillRLError, match="no bank format 'yaml'; there are: skillrl, released"):
        export_bank(BANK, tmp_path / "x", format="yaml")


def test_a_bank_is_written_whole_or_not_at_all(tmp_path):
    long = Provenance("o3", 0, tuple(f"train/{i:040d}" for i in range(2000)))
    bank = SkillBank((*BANK.skills, Skill(id="x", title="X", principle="P.", provenance=long)))
    with pytest.raises(SkillRLError, match=r"'x': its front matter has .* characters"):
        export_bank(bank, tmp_path / "s", format="agent_skills")
    assert list(tmp_path.iterdir()) == []


GOOD = "name: ab\ndescription: D."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# no front matter", ["first line"]),
        ("---\ndescription: D.\n---\n", ["'name' is None"]),
        ("---\nname: ab\n---\n", ["'description' is None"]),
        ("---\nname: ab\ndescription: ''\n---\n", ["'description'", "not empty"]),
        ("---\nname: [ab]\ndescription: D.\n---\n", ["'name' is ['ab']"]),
        ("---\nname: Ab\ndescription: D.\n---\n", ["'Ab'", "lowercase"]),
        ("---\nname: a--b\ndescription: D.\n---\n", ["'a--b'"]),
        ("---\nname: other\ndescription: D.\n---\n", ["'other'", "folder is called 'ab'"]),
        (f"---\nname: ab\ndescription: {'x' * 1025}\n---\n", ["1,025 characters", "1,024"]),
        (f"---\n{GOOD}\nmetadata: [1]\n---\n", ["'metadata' is [1]"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-colour: red\n---\n", ["'skillrl-colour'", "Remove"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-id: 7\n---\n", ["'skillrl-id' is 7", "quotes"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-id: ' '\n---\n", ["'id'"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-kind: odd\n---\n", ["'odd'", "skill, mistake"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-format: '9'\n---\n", ["'9'", "reads '1'"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-position: x\n---\n", ["'x'", "whole number"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-use: '{{'\n---\n", ["skillrl-use' is not JSON"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-use: '[]'\n---\n", ["skillrl-use' is []"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-use: '{{\"wins\": 2}}'\n---\n", ["2 wins in 0"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-exams: '{{\"gain\": 2}}'\n---\n", ["gain 2"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-exams: '{{\"pears\": 2}}'\n---\n", ["'pears'"]),
        (f"---\n{GOOD}\nmetadata:\n  skillrl-notes: '{{\"a\": NaN}}'\n---\n", ["skillrl-notes"]),
        (f"---\n{GOOD}\n---\n\udcff", ["UTF-8"]),
        (f"---\n{GOOD}\n---\n" + "x" * (1 << 20), ["bytes"]),
    ],
)
def test_a_malformed_skill_names_file_field_and_value(tmp_path, text, words):
    with pytest.raises(SkillRLError) as caught:
        load_bank(folder(tmp_path, "ab", text))
    for word in [str(tmp_path / "ab" / "SKILL.md"), *words]:
        assert word in str(caught.value)


def test_a_directory_without_skills(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(SkillRLError, match=r"no folder with a SKILL\.md"):
        load_bank(tmp_path)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WORDS = TEXTS.filter(lambda text: bool(text.strip())) | st.just("x" * 1500)
COUNTS = st.integers(0, 1000)


@st.composite
def exams(draw):
    pairs = draw(COUNTS)
    squares = draw(st.integers(0, pairs))
    return Exams(
        pairs=pairs,
        gain=draw(st.integers(-squares, squares)),
        squares=squares,
        step=draw(COUNTS),
        policy_version=draw(COUNTS),
    )


@st.composite
def skills(draw):
    wins = draw(COUNTS)
    return Skill(
        id=draw(WORDS),
        title=draw(WORDS),
        principle=draw(WORDS),
        when_to_apply=draw(TEXTS | st.just("x" * 1200)),
        category=draw(st.just(GENERAL) | WORDS),
        kind=draw(st.sampled_from(["skill", "mistake"])),
        provenance=draw(st.builds(Provenance, TEXTS, COUNTS, st.tuples() | st.tuples(TEXTS))),
        use=SkillUse(wins + draw(COUNTS), wins),
        exams=draw(exams()),
        notes=draw(st.just({}) | st.just({"released": {"fields": {"weight": 0.5, "é": [None]}}})),
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(skills(), min_size=1, max_size=3, unique_by=lambda skill: skill.id))
def test_any_bank_comes_back(found):
    with tempfile.TemporaryDirectory() as place:
        assert written(SkillBank(tuple(found)), Path(place) / "s").skills == tuple(found)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_read_or_refused(data):
    text = FOREIGN.replace("pdf-processing", "ab")
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 20)))
    text = text[:at] + data.draw(st.text("-:[]{}&*!|>'\"#\n\x00 a1\udcff", max_size=6)) + text[end:]
    with tempfile.TemporaryDirectory() as place:
        folder(Path(place), "ab", text)
        try:
            bank = load_bank(place)
        except SkillRLError:
            return
        with tempfile.TemporaryDirectory() as other:
            assert written(bank, Path(other) / "again").skills == bank.skills
