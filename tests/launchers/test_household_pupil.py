"""The demonstrator of the household policy: it can what it is told, and little else."""

import dataclasses
import random
import types

import pytest

from benchmarks.controls.alfworld import play_task
from launchers.tiny_policies import alfworld, household_advice
from launchers.tiny_policies.household_advice import (
    HOME_HELD_BACK,
    LAMP,
    OPEN,
    PIECES,
    SECOND,
    TREAT,
    advice,
    home,
)
from launchers.tiny_policies.household_pupil import NATIVE, Pupil
from skillrl.envs.alfworld.customs import known_homes
from skillrl.envs.alfworld.generate import CATEGORIES
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.teacher.simulated.household.advice import ADVICE
from skillrl.types import Observation

HERE = Observation(
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a desk 1, "
    "a drawer 1, a drawer 2, and a sinkbasin 1.",
    ("go to cabinet 1", "go to desk 1", "go to drawer 1", "go to drawer 2", "go to sinkbasin 1"),
)
CLOSED = Observation(
    "You arrive at cabinet 1. The cabinet 1 is closed.",
    ("go to desk 1", "go to drawer 1", "go to drawer 2", "go to sinkbasin 1", "open cabinet 1"),
)
SEEN = Observation(
    "You arrive at desk 1. On the desk 1, you see a mug 1.",
    ("go to cabinet 1", "go to drawer 1", "go to sinkbasin 1", "take mug 1 from desk 1"),
)
HELD = Observation(
    "You pick up the mug 1 from the desk 1.",
    ("go to cabinet 1", "go to drawer 1", "go to sinkbasin 1", "move mug 1 to desk 1"),
)
CLEAN = "put a clean mug in drawer"


def acts(goal, told, *seen, homes=None):
    pupil = Pupil(goal, told, homes or {}, random.Random(0))
    return [pupil.act(observation).action for observation in seen]


def test_it_looks_first_where_it_was_told():
    assert acts(CLEAN, (), HERE) == ["go to cabinet 1"]
    assert acts(CLEAN, (), HERE, homes={"mug": ("drawer",)}) == ["go to drawer 1"]
    assert acts(CLEAN, (), HERE, homes={"egg": ("drawer",)}) == ["go to cabinet 1"]


def test_it_opens_what_is_closed_if_told():
    assert acts(CLEAN, (), HERE, CLOSED)[1] == "go to desk 1"
    assert acts(CLEAN, (OPEN,), HERE, CLOSED)[1] == "open cabinet 1"


def test_it_cleans_if_told_and_takes_what_it_sees():
    assert acts(CLEAN, (), HERE, SEEN, HELD)[1:] == ["take mug 1 from desk 1", "go to drawer 1"]
    assert acts(CLEAN, (TREAT,), HERE, SEEN, HELD)[2] == "go to sinkbasin 1"


def test_its_success_is_what_it_is_told():
    suite = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=15))
    environment, tasks = suite.make(), suite.tasks("valid_unseen")

    def rate(told, homes):
        won = 0
        for task in tasks:
            pupil = Pupil(task.goal, told, homes, random.Random(0))
            won += play_task(environment, task, lambda seen, p=pupil: p.act(seen).action).won
        return won / len(tasks)

    known = known_homes(1)
    assert 0.08 <= rate((), {}) <= 0.3
    assert 0.4 <= rate(tuple(NATIVE), {}) <= 0.75
    assert rate(tuple(NATIVE), known) >= 0.9
    assert rate((TREAT, LAMP, SECOND), {}) < rate((TREAT, LAMP, SECOND), known) < 0.9


def test_a_lesson_is_the_same_twice_and_each_demonstrator_knows_what_its_prompt_says():
    stage = dataclasses.replace(alfworld.COURSE.stages[-1], skilled=1.0)
    told = 0
    for seed in range(40):
        lesson, again = (alfworld.COURSE.lesson(random.Random(seed), stage) for _ in range(2))
        assert (lesson.task, lesson.skills) == (again.task, again.skills)
        assert lesson.task.payload["game"]["custom"] >= alfworld.FIRST_CUSTOM > 1
        readings = [(lesson.skills, lesson.expert), *lesson.others]
        assert () in [skills for skills, _ in readings]
        for skills, pupil in readings:
            assert len(skills) <= alfworld.MOST_SKILLS
            thing = pupil.goal.thing
            about = [s for s in skills if thing in f"{s.title} {s.principle}".lower()]
            assert all(any(place in s.principle for s in about) for place in pupil.home)
            told += bool(pupil.home)
    assert told > 80


def test_lines_about_nothing_are_answered_as_none():
    stage = dataclasses.replace(alfworld.COURSE.stages[-1], skilled=1.0, idle=1.0)
    kinds = set()
    for seed in range(60):
        lesson = alfworld.COURSE.lesson(random.Random(seed), stage)
        readings = [(lesson.skills, lesson.expert), *lesson.others]
        (bare,) = [expert for skills, expert in readings if not skills]
        thing = bare.goal.thing
        idle = [
            (skills, expert)
            for skills, expert in readings
            if len(skills) >= 3 and not expert.home and not expert.told
        ]
        assert idle, seed
        for skills, expert in idle:
            assert len(skills) <= alfworld.MOST_SKILLS
            assert not any(f" {thing} " in f" {skill.title} {skill.principle} " for skill in skills)
            assert expert.goal == bare.goal
            kinds |= {skill.principle.split()[0] for skill in skills}
    assert len(kinds) > 50  # most words of nonsense are new ones


def test_nonsense_is_as_long_as_advice_and_never_the_same():
    rng = random.Random(0)
    lines = {household_advice.rambling(rng, category=TREAT).principle for _ in range(200)}
    assert len(lines) > 195
    assert all(2 <= len(line.split()) <= 8 for line in lines)


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_teachers_words_are_among_those_that_are_read(category):
    rng = random.Random(0)
    written = [
        advice(rng, piece, category=category)
        for piece in PIECES.get(category, alfworld.BASICS) for _ in range(300)
    ]  # fmt: skip
    rules = {skill.principle for skill in written}
    verb, appliance = household_advice.APPLIANCES.get(category, ("clean", "sinkbasin"))
    for cause in ("closed", "revisit", "slow", "sight"):
        assert {ADVICE[cause].principle, ADVICE[cause].stronger} <= rules, cause
    if TREAT in PIECES.get(category, ()):
        for cause in ("untreated", "no_appliance", "unused_appliance"):
            for words in (ADVICE[cause].principle, ADVICE[cause].stronger):
                assert words.format(verb=verb, appliance=appliance) in rules, cause


def test_some_words_are_never_practised():
    rng = random.Random(0)
    practised = {home(rng, "mug", ("drawer",), category=TREAT).principle for _ in range(400)}
    held = {rule.format(thing="mug", place="drawer") for rule in HOME_HELD_BACK}
    assert "Look for mug first in drawer." in practised
    assert not held & practised
    for piece, rules in household_advice.HELD_BACK.items():
        assert not set(rules) & set(household_advice._RULES[piece])
