"""The generated shops, played: the expert always wins, those that do not read hardly ever."""

import random

import pytest

from benchmarks.controls.webshop import CONTROLS, success_rate
from skillrl.config.settings import EnvConfig, WebshopConfig
from skillrl.envs import make_suite
from skillrl.envs.base import SPLITS
from skillrl.envs.webshop.customs import listed_under
from skillrl.envs.webshop.expert import BUY
from skillrl.envs.webshop.generate import write
from skillrl.envs.webshop.insider import Insider
from skillrl.envs.webshop.shops import CUSTOM
from skillrl.phases.collect import expert_episode

MAX_STEPS = 15


@pytest.fixture(scope="module")
def suite():
    return make_suite("webshop", EnvConfig(name="webshop", max_steps=MAX_STEPS))


def _play(environment, task, expert):
    observation, steps, done = environment.reset(task), 0, False
    while not done:
        move = expert.act(observation)
        assert move.action in observation.admissible or move.action.startswith("search[")
        assert len(move.thought.split()) < 16
        result = environment.step(move.action)
        observation, done, steps = result.observation, result.done, steps + 1
    return result, steps


def test_the_expert_wins_every_goal_and_soon(suite):
    environment, lengths = suite.make(), []
    for split, stride in zip(SPLITS, (16, 1, 4), strict=True):
        for task in suite.tasks(split)[::stride]:
            result, steps = _play(environment, task, suite.expert(task))
            assert result.won, task
            assert result.score == 1.0
            lengths.append(steps)
    assert len(lengths) > 500
    assert max(lengths) <= 8
    assert sum(lengths) / len(lengths) < 4.5


def test_the_expert_knows_no_more_than_a_prompt_and_recovers_from_slips(suite):
    """At each step a fresh expert that is told what a prompt says would do the same."""
    environment, rng, wins, tasks = suite.make(), random.Random(3), 0, suite.tasks("train")[:120]
    for task in tasks:
        expert, observation, done = suite.expert(task), environment.reset(task), False
        history: list[str] = []
        while not done:
            move = expert.act(observation)
            assert Insider(task.goal, listed_under(CUSTOM), history).act(observation) == move
            if rng.random() < 0.15:
                slips = [a for a in observation.admissible if a != BUY and "<your" not in a]
                action = rng.choice([*slips, "click[nothing]"])
                expert.played(action if action in slips else "")
                history += [action] if action in slips else []
            else:
                action = move.action
                history.append(action)
            result = environment.step(action)
            observation, done = result.observation, result.done
        wins += result.won
    assert wins / len(tasks) > 0.8


def test_demonstrations_with_slips_are_won(suite):
    tasks = suite.tasks("train")[:60]
    played = [expert_episode(suite, task, slips=0.25, seed=0) for task in tasks]
    assert any(step.invalid for trajectory in played for step in trajectory.steps)
    assert sum(trajectory.won for trajectory in played) >= 0.9 * len(played)


@pytest.mark.parametrize(
    ("control", "bound"), [("uniform", 0.12), ("first hit", 0.25), ("first hit, with options", 0.4)]
)
def test_who_does_not_read_hardly_ever_wins(suite, control, bound):
    tasks = suite.tasks("train")[:300]
    assert success_rate(suite.make(), tasks, CONTROLS[control]) <= bound


def test_written_files_are_read_as_official_ones(tmp_path):
    write(tmp_path)
    settings = {"webshop": WebshopConfig(split="skillrl"), "max_steps": MAX_STEPS}
    own = make_suite("webshop", EnvConfig(**settings))
    official = make_suite("webshop", EnvConfig(data_dir=str(tmp_path), **settings))
    goals = [{task.goal for split in SPLITS for task in s.tasks(split)} for s in (own, official)]
    assert goals[0] == goals[1]
    assert len(goals[0]) == 1077
    tasks, environment = official.tasks("train")[:20], official.make()
    assert all(_play(environment, task, official.expert(task))[0].won for task in tasks)


def test_people_s_goals_have_no_expert():
    suite = make_suite("webshop", EnvConfig(webshop=WebshopConfig(goals="human")))
    tasks = [task for split in SPLITS for task in suite.tasks(split)]
    assert len(tasks) == 42
    assert all(suite.expert(task) is None for task in tasks)
