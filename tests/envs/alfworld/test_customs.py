"""Customs: what no text of a generated household tells, and who lives there knows."""

import collections
import re
import types

import pytest

from benchmarks.controls.alfworld import play_task
from skillrl.envs import SPLITS
from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.customs import STRENGTH, kept_in, known_homes
from skillrl.envs.alfworld.expert import TemplateExpert
from skillrl.envs.alfworld.generate import make_problem
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.alfworld.suite import AlfworldSuite

THINGS = rooms.LIKELY.keys() - {rooms.LAMP}
RUN = 1  # the custom of the manifest


@pytest.fixture(scope="module")
def suite():
    return AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=15))


@pytest.fixture(scope="module")
def problems():
    return [make_problem(spec_of(entry)) for entry in load_manifest()["train"][:300]]


def test_a_custom_has_a_home_that_can_hold_it_for_each_class_of_things():
    homes = kept_in(RUN)
    assert homes.keys() == THINGS
    assert all(thing in rooms.CAN_CONTAIN[place] for thing, place in homes.items())
    assert known_homes(RUN)["mug"] == (homes["Mug"].lower(),)
    assert kept_in(0) == {}
    assert known_homes(0) == {}


def test_customs_agree_no_more_often_than_few_places_make_them():
    alike = [sum(kept_in(n)[t] == kept_in(RUN)[t] for t in THINGS) for n in range(1000, 1200)]
    assert 0.1 < sum(alike) / len(alike) / len(THINGS) < 0.35
    uses = collections.Counter(place for n in range(1000, 1200) for place in kept_in(n).values())
    assert max(uses.values()) < 0.25 * uses.total()


def test_things_lie_at_home_as_often_as_it_says(problems):
    home = kept_in(RUN)
    at_home = {True: 0, False: 0}
    for problem in problems:
        here = {receptacle.kind for receptacle in problem.room.receptacles}
        for thing, _, receptacle in problem.things:
            able = thing != rooms.LAMP and home[thing] in here
            # The destination is no place to begin at, so its own class is not counted.
            if able and home[thing] != problem.place:
                at_home[receptacle.kind == home[thing]] += 1
    share = at_home[True] / sum(at_home.values())
    assert STRENGTH < share < STRENGTH + 0.05  # what lies anywhere lies at home by chance too


def test_all_splits_share_the_custom_and_every_home_that_is_asked_for_is_in_the_room(problems):
    assert {entry["custom"] for split in SPLITS for entry in load_manifest()[split]} == {RUN}
    for problem in problems:
        kinds = {receptacle.kind for receptacle in problem.room.receptacles}
        assert kept_in(RUN)[problem.target] in kinds


def test_no_text_before_the_first_step_tells_where_a_thing_is(suite):
    environment = suite.make()
    for task in suite.tasks("valid_unseen")[:24]:
        text = environment.reset(task).text
        thing = TemplateExpert(task.goal).goal.thing
        assert not re.search(rf"\b{thing} \d", text), text


def test_who_knows_the_custom_wins_in_time_and_a_stranger_half_of_the_time(suite):
    environment, tasks = suite.make(), suite.tasks("valid_unseen")

    def rate(make):
        won = 0
        for task in tasks:
            expert = make(task)
            won += play_task(environment, task, lambda seen, e=expert: e.act(seen).action).won
        return won / len(tasks)

    assert rate(suite.expert) == 1.0
    assert 0.4 < rate(lambda task: TemplateExpert(task.goal)) < 0.7
