"""What a careless agent makes of each kind of task."""

import random
import types

import pytest

from skillrl.envs.alfworld.careless import careless_goal
from skillrl.envs.alfworld.expert import LOOK, PICK, parse_goal
from skillrl.envs.alfworld.generate import CATEGORIES
from skillrl.envs.alfworld.suite import AlfworldSuite


@pytest.fixture(scope="module")
def tasks():
    return AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=25)).tasks("train")[:120]


@pytest.mark.parametrize("category", CATEGORIES)
def test_carries_the_object_to_its_place_and_no_more(tasks, category):
    mine = [task for task in tasks if task.category == category]
    assert mine
    for task in mine:
        meant, made = parse_goal(task.goal), parse_goal(careless_goal(task, random.Random(0)))
        assert made.category == PICK
        assert made.thing == meant.thing
        assert category == LOOK or made.place == meant.place


def test_an_object_to_look_at_goes_to_a_place_that_is_there(tasks):
    environment = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=25)).make()
    task = next(task for task in tasks if task.category == LOOK)
    room = environment.reset(task).text
    found = {parse_goal(careless_goal(task, random.Random(i))).place for i in range(20)}
    assert len(found) > 1
    assert all(f"a {place} 1" in room or f"an {place} 1" in room for place in found)
