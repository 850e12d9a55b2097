"""The generated world: fixed manifests, an expert that reads, and controls that do not."""

import itertools
import json
import random
import re
from collections import Counter

import pytest

from benchmarks.controls.search import CONTROLS, play
from skillrl.agent.agent import render_response
from skillrl.agent.parse import parse
from skillrl.config.settings import EnvConfig, SearchConfig
from skillrl.envs import SPLITS, Environment, Suite, answer_form, make_suite
from skillrl.envs.search import questions
from skillrl.envs.search.customs import right_about
from skillrl.envs.search.documents import Document, Hit, information
from skillrl.envs.search.environment import INVALID, START, SearchEnvironment
from skillrl.envs.search.expert import QuestionExpert, read_documents
from skillrl.envs.search.questions import (
    CUSTOM,
    Comparison,
    Lookup,
    build_manifest,
    load_corpus,
    parse_question,
)
from skillrl.envs.search.relations import RELATIONS
from skillrl.envs.search.suite import generated_world
from skillrl.envs.search.world import make_world
from skillrl.errors import SkillRLError
from skillrl.types import Observation


@pytest.fixture(scope="module")
def suite():
    return make_suite("search", EnvConfig(name="search", max_steps=4))


def test_it_is_a_suite(suite):
    assert isinstance(suite, Suite)
    assert isinstance(suite.make(), Environment)
    assert answer_form(suite).tags == ("search", "answer")
    assert "generated" in suite.simulated


def test_the_shipped_files_are_what_the_generator_makes(tmp_path):
    world = make_world(0, custom=CUSTOM)
    questions.save(tmp_path, world, build_manifest(world))
    for name in ("corpus.jsonl", "questions.json"):
        shipped = questions.resources.files("skillrl") / "assets" / "search" / name
        assert (tmp_path / name).read_text() == shipped.read_text()


def test_splits_are_balanced_and_share_no_question(suite):
    lists = {split: suite.tasks(split) for split in SPLITS}
    assert {split: len(tasks) for split, tasks in lists.items()} == {
        "train": 800, "valid_seen": 120, "valid_unseen": 120,
    }  # fmt: skip
    for tasks in lists.values():
        assert Counter(t.category for t in tasks[:20]) == dict.fromkeys(suite.categories, 5)
    every = [t for tasks in lists.values() for t in tasks]
    assert len({t.id for t in every}) == len({t.goal for t in every}) == 1040
    with pytest.raises(SkillRLError, match="valid_seen"):
        suite.tasks("test")


def test_unseen_questions_are_about_other_things(suite):
    name = re.compile(r"[A-Z][a-z]+ [A-Z][a-z]+")

    def things(split):
        return {n for t in suite.tasks(split) for n in name.findall(t.goal + " | " + answer(t))}

    def answer(task):
        return task.payload["answers"][0]

    known, seen, unseen = map(things, SPLITS)
    asked = {n for t in suite.tasks("valid_seen") for n in name.findall(t.goal)}
    assert len(seen - known) <= 5  # answers may be things that train never names
    assert len(asked - known) <= 3
    assert not {n for n in unseen if n in known}


def test_the_vocabulary_is_small_and_unseen_names_are_made_of_it(suite):
    texts = [d.contents for d in load_corpus()]
    goals = {split: [t.goal for t in suite.tasks(split)] for split in SPLITS}
    words = set(re.findall(r"\w+", " ".join([*texts, *itertools.chain(*goals.values())])))
    assert len(words) < 300
    known = set(re.findall(r"\w+", " ".join(goals["train"])))
    assert len(set(re.findall(r"\w+", " ".join(goals["valid_unseen"]))) - known) <= 6
    assert len(texts) == 900


@pytest.mark.parametrize("split", SPLITS)
def test_the_expert_answers_every_question_in_time(suite, split):
    environment, taken = suite.make(), Counter()
    for task in suite.tasks(split):
        expert = suite.expert(task)
        won, steps = play(environment, task, lambda o, e=expert: e.act(o).action)
        assert won, task.goal
        taken[task.category in ("multi_hop_reasoning", "comparison"), steps] += 1
    assert taken[False, 2] == taken.total() / 2
    assert taken[True, 3] >= 0.99 * taken.total() / 2  # a card of the other may be found by chance
    assert taken[True, 2] + taken[True, 3] == taken.total() / 2


def test_another_seed_is_another_world_with_the_same_expert(suite):
    retriever, tasks = generated_world(3, custom=7)
    goals = {t.goal for t in tasks["train"]}
    assert len(goals) == 800
    facts = {(t.goal, *t.payload["answers"]) for t in suite.tasks("train")}
    same = {(t.goal, *t.payload["answers"]) for t in tasks["train"]} & facts
    assert len(same) < 40  # by chance, and no more: the names are made of the same words
    environment = SearchEnvironment(retriever)
    for task in tasks["train"][:100]:
        expert = QuestionExpert(task.goal, right_about(7))
        assert play(environment, task, lambda o, e=expert: e.act(o).action)[0], task.goal
    retriever, again = generated_world(0)
    assert again == {split: tuple(suite.tasks(split)) for split in SPLITS}


def test_what_the_expert_says_is_a_valid_response(suite):
    environment = suite.make()
    for task in suite.tasks("train")[:40]:
        expert, observation, done = suite.expert(task), environment.reset(task), False
        while not done:
            move = expert.act(observation)
            assert len(move.thought.split()) <= 12
            said = parse(render_response(move.thought, move.action, suite.tags), tags=suite.tags)
            assert said == (move.thought, move.action, "")
            result = environment.step(move.action)
            observation, done = result.observation, result.done


@pytest.mark.parametrize("split", SPLITS)
def test_controls_that_do_not_read_earn_little(suite, split):
    tasks, environment = suite.tasks(split)[:240], suite.make()

    def rate(name):
        return sum(play(environment, t, CONTROLS[name](t))[0] for t in tasks) / len(tasks)

    assert rate("random entity") <= 0.03
    assert rate("question, first entity") <= 0.25
    assert rate("question, first new entity") <= 0.1
    assert 0.1 <= rate("careless") <= 0.35


def test_what_slips_in_between_does_not_confuse_the_expert(suite):
    rng, environment = random.Random(0), suite.make()
    environment._max_steps = 12
    for task in suite.tasks("valid_seen"):
        expert, observation = suite.expert(task), environment.reset(task)
        for _ in range(12):
            action = expert.act(observation).action
            if rng.random() < 0.25 and "<answer>" not in action:
                action = rng.choice(["what?", "<search>Ada</search>", "<search></search>"])
            result = environment.step(action)
            observation = result.observation
            if result.done:
                break
        assert result.won, task.goal


def test_questions_are_read_back():
    assert parse_question("Who is the author of Silent Gate?") == Lookup("Silent Gate", "author")
    assert parse_question("Where was the author of Silent Gate born?") == Lookup(
        "Silent Gate", "born", "author"
    )
    assert parse_question("Whose job is baker, Ada Holt or Leo Reed?") == Comparison(
        "Ada Holt", "Leo Reed", "job", "baker"
    )
    assert parse_question("Which book has the animal fox, Silent Gate or Wild Song?") == Comparison(
        "Silent Gate", "Wild Song", "animal", "fox"
    )
    with pytest.raises(SkillRLError, match="not one of the generated world"):
        parse_question("who got the first nobel prize in physics?")


def test_no_question_can_be_read_in_two_ways(suite):
    for split in SPLITS:
        for task in suite.tasks(split):
            fits = [m for pattern, m in questions._forms() if pattern.fullmatch(task.goal)]
            assert len(fits) == 1, task.goal
    assert len(RELATIONS) == 16


CARD = '"Wild Song"\nWild Song, atlas: animal fox; author Cora Penn.'
OTHER = '"Wild Song"\nWild Song, ledger: author Ada Holt; animal fox.'


def observed(*documents):
    return Observation(information([Hit(Document(str(i), t)) for i, t in enumerate(documents)]))


def test_the_expert_believes_the_card_of_the_archive_that_it_knows():
    expert = QuestionExpert("Who is the author of Wild Song?", {"author": "atlas"})
    move = expert.act(Observation(START))
    assert (move.thought, move.action) == (
        "Find author in atlas.",
        "<search>Wild Song atlas</search>",
    )
    assert expert.act(observed(OTHER)).action == "<search>Wild Song atlas</search>"
    move = expert.act(observed(OTHER, CARD))
    assert (move.thought, move.action) == (
        "Wild Song: author Cora Penn.",
        "<answer>Cora Penn</answer>",
    )
    assert expert.act(Observation(INVALID)).action == "<answer>Cora Penn</answer>"


def test_without_an_archive_it_believes_the_first_card_of_the_thing():
    expert = QuestionExpert("Who is the author of Wild Song?")
    assert expert.act(Observation(START)).action == "<search>Wild Song</search>"
    about = '"Lonely Gate"\nLonely Gate, atlas: author Leo Reed; animal fox.'
    assert expert.act(observed(about)).action == "<search>Wild Song</search>"
    assert expert.act(observed(about, OTHER, CARD)).action == "<answer>Ada Holt</answer>"


def test_the_expert_reads_about_both_names_before_it_compares():
    expert = QuestionExpert("Which town is known for salt, Old Ford or New Ford?")
    assert expert.act(Observation(START)).action == "<search>Old Ford</search>"
    move = expert.act(observed('"Old Ford"\nOld Ford, atlas: known for plums; bridges 3.'))
    assert (move.thought, move.action) == (
        "Old Ford: known for plums. Find known.",
        "<search>New Ford</search>",
    )
    move = expert.act(observed('"New Ford"\nNew Ford, atlas: known for salt; bridges 4.'))
    assert (move.thought, move.action) == (
        "Found one plums one, two salt two. I need salt two.",
        "<answer>New Ford</answer>",
    )
    expert = QuestionExpert("Which town is known for salt, Old Ford or New Ford?")
    expert.act(observed('"Old Ford"\nOld Ford, atlas: known for plums; bridges 3.'))
    move = expert.act(observed('"New Ford"\nNew Ford, atlas: known for cheese; bridges 4.'))
    assert (move.thought, move.action) == (
        "Found one plums one, two cheese two. I need salt one.",  # neither: the first
        "<answer>Old Ford</answer>",
    )


def test_documents_are_read_back_as_they_were_shown():
    text = observed('"A B"\nSome text.', '"C D"\nTwo\nlines.').text
    assert read_documents(text) == [("A B", "Some text."), ("C D", "Two\nlines.")]
    assert read_documents(START) == read_documents(INVALID) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_steps": 0}, "at least one step"),
        ({"search": SearchConfig(retriever="http")}, r"env\.search\.urls is empty"),
        ({"search": SearchConfig(urls=("http://a",))}, "retriever is bm25"),
        ({"data_dir": "somewhere"}, r"env\.search\.corpus"),
        ({"search": SearchConfig(corpus="c.jsonl")}, r"env\.data_dir is empty"),
        ({"search": SearchConfig(datasets=("nq",))}, r"env\.data_dir is empty"),
        (
            {"data_dir": ".", "search": SearchConfig(corpus="none.jsonl")},
            r"none\.jsonl: the corpus",
        ),
        ({"data_dir": "none", "search": SearchConfig(corpus=__file__)}, "no such folder"),
    ],
)
def test_settings_that_do_not_go_together(settings, words):
    with pytest.raises(SkillRLError, match=words):
        make_suite("search", EnvConfig(**{"name": "search", "max_steps": 4} | settings))


def test_tasks_are_json(suite):
    for task in suite.tasks("train")[:3]:
        assert json.loads(json.dumps(dict(task.payload))) == task.payload
        assert task.payload["dataset"] == "generated"
