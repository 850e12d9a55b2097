"""Groups in which some members play without skills."""

import pytest

from skillrl.config.settings import Config, RLConfig
from skillrl.errors import SkillRLError
from skillrl.training.bare import is_bare, single_skill_exams, skill_gain, with_skills
from skillrl.types import Exams, Task, Trajectory

CONFIG = RLConfig(group_size=4, bare_members=2)


def group(number, outcomes, skills=("s",)):
    """The group of a task; None is an episode whose environment failed."""
    task = Task(id=f"train/{number}", split="train", category="pick", goal="win")
    return [
        Trajectory(
            task=task,
            prefix_ids=(),
            steps=(),
            won=won is True,
            member=member,
            skills=() if is_bare(member, CONFIG) else skills,
            error="lost" if won is None else "",
        )
        for member, won in enumerate(outcomes)
    ]


def test_the_last_members_are_bare():
    assert [is_bare(member, CONFIG) for member in range(4)] == [False, False, True, True]
    assert not any(is_bare(member, RLConfig(group_size=4)) for member in range(4))
    played = group(0, [True] * 4)
    assert with_skills(played, CONFIG) == tuple(played[:2])
    assert with_skills(group(0, [True] * 4, skills=()), CONFIG)  # a bank may be empty


def test_the_gain_is_a_mean_over_groups():
    played = group(0, [True, True, True, False]) + group(1, [True, False, False, False])
    played += group(2, [False, False, True, True], skills=())  # nothing was retrieved
    played += group(3, [None, None, True, True])  # one side has failed
    found = skill_gain(played, CONFIG)
    assert found == {"skill_gain": pytest.approx(0.5), "bare_success": pytest.approx(0.25)}
    assert skill_gain(played[8:], CONFIG) == {}
    assert skill_gain(played, RLConfig(group_size=4)) == {}


def test_a_failed_member_is_left_out_of_its_side():
    found = skill_gain(group(0, [True, None, None, False]), CONFIG)
    assert found == {"skill_gain": 1.0, "bare_success": 0.0}


def test_only_a_skill_alone_is_credited():
    played = group(0, [True, False, False, True]) + group(1, [True, True, True, False])
    played += group(2, [True, True, False, False], skills=("s", "t"))
    found = single_skill_exams(played, CONFIG, step=3, policy_version=8)
    # differences 1, -1, 0, 1
    assert found == {"s": Exams(pairs=4, gain=1, squares=3, step=3, policy_version=8)}
    assert single_skill_exams(played[8:], CONFIG, step=3, policy_version=8) == {}
    assert single_skill_exams(played, RLConfig(group_size=4), step=3, policy_version=8) == {}


def test_a_whole_group_without_skills_is_refused():
    with pytest.raises(SkillRLError, match=r"bare_members is 8.*at most 7"):
        Config.from_dict({"rl": {"bare_members": 8}})
    Config.from_dict({"rl": {"bare_members": 7}})


def test_examinations_need_events():
    with pytest.raises(SkillRLError, match=r"exam_share is 0\.5.*evolution\.enabled is false"):
        Config.from_dict({"evolution": {"exam_share": 0.5, "enabled": False}})
