"""Whatever JSON a teacher answers: skills, or a reason why not; never a traceback or a lost run."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillrl.skills.answers import read_entries, read_skill
from skillrl.skills.bank import SkillBank
from skillrl.skills.demonstrations import rewrite_thoughts
from skillrl.skills.distill import distill
from skillrl.skills.evolve import evolve
from skillrl.skills.store import load_bank, save_bank
from skillrl.teacher.ask import find_json
from skillrl.teacher.base import TeacherError, Unusable
from skillrl.types import Skill
from tests.skills.builders import CLEAN, HEAT, NEVER_OPENED, WIN_CLEAN, played

NAMES = (
    "title", "principle", "when_to_apply", "sources", "category", "cause", "id", "ids",
    "add", "refine", "merge", "retire", "where_it_failed", "what_was_wrong", "what_to_do_instead",
)  # fmt: skip
CHANGES = ("add", "refine", "merge", "retire")
TEXTS = st.sampled_from(["Open it", CLEAN, "general", "gen_001", "", " ", "x" * 700]) | st.text(
    st.characters(), max_size=5
)
SCALARS = (
    st.none()
    | st.booleans()
    | TEXTS
    | st.floats()
    | st.sampled_from([10**400, -1, 0, 1e308, 2**64])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=5)
    ),
    max_leaves=10,
)
ENTRIES = st.fixed_dictionaries(
    {}, optional={name: TEXTS | VALUES for name in NAMES if name not in CHANGES}
)
GOOD = {name: name for name in NAMES[-3:]} | {
    "title": "Open it",
    "principle": "Open what is closed.",
}
MERGED = GOOD | {"ids": ["gen_001", "pic_001"]}
RETIRED = {"id": "pic_001", "cause": "it misleads"}
LISTS = st.lists(ENTRIES | VALUES | st.sampled_from([GOOD, MERGED, RETIRED]), max_size=4)
ANSWERS = VALUES | LISTS | st.fixed_dictionaries({}, optional=dict.fromkeys(CHANGES, LISTS))

ROLLOUTS = [
    played(WIN_CLEAN, won=True, task="1"),
    *(played(NEVER_OPENED, task=str(i)) for i in range(2, 6)),
    played(WIN_CLEAN, won=True, task="7", category=HEAT),
]
HARD = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Says:
    """A teacher that answers every question with one text, and forgets what is of no use."""

    model_id, simulated = "says", True

    def __init__(self, text):
        self.text, self.forgotten, self.asked = text, 0, 0

    def complete(self, messages, *, purpose):
        json.dumps(list(messages), ensure_ascii=False).encode()  # can be sent
        self.asked += 1
        return self.text

    def forget(self, messages):
        self.forgotten += 1


def check_saved(bank, folder):
    path = folder / "bank.json"
    save_bank(bank, path)
    assert load_bank(path) == bank


@HARD
@given(ANSWERS)
def test_any_json_makes_a_bank_or_a_refusal(tmp_path_factory, answer):
    teacher = Says(json.dumps(answer))
    try:
        bank, report = distill(ROLLOUTS, teacher=teacher, categories=[CLEAN, HEAT])
    except TeacherError:
        assert teacher.asked in (5, 15) or teacher.forgotten  # nothing to use in any answer
        return
    assert len(bank)
    assert teacher.forgotten == report.counts.malformed
    assert set(report.reasons) == set(report.skipped)
    json.dumps(report.to_json(), ensure_ascii=False).encode()
    check_saved(bank, tmp_path_factory.getbasetemp())


@HARD
@given(ANSWERS)
def test_any_json_lets_a_bank_grow_or_leaves_it(tmp_path_factory, answer):
    bank = SkillBank().add(
        [
            Skill(title="Old", principle="Old it."),
            Skill(title="Odd", principle="Odd it.", category=CLEAN),
        ]
    )
    new, event = evolve(bank, ROLLOUTS, teacher=Says(json.dumps(answer)), step=5)
    assert event.failing == (CLEAN,)
    assert (new == bank) or len(new.history) > len(bank.history)
    if event.teacher_failures:
        assert new is bank
        assert event.teacher_error
    json.dumps(event.to_json(), ensure_ascii=False).encode()
    check_saved(new, tmp_path_factory.getbasetemp())


@HARD
@given(VALUES | st.lists(TEXTS, min_size=7, max_size=7))
def test_any_json_makes_thoughts_or_none(answer):
    found = rewrite_thoughts(ROLLOUTS[0], teacher=Says(json.dumps(answer)), skills=[])
    if found is not None:
        assert len(found) == len(ROLLOUTS[0].steps)
        "".join(found).encode()


@HARD
@given(st.text(st.characters(), max_size=40) | st.text('[]{}",:1ea\\u d83', max_size=30))
def test_any_text_holds_json_or_not(text):
    try:
        value = find_json(text)
    except ValueError:
        return
    assert isinstance(value, dict | list)
    json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "deep", ["[" * 5000, '{"a":' * 5000, "[" * 150 + "]" * 150, "[" + "9" * 5000]
)
def test_towers_and_endless_numbers_are_no_json(deep):
    with pytest.raises(ValueError):
        find_json(deep)
    if len(deep) <= 300:
        assert find_json(f'{deep} no. Rather: [{{"a": 1}}]') == [{"a": 1}]


def test_malformed_entries_are_left_out_with_their_reason_and_the_others_kept():
    entries = [GOOD, {**GOOD, "title": ""}, 5, {**GOOD, "title": "Two", "sources": "train/1"}]
    found = read_entries(entries, lambda item: read_skill(item, ["train/1"], teacher="t", step=0))
    assert [skill.title for skill in found.kept] == ["Open it", "Two"]
    assert found.kept[1].provenance.sources == ("train/1",)
    assert found.dropped == (
        "entry 2: field 'title' is empty",
        "entry 3: expected an object with 'title', got int",
    )
    bank, report = distill(ROLLOUTS, teacher=Says(json.dumps(entries)), categories=[CLEAN])
    assert {skill.title for skill in bank.skills} == {"Open it", "Two"}
    assert report.counts.dropped == 2 * 5  # of five questions
    assert report.counts.malformed == 0


def test_control_characters_do_not_reach_the_bank():
    skill = read_skill({**GOOD, "title": "a\x1b[2Jb\x00c"}, [], teacher="t", step=0)
    assert skill.title == "a [2Jb c"


@pytest.mark.parametrize("answer", ['{"refine": [{"id": ["x"]}]}', '{"add": [{"category": []}]}'])
def test_an_id_or_category_of_another_type(answer):
    entry = json.loads(answer)
    ((_, (item,)),) = entry.items()
    item |= {"title": "A", "principle": "B."}
    bank, event = evolve(SkillBank(), ROLLOUTS, teacher=Says(json.dumps(entry)), step=5)
    assert (len(bank), event.teacher_failures) == (0, 1)
    assert "['x']" in event.teacher_error or "[]" in event.teacher_error


# A teacher without a usable answer.


class Moody(Says):
    """Raises what `moods` maps a purpose to; `longest` is how many recordings it can read."""

    def __init__(self, *, moods=None, longest=99):
        super().__init__(json.dumps([GOOD]))
        self.moods, self.longest, self.seen = moods or {}, longest, []

    def complete(self, messages, *, purpose):
        if purpose in self.moods:
            raise self.moods[purpose]
        shown = messages[1]["content"].count("=== Trajectory")
        self.seen.append((purpose, shown))
        if shown > self.longest:
            raise TeacherError("status 400: maximum context length", too_long=True)
        return super().complete(messages, purpose=purpose)


ALL = ("distill_general", "distill_mistakes", "distill_success", "distill_failure")


@pytest.mark.parametrize("text", ["[]", '{"skills": []}'])
def test_empty_lists_alone_are_no_bank(text):
    with pytest.raises(
        TeacherError, match=r"not one skill came of 5.*5 x it answered with an empty"
    ):
        distill(ROLLOUTS, teacher=Says(text), categories=[CLEAN])


def test_a_refusal_of_everything_is_told_in_the_servers_words():
    moods = dict.fromkeys(ALL, Unusable("it was refused: 'No.' (finish_reason=stop)"))
    with pytest.raises(TeacherError, match=r"5 x it was refused: 'No\.' \(finish_reason=stop\)"):
        distill(ROLLOUTS, teacher=Moody(moods=moods), categories=[CLEAN])


@pytest.mark.parametrize("error", [Unusable("refused"), TeacherError("status 422", question=True)])
def test_a_failure_of_some_questions_is_counted_and_reported(error, caplog):
    teacher = Moody(moods={"distill_general": error, "distill_failure": error})
    bank, report = distill(ROLLOUTS, teacher=teacher, categories=[CLEAN])
    assert len(bank)
    assert report.skipped == ("distill_general general", f"distill_failure {CLEAN}")
    assert list(report.reasons.values()) == [str(error)] * 2
    assert report.counts.skipped == 2
    assert "2 of 5 questions without a usable answer" in caplog.text


def test_a_question_too_long_is_asked_about_fewer_recordings():
    teacher = Moody(longest=2)
    bank, report = distill(ROLLOUTS, teacher=teacher, categories=[CLEAN])
    assert max(shown for _, shown in teacher.seen) > 2
    answered = [shown for _, shown in teacher.seen if shown <= 2]
    assert len(answered) == 5
    assert report.counts.shortened == len(teacher.seen) - 5
    assert not report.skipped
    mistake = next(skill for skill in bank.skills if skill.kind == "skill")
    assert len(mistake.provenance.sources) <= 2  # what it was shown, not what was meant


def test_a_recording_too_long_by_itself_is_skipped_with_the_reason():
    with pytest.raises(TeacherError, match="5 x status 400: maximum context length"):
        distill(ROLLOUTS, teacher=Moody(longest=0), categories=[CLEAN])
    assert rewrite_thoughts(ROLLOUTS[0], teacher=Moody(longest=0), skills=[]) is None


def test_an_event_of_evolution_is_about_what_the_teacher_could_read():
    teacher = Moody(longest=2)
    teacher.text = json.dumps({"add": [{**GOOD, "category": CLEAN}]})
    bank, event = evolve(SkillBank(), ROLLOUTS, teacher=teacher, step=5)
    assert [shown for _, shown in teacher.seen] == [4, 2]
    assert len(event.analysed) == 2
    assert bank.skills[0].provenance.sources == event.analysed
    assert event.teacher_failures == 0
