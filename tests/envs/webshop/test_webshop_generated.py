"""The suite on the generated shops: a shop for each training task, disjoint splits."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from typing import Any

import pytest

from skillrl.config.settings import EnvConfig, WebshopConfig
from skillrl.envs.base import SPLITS, Suite, make_suite
from skillrl.envs.webshop.categories import CATEGORIES
from skillrl.envs.webshop.custom_shops import FIRST_UNSEEN
from skillrl.envs.webshop.customs import kind_in
from skillrl.envs.webshop.expert import ShoppingGoal, parse_goal
from skillrl.errors import SkillRLError
from skillrl.types import Task


def _suite(**settings: Any) -> Suite:
    config = EnvConfig(name="webshop", max_steps=15, webshop=WebshopConfig(**settings))
    return make_suite("webshop", config)


def test_every_prefix_of_a_split_is_balanced() -> None:
    suite = _suite()
    assert suite.simulated == "generated shops"
    assert suite.categories == CATEGORIES
    sizes = {split: len(suite.tasks(split)) for split in SPLITS}
    assert sizes == {"train": 2016, "valid_seen": 140, "valid_unseen": 987}
    for split in SPLITS:
        assert [task.category for task in suite.tasks(split)[:70]] == [*CATEGORIES] * 10


def test_training_tasks_have_a_shop_of_their_own_and_seen_ones_are_of_these() -> None:
    suite = _suite()
    shops = {split: [task.payload["shop"] for task in suite.tasks(split)[:140]] for split in SPLITS}
    assert shops["train"] == shops["valid_seen"] == list(range(1, 141))
    assert shops["valid_unseen"] == list(range(FIRST_UNSEEN, FIRST_UNSEEN + 140))
    kinds = [
        {
            kind_in(parse_goal(suite.tasks(split)[index].goal).phrase)
            for split in ("train", "valid_seen")
        }
        for index in range(140)
    ]
    assert all(len(pair) == 2 for pair in kinds)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_no_wish_is_in_two_splits(every: int) -> None:
    """All held-out tasks against all training tasks, and in short against one in eight."""
    suite = _suite()
    tasks = {split: suite.tasks(split) for split in SPLITS}
    tasks["train"] = tasks["train"][::every]
    wishes = {split: {_wish(parse_goal(task.goal)) for task in tasks[split]} for split in SPLITS}
    assert not wishes["train"] & wishes["valid_unseen"]
    assert not wishes["train"] & wishes["valid_seen"]
    assert not wishes["valid_seen"] & wishes["valid_unseen"]
    assert len(wishes["train"]) > 1100 / every  # 1,152 of 2,016 differ


def _wish(goal: ShoppingGoal) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    return tuple(sorted(goal.phrase.split())), goal.options


@pytest.mark.parametrize("payload", [{}, {"goal": 3}, {"shop": -1, "goal": 3}, {"shop": 9999}])
def test_a_task_of_elsewhere_is_refused(payload: dict[str, int]) -> None:
    task = dataclasses.replace(_suite().tasks("train")[0], payload=payload)
    with pytest.raises(SkillRLError, match="generated shops"):
        _suite().make().reset(task)


def test_another_goal_seed_gives_other_limits_and_its_tasks_are_refused_here() -> None:
    suite, other = _suite(), _suite(goal_seed=7)
    tasks = [made.tasks("train")[10] for made in (suite, other)]
    assert tasks[0].goal != tasks[1].goal
    with pytest.raises(SkillRLError, match=r"env\.webshop\.goal_seed"):
        suite.make().reset(tasks[1])
    assert _play(other, tasks[1])[0]


def _play(suite: Suite, task: Task) -> tuple[bool, float, list[str]]:
    expert, environment = suite.expert(task), suite.make()
    assert expert is not None
    seen, texts = environment.reset(task), []
    while True:
        result = environment.step(expert.act(seen).action)
        seen = result.observation
        texts.append(seen.text)
        if result.done:
            return result.won, result.score, texts


@pytest.mark.parametrize("observation", ["text", "text_rich"])
def test_the_expert_earns_everything(observation: str) -> None:
    suite = _suite(observation=observation)
    for split in SPLITS:
        for task in suite.tasks(split)[:40]:
            assert _play(suite, task)[:2] == (True, 1.0), task


_DIGEST = """
import hashlib
import sys
from skillrl.config.settings import EnvConfig
from skillrl.envs.base import SPLITS, make_suite
suite = make_suite("webshop", EnvConfig(name="webshop"))
text = repr([list(suite.tasks(split)[:int(sys.argv[1])]) for split in SPLITS])
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.mark.parametrize("count", [pytest.param(300, marks=pytest.mark.slow), 70])
def test_manifests_are_the_same_in_every_process(count: int) -> None:
    """The first tasks of each split; seventy are ten of each category."""
    suite = _suite()
    text = repr([list(suite.tasks(split)[:count]) for split in SPLITS])
    out = subprocess.run(
        [sys.executable, "-c", _DIGEST, str(count)], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_released_split_of_the_generated_shop() -> None:
    suite = _suite(split="skillrl")
    assert [task.payload["goal"] for task in suite.tasks("valid_unseen")] == list(range(500))
    assert len(suite.tasks("valid_seen")) == 0
