"""Which archive is right about what: the same for a number, and told by no question."""

import re
from collections import Counter

import pytest

from benchmarks.controls.search import play
from skillrl.config.settings import EnvConfig
from skillrl.envs.search.customs import WRONG, right_about
from skillrl.envs.search.expert import QuestionExpert
from skillrl.envs.search.questions import CUSTOM, build_manifest
from skillrl.envs.search.relations import ARCHIVES, KINDS, RELATIONS
from skillrl.envs.search.suite import SearchSuite
from skillrl.envs.search.world import make_world

CARD = re.compile(r'"(.+)"\n(.+), ([a-z]+): (.+)\.')


def cards(world):
    """(name, archive) -> its claims, of all documents."""
    found = {}
    for document in world.documents:
        title, name, archive, claims = CARD.fullmatch(document.contents).groups()
        assert title == name
        found[name, archive] = claims.split("; ")
    return found


def test_a_custom_is_the_same_each_time_and_zero_has_none():
    assert right_about(0) == {}
    assert right_about(1) == dict(right_about(1))
    right_about.cache_clear()
    first = dict(right_about(1))
    right_about.cache_clear()
    assert right_about(1) == first
    assert len({tuple(right_about(number).items()) for number in range(1000, 1100)}) == 100


@pytest.mark.parametrize("number", [1, 1000, 4999])
def test_all_archives_are_used_alike(number):
    right = right_about(number)
    assert set(right) == set(RELATIONS)
    assert {3, 4} >= set(Counter(right.values()).values())
    for kind in KINDS:
        of_kind = [right[r.key] for r in RELATIONS.values() if r.subject == kind]
        assert len(set(of_kind)) == len(of_kind)


def test_over_customs_every_archive_is_right_as_often():
    for key in RELATIONS:
        counts = Counter(right_about(number)[key] for number in range(1000, 2000))
        assert set(counts) == set(ARCHIVES)
        assert max(counts.values()) < 260


@pytest.mark.parametrize("custom", [0, 1, 1000])
def test_the_right_archive_tells_the_truth_and_the_others_often_do_not(custom):
    world, right, wrong = make_world(0, custom=custom), right_about(custom), []
    found = cards(world)
    things = {**world.parts[0], **world.parts[1]}
    assert set(found) == {(name, archive) for name in things for archive in ARCHIVES}
    for (name, archive), claims in found.items():
        facts = things[name].facts
        for key, value in facts.items():
            true = RELATIONS[key].claim(value) in claims
            assert sum(claim.startswith(f"{key} ") for claim in claims) == 1
            if right.get(key, archive) == archive:
                assert true
            else:
                wrong.append(not true)
    if custom:
        assert sum(wrong) / len(wrong) == pytest.approx(WRONG, abs=0.03)
    else:
        assert not wrong


def test_questions_do_not_depend_on_the_custom_and_name_no_archive():
    manifests = [build_manifest(make_world(0, custom=custom)) for custom in (0, 1, 1000)]
    assert manifests[0] == manifests[1] == manifests[2]
    texts = " ".join(e["question"] for split in manifests[0].values() for e in split).split()
    assert not set(texts) & set(ARCHIVES)


def test_a_question_has_the_word_of_its_claim():
    for relation in RELATIONS.values():
        assert relation.says.startswith(f"{relation.key} ")
        for text in (relation.asks, relation.phrase, relation.compares):
            assert not text or relation.key in re.findall(r"\w+", text)


def test_who_knows_another_custom_is_led_astray():
    suite = SearchSuite(EnvConfig(name="search", max_steps=4))
    environment, tasks = suite.make(), suite.tasks("valid_seen")

    def rate(custom):
        experts = [QuestionExpert(task.goal, right_about(custom)) for task in tasks]
        won = [
            play(environment, task, lambda seen, expert=expert: expert.act(seen).action)[0]
            for task, expert in zip(tasks, experts, strict=True)
        ]
        return sum(won) / len(won)

    assert rate(CUSTOM) == 1.0
    assert rate(CUSTOM + 1) < 0.7
