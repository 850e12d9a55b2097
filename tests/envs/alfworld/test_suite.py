"""The registered suite: generated games and official-format directories behind one protocol."""

import json
import pathlib
import types

import pytest

from benchmarks.controls.alfworld import play_task
from skillrl.envs.base import SPLITS, Environment, Suite, make_suite
from skillrl.errors import SkillRLError
from skillrl.types import Task

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "alfworld"


def _suite(data_dir="", max_steps=25):
    config = types.SimpleNamespace(data_dir=str(data_dir), max_steps=max_steps)
    return make_suite("alfworld", config)


def test_follows_the_protocol():
    suite = _suite()
    assert isinstance(suite, Suite)
    assert isinstance(suite.make(), Environment)
    assert suite.simulated == "generated games"
    assert list(suite.categories.values()) == ["Pick", "Look", "Clean", "Heat", "Cool", "PickTwo"]
    ids = [task.id for split in SPLITS for task in suite.tasks(split)]
    assert len(set(ids)) == len(ids) == 2400
    assert "valid_seen/0007" in ids
    for task in suite.tasks("valid_seen"):
        assert json.loads(json.dumps(task.payload)) == task.payload
    with pytest.raises(SkillRLError, match="'test'"):
        suite.tasks("test")
    with pytest.raises(SkillRLError, match="max_steps=0"):
        _suite(max_steps=0)


def test_reset_shows_the_room_alone():
    suite = _suite()
    environment = suite.make()
    for task in suite.tasks("valid_seen")[:12]:
        seen = environment.reset(task)
        assert seen.text.startswith("You are in the middle of a room. Looking quickly around you")
        assert "\n" not in seen.text
        assert "Your task" not in seen.text
        assert "help" not in seen.admissible
        assert "look" in seen.admissible


def test_step_limit_and_use_after_the_end():
    suite = _suite(max_steps=3)
    environment = suite.make()
    with pytest.raises(SkillRLError, match="reset"):
        environment.step("look")
    environment.reset(suite.tasks("train")[0])
    results = [environment.step("dance") for _ in range(3)]
    assert [r.observation.text for r in results] == ["Nothing happens."] * 3
    assert [r.done for r in results] == [False, False, True]
    assert not results[-1].won
    assert results[-1].score == results[-1].reward == 0.0
    with pytest.raises(SkillRLError, match="reset"):
        environment.step("look")
    environment.close()
    environment.close()


def test_winning_ends_the_episode_with_reward_and_score_one():
    suite = _suite()
    task = suite.tasks("train")[0]
    expert, environment = suite.expert(task), suite.make()
    seen, done = environment.reset(task), False
    while not done:
        result = environment.step(expert.act(seen).action)
        seen, done = result.observation, result.done
        assert result.reward == result.score == float(result.won)
    assert result.won


def test_handles_are_independent_and_tasks_repeat_exactly():
    suite = _suite()
    task = suite.tasks("valid_unseen")[3]
    one, other = suite.make(), suite.make()
    start = one.reset(task)
    one.step(start.admissible[0])
    assert other.reset(task) == start
    assert one.reset(task) == start


def test_a_task_of_another_environment_is_refused():
    task = Task(
        id="x/1",
        split="train",
        category="pick_and_place_simple",
        goal="put a mug in shelf",
        payload={"page": 3},
    )
    with pytest.raises(SkillRLError, match="x/1"):
        _suite().make().reset(task)


def test_official_directory():
    suite = _suite(FIXTURES, max_steps=60)
    assert suite.simulated == ""
    tasks = suite.tasks("valid_seen")
    assert len(tasks) == 14
    assert {task.category for task in tasks} == set(suite.categories)
    free = [task for task in tasks if suite.expert(task) is None]
    assert sorted(task.goal for task in free) == [
        "Move the bowl over to the fridge",
        "Pick up the bowl, then switch the desklamp on",
    ]
    environment = suite.make()
    for task in tasks:
        text = environment.reset(task).text
        assert text.startswith(("You are in the middle of a room.", "You are facing the "))
        assert "Your task" not in text
        expert = suite.expert(task)
        if expert:
            played = play_task(
                environment, task, lambda seen, expert=expert: expert.act(seen).action
            )
            assert played.won, task.id
            assert played.admissible, task.id


def test_games_left_out_of_a_directory_are_counted(tmp_path, caplog):
    games = sorted(FIXTURES.rglob("game.tw-pddl"))[:2]
    for number, (game, solvable) in enumerate(zip(games, (True, False), strict=True)):
        place = tmp_path / f"trial_{number}" / "game.tw-pddl"
        place.parent.mkdir()
        place.write_text(json.dumps(json.loads(game.read_text()) | {"solvable": solvable}))
    assert len(_suite(tmp_path).tasks("train")) == 1
    assert "games left out: 1 (not solvable)" in caplog.text
    assert "the same games" in caplog.text  # no split folders: nothing is held out
