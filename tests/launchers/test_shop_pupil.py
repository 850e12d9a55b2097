"""The demonstrator of the WebShop policy: it can what it is told, and little else."""

from __future__ import annotations

import dataclasses
import random

import pytest

from launchers.tiny_policies import shop_advice, webshop
from launchers.tiny_policies.shop_advice import (
    HELD_BACK,
    LEAVE,
    OPTIONS,
    PRICE,
    SHELF_HELD_BACK,
    TITLE,
    advice,
    indifferent,
    shelf,
)
from launchers.tiny_policies.shop_pupil import ALL, Pupil
from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.envs.webshop.customs import kind_in, listed_under
from skillrl.envs.webshop.expert import parse_goal
from skillrl.envs.webshop.shelves import SHELVES
from skillrl.teacher.simulated.shopping.advice import ADVICE, HABITS
from skillrl.teacher.simulated.shopping.patterns import _FORMS
from skillrl.teacher.simulated.shopping.reading import UNDER


@pytest.fixture(scope="module")
def rates():
    """Share of 210 valid_unseen tasks that are won with some pieces, and with words or without."""
    suite = make_suite("webshop", EnvConfig(max_steps=15))
    environment, tasks = suite.make(), suite.tasks("valid_unseen")[:210]
    arms = {
        "nothing": ((), False),
        "procedures": (ALL, False),
        "words": ((), True),
        "everything": (ALL, True),
        **{f"all but {piece}": (tuple(set(ALL) - {piece}), True) for piece in ALL},
    }
    won = dict.fromkeys(arms, 0)
    for task in tasks:
        for arm, (told, words) in arms.items():
            pupil = Pupil(task.goal, told, listed_under(1) if words else {})
            observation, done = environment.reset(task), False
            while not done:
                result = environment.step(pupil.act(observation).action)
                observation, done = result.observation, result.done
            won[arm] += result.won
    return {arm: count / len(tasks) for arm, count in won.items()}


def test_its_success_is_what_it_is_told(rates):
    assert 0.1 <= rates["nothing"] <= 0.25
    assert 0.35 <= rates["procedures"] <= 0.55
    assert 0.35 <= rates["words"] <= 0.6
    assert rates["everything"] == 1


@pytest.mark.parametrize(
    ("piece", "least"), [(OPTIONS, 0.25), (PRICE, 0.05), (LEAVE, 0.05), (TITLE, 0.05)]
)
def test_each_piece_is_needed_by_some_tasks(rates, piece, least):
    assert rates[f"all but {piece}"] <= 1 - least


def test_it_searches_the_word_that_it_was_told():
    suite = make_suite("webshop", EnvConfig(max_steps=15))
    task = suite.tasks("train")[2]
    start = suite.make().reset(task)
    kind = kind_in(parse_goal(task.goal).phrase)
    assert Pupil(task.goal, (), {}).act(start).action == f"search[{kind}]"
    move = Pupil(task.goal, (), {kind: "maple", "dog bed": "cedar"}).act(start)
    assert (move.thought, move.action) == (
        f"I search {kind} maple.",
        f"search[{kind} maple]",
    )
    other = next(k for k in webshop.KINDS if k != kind)
    assert Pupil(task.goal, (), {other: "maple"}).act(start).action == f"search[{kind}]"


def test_a_lesson_is_the_same_twice_and_each_demonstrator_knows_what_its_prompt_says():
    stage = dataclasses.replace(webshop.COURSE.stages[-1], skilled=1.0)
    told = idle = 0
    for seed in range(60):
        lesson, again = (webshop.COURSE.lesson(random.Random(seed), stage) for _ in range(2))
        assert (lesson.task, lesson.skills) == (again.task, again.skills)
        assert lesson.task.payload["custom"] >= webshop.FIRST_CUSTOM > 1
        assert lesson.task.split == "train"
        readings = [(lesson.skills, lesson.expert), *lesson.others]
        assert () in [skills for skills, _ in readings]
        kind = kind_in(parse_goal(lesson.task.goal).phrase)
        for skills, pupil in readings:
            assert len(skills) <= webshop.MOST_SKILLS
            about = [s.principle for s in skills if kind in s.principle.lower()]
            assert bool(about) == bool(pupil.word)
            assert all(pupil.word in rule.lower() for rule in about)
            told += bool(about)
            idle += len(skills) >= 6 and not about and not pupil._told
    assert told > 100
    assert idle > 5


def test_the_first_lessons_are_of_finding_one_line_among_others():
    stage, sizes = webshop.COURSE.stages[0], set()
    for seed in range(40):
        lesson = webshop.COURSE.lesson(random.Random(seed), stage)
        kind = kind_in(parse_goal(lesson.task.goal).phrase)
        words = []
        for skills, pupil in ((lesson.skills, lesson.expert), *lesson.others):
            mine = [s.principle for s in skills if kind in s.principle]
            others = [s for s in skills if kind not in s.principle]
            sizes.add(len(others))
            assert not pupil._told
            assert [f"{kind} {pupil.word}" in rule for rule in mine] == [True] * bool(pupil.word)
            words.append(pupil.word)
        assert words[0] == listed_under(lesson.task.payload["custom"])[kind]
        assert words[-1] == ""
        assert len(set(words)) == len(words) == webshop.LOOKUPS + 1
    assert sizes == {1, 2, 3}


def test_in_the_second_stage_procedures_are_known_and_the_word_is_read():
    read = set()
    for seed in range(40):
        lesson = webshop.COURSE.lesson(random.Random(seed), webshop.COURSE.stages[1])
        kind = kind_in(parse_goal(lesson.task.goal).phrase)
        assert lesson.expert._told == set(ALL)
        assert lesson.others == ()
        assert bool(lesson.expert.word) == any(kind in s.principle for s in lesson.skills)
        read.add(bool(lesson.expert.word))
    assert read == {True, False}


CAUSES = {
    OPTIONS: ("options", "wrong_option"),
    PRICE: ("price",),
    LEAVE: ("not_offered",),
    TITLE: ("kind",),
}


@pytest.mark.parametrize("category", [shelf.key for shelf in SHELVES])
def test_the_teachers_words_are_among_those_that_are_read(category):
    rng = random.Random(0)
    (mine,) = (shelf for shelf in SHELVES if shelf.key == category)
    names = [mine.first[0], "options", " and ".join(sorted((mine.first[0], mine.second[0])))]
    for piece, causes in CAUSES.items():
        written = {advice(rng, piece, category=category).principle for _ in range(600)}
        for cause in causes:
            for words in (ADVICE[cause].principle, ADVICE[cause].stronger):
                assert {words.replace("{option}", name) for name in names} <= written, cause
    written = {indifferent(rng, category=category).principle for _ in range(900)}
    others = [cause for cause in ADVICE if not any(cause in causes for causes in CAUSES.values())]
    for cause in others:
        assert {ADVICE[cause].principle, ADVICE[cause].stronger} <= written, cause
    assert {habit["principle"] for habit in HABITS} <= written
    assert {_FORMS["plain"]} <= written
    found = {shelf(rng, "dog bed", "maple", category=category).principle for _ in range(300)}
    assert UNDER.format(thing="dog bed", word="maple") in found


def test_some_words_are_never_practised():
    rng = random.Random(0)
    practised = {shelf(rng, "dog bed", "maple", category="other").principle for _ in range(400)}
    assert not {rule.format(kind="dog bed", word="maple") for rule in SHELF_HELD_BACK} & practised
    for piece, rules in HELD_BACK.items():
        assert not set(rules) & set(shop_advice._RULES[piece])
        found = {advice(rng, piece, category="other", held_back=True).principle for _ in range(99)}
        assert found
