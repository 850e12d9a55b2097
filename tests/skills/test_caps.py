from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillrl.skills.caps import beyond, estimated_tokens, fitting
from skillrl.skills.worth import told, unmeasured, worth_by
from skillrl.types import Exams, Skill, SkillUse
from tests.skills.builders import Measured

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def skill(name, *, pairs=0, episodes=0, principle="P."):
    return Skill(
        id=name,
        title=name,
        principle=principle,
        exams=Exams(pairs=pairs),
        use=SkillUse(episodes),
    )


def ids(skills):
    return [item.id for item in skills]


def test_the_lowest_worth_goes_first_and_age_decides_nothing():
    skills = [skill(name) for name in "abcd"]
    worth = worth_by({"a": Measured(0.3), "b": Measured(-0.1), "d": Measured(0.2)})
    assert ids(beyond(skills, 2, worth=worth)) == ["b", "c"]  # c is unmeasured, so 0
    assert beyond(skills, 4, worth=worth) == ()
    assert beyond(skills, 0, worth=worth) == ()  # no cap


def test_of_equals_the_least_known_goes_first():
    skills = [skill("a", episodes=5), skill("b", pairs=2), skill("c"), skill("d")]
    assert ids(beyond(skills, 1, worth=unmeasured)) == ["d", "c", "a"]


def test_what_was_just_added_stays_while_there_is_anything_else():
    skills = [skill(name) for name in "abcd"]
    worth = worth_by({"a": Measured(0.3), "c": Measured(-0.5)})
    assert ids(beyond(skills, 2, worth=worth, new={"c", "d"})) == ["b", "a"]
    assert ids(beyond(skills, 1, worth=worth, new={"c", "d"})) == ["b", "a", "c"]


WORTHS = st.lists(st.sampled_from([-0.5, 0.0, 0.25]), min_size=1, max_size=8)


@SLOW
@given(WORTHS, st.integers(1, 9), st.sets(st.integers(0, 7)))
def test_a_cap_is_kept_exactly_and_by_worth(worths, most, new):
    skills = [skill(str(at)) for at in range(len(worths))]
    worth = lambda item: worths[int(item.id)]  # noqa: E731
    gone = beyond(skills, most, worth=worth, new={str(at) for at in new})
    assert len(gone) == max(0, len(skills) - most)
    stay = [item for item in skills if item not in gone]
    old = [item for item in stay if int(item.id) not in new]
    if any(int(item.id) in new for item in gone):
        assert not old
    went = [worth(item) for item in gone if int(item.id) not in new]
    assert not old or max(went, default=-1) <= min(map(worth, old))


def test_tokens_are_kept_by_dropping_the_lowest_worth_and_of_equals_the_last():
    skills = [skill(name) for name in "abcd"]
    count = lambda chosen: 10 * len(chosen)  # noqa: E731
    worth = worth_by({"a": Measured(-0.1), "d": Measured(0.1)})
    assert ids(fitting(skills, 25, count_tokens=count, worth=worth)) == ["b", "d"]
    assert ids(fitting(skills, 40, count_tokens=count, worth=worth)) == list("abcd")
    assert ids(fitting(skills, 0, count_tokens=count, worth=worth)) == list("abcd")
    assert fitting(skills, 9, count_tokens=count, worth=worth) == ()


def test_without_a_tokenizer_four_characters_are_a_token():
    one = skill("abc", principle="Do it.")  # "abc. Do it." has 11 characters
    assert estimated_tokens([one]) == 3
    assert estimated_tokens([one, one]) == 6
    assert estimated_tokens([]) == 0


def test_a_utility_is_told_in_points():
    assert told(Measured(0.12, low=-0.034, high=0.27, pairs=40)) == (
        "helps +12 points, -3 to +27, 40 pairs"
    )
    assert told(Measured(-0.002, low=-0.1, high=-0.001, pairs=9)) == (
        "helps +0 points, -10 to +0, 9 pairs"
    )
    assert told(None) == "unmeasured"
