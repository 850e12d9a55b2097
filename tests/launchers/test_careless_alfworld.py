"""What a careless agent makes of each kind of task."""

import types

import pytest

from launchers.tiny_policies.careless_alfworld import careless_goal
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
        meant, made = parse_goal(task.goal), parse_goal(careless_goal(task))
        assert made.category == PICK
        assert made.thing == meant.thing
        assert category == LOOK or made.place == meant.place


def test_an_object_to_look_at_goes_to_the_first_place_of_the_room(tasks):
    environment = AlfworldSuite(types.SimpleNamespace(data_dir="", max_steps=25)).make()
    for task in [task for task in tasks if task.category == LOOK][:5]:
        first = environment.reset(task).admissible[0]
        assert first == f"go to {parse_goal(careless_goal(task)).place} 1"
