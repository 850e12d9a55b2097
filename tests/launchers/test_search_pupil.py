"""The demonstrator of the search policy: it can what it is told, and little else."""

import dataclasses
import random

import pytest

from benchmarks.controls.search import play
from launchers.tiny_policies import search, search_advice
from launchers.tiny_policies.search_advice import (
    ARCHIVE_HELD_BACK,
    BOTH,
    HOPS,
    READ,
    advice,
    archive,
    neutral,
)
from launchers.tiny_policies.search_pupil import ALL, Pupil, category_of, topics_of
from skillrl.config.settings import EnvConfig
from skillrl.envs.search.categories import CATEGORIES, DIRECT
from skillrl.envs.search.customs import right_about
from skillrl.envs.search.documents import Document, Hit, information
from skillrl.envs.search.environment import START
from skillrl.envs.search.questions import CUSTOM, parse_question
from skillrl.envs.search.relations import ARCHIVES
from skillrl.envs.search.suite import SearchSuite
from skillrl.skills import neutral as neutral_texts
from skillrl.teacher.simulated.questions.advice import ADVICE
from skillrl.teacher.simulated.questions.cards import SEARCH_IN
from skillrl.types import Observation

SONG = '"Wild Song"\nWild Song, atlas: animal fox; author Cora Penn.'
CORA = '"Cora Penn"\nCora Penn, atlas: job cook; born in Old Ford.'


def acts(goal, told, *documents, archives=None):
    pupil = Pupil(goal, told, archives or {})
    seen = [START, *(information([Hit(Document("", text))]) for text in documents)]
    return [pupil.act(Observation(text)).action for text in seen]


def test_it_names_the_archive_that_it_was_told():
    goal = "Who is the author of Wild Song?"
    assert acts(goal, ()) == ["<search>Wild Song</search>"]
    assert acts(goal, (), archives={"author": "atlas"}) == ["<search>Wild Song atlas</search>"]
    assert acts(goal, (), archives={"animal": "atlas"}) == ["<search>Wild Song</search>"]


def test_it_answers_the_first_thing_unless_told_to_read():
    goal = "Who is the author of Wild Song?"
    assert acts(goal, (), SONG)[1] == "<answer>fox</answer>"
    assert acts(goal, (READ,), SONG)[1] == "<answer>Cora Penn</answer>"
    assert acts("What animal is Wild Song about?", (), SONG)[1] == "<answer>fox</answer>"


def test_it_stops_after_one_step_unless_told_to_go_on():
    goal = "Where was the author of Wild Song born?"
    assert acts(goal, (READ, BOTH), SONG)[1] == "<answer>Cora Penn</answer>"
    assert acts(goal, (HOPS,), SONG, CORA)[1:] == [
        "<search>Cora Penn</search>",
        "<answer>Old Ford</answer>",
    ]


def test_it_compares_only_if_told():
    goal = "Whose job is baker, Cora Penn or Leo Reed?"
    assert acts(goal, (HOPS,), CORA)[1] == "<answer>Cora Penn</answer>"
    assert acts(goal, (BOTH,), CORA)[1] == "<search>Leo Reed</search>"


@pytest.mark.parametrize("split", ["train", "valid_unseen"])
def test_its_success_is_what_it_is_told(split):
    """Half of it is procedures, and half is knowing the custom."""
    suite = SearchSuite(EnvConfig(name="search", max_steps=4))
    environment, tasks = suite.make(), suite.tasks(split)

    def rate(told, archives):
        won = 0
        for task in tasks:
            pupil = Pupil(task.goal, told, archives)
            won += play(environment, task, lambda seen, p=pupil: p.act(seen).action)[0]
        return won / len(tasks)

    right = right_about(CUSTOM)
    assert 0.2 <= rate((), {}) <= 0.3
    assert 0.42 <= rate(ALL, {}) <= 0.55
    assert 0.4 <= rate((), right) <= 0.55
    assert rate(ALL, right) == 1.0
    assert rate(ALL, right_about(CUSTOM + 1)) < 0.65


def test_categories_and_topics_are_read_from_the_question():
    for task in SearchSuite(EnvConfig(name="search", max_steps=4)).tasks("valid_seen"):
        assert category_of(task.goal) == task.category
        assert all(topic in task.goal for topic in topics_of(parse_question(task.goal)))


@pytest.mark.parametrize("number", range(1, len(search.COURSE.stages)))
def test_a_lesson_is_the_same_twice_and_each_demonstrator_knows_what_its_prompt_says(number):
    stage = search.COURSE.stages[number]
    told = idle = 0
    for seed in range(60):
        lesson, again = (search.COURSE.lesson(random.Random(seed), stage) for _ in range(2))
        assert (lesson.task, lesson.skills) == (again.task, again.skills)
        readings = [(lesson.skills, lesson.expert), *lesson.others]
        topics = topics_of(parse_question(lesson.task.goal))
        for skills, pupil in readings:
            assert len(skills) <= search.MOST_SKILLS
            text = " ".join(skill.principle for skill in skills)
            for topic in topics:
                about = [s.principle for s in skills if f" {topic}" in f"{s.title} {s.principle}"]
                known = pupil.archives.get(topic, "")
                assert bool(known) == any(a in p for p in about for a in ARCHIVES), (topic, text)
                assert not known or known in " ".join(about)
            told += bool(pupil.archives)
            idle += len(skills) > 5 and not pupil.archives and bool(pupil.lacks)
    assert told > 60
    assert idle > 10


def test_practice_is_in_other_worlds_and_customs_than_the_run():
    run = SearchSuite(EnvConfig(name="search", max_steps=4)).tasks("train")
    known = {(task.goal, *task.payload["answers"]) for task in run}
    numbers = set()
    for seed in range(60):
        task, _, custom = search._question(random.Random(seed), tuple(CATEGORIES))
        numbers.add(custom)
        assert (task.goal, *task.payload["answers"]) not in known
    assert min(numbers) >= search.FIRST_CUSTOM > CUSTOM
    assert len(numbers) > 20


def test_the_teachers_words_are_among_those_that_are_read():
    rng = random.Random(0)
    for piece, cause in ((READ, "wrong_fact"), (HOPS, "one_step"), (BOTH, "one_side")):
        rules = {advice(rng, piece, category=DIRECT).principle for _ in range(400)}
        assert {ADVICE[cause].principle, ADVICE[cause].stronger} <= rules
    rules = {archive(rng, "born", ("atlas",), category=DIRECT).principle for _ in range(400)}
    assert SEARCH_IN.format(topic="born", archive="atlas") in rules
    indifferent = {rule for _, rule in search_advice._INDIFFERENT}
    others = set(ADVICE) - {"wrong_fact", "one_step", "one_side"}
    for cause in others:
        assert {ADVICE[cause].principle, ADVICE[cause].stronger} <= indifferent, cause


def test_some_words_are_never_practised():
    rng = random.Random(0)
    practised = {archive(rng, "born", ("atlas",), category=DIRECT).principle for _ in range(400)}
    assert not practised & {
        rule.format(topic="born", archive="atlas") for rule in ARCHIVE_HELD_BACK
    }
    for piece, rules in search_advice.HELD_BACK.items():
        assert not set(rules) & set(search_advice._RULES[piece])
    sentences = set(neutral_texts._SENTENCES)
    for _ in range(2000):
        skill = neutral(rng, category=DIRECT)
        said = {skill.when_to_apply, *skill.principle.rstrip(".").split(". ")}
        assert not said & sentences


def test_no_demonstrator_changes_its_mind_about_a_question_that_needs_nothing():
    stage = dataclasses.replace(search.COURSE.stages[2], categories=("entity_attribute_lookup",))
    for seed in range(20):
        lesson = search.COURSE.lesson(random.Random(seed), stage)
        assert not lesson.expert.lacks
