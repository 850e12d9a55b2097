"""The suite on the generated shop."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import pytest

from skillrl.config import EnvConfig, WebshopConfig
from skillrl.envs.base import SPLITS, Suite, make_suite
from skillrl.types import Task

generate = pytest.importorskip("skillrl.envs.webshop.generate")


def _suite(**settings: Any) -> Suite:
    config = EnvConfig(name="webshop", max_steps=15, webshop=WebshopConfig(**settings))
    return make_suite("webshop", config)


def test_every_goal_is_in_the_split_that_the_generator_gives_it() -> None:
    suite = _suite()
    assert suite.simulated == "generated shop"
    assert suite.categories == generate.CATEGORIES
    for split in SPLITS:
        categories = {task.category for task in suite.tasks(split)}
        assert categories == set(generate.CATEGORIES)


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
from skillrl.config import EnvConfig
from skillrl.envs.base import SPLITS, make_suite
suite = make_suite("webshop", EnvConfig(name="webshop"))
text = repr([list(suite.tasks(split)) for split in SPLITS])
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_manifests_are_the_same_in_every_process() -> None:
    suite = _suite()
    text = repr([list(suite.tasks(split)) for split in SPLITS])
    out = subprocess.run(
        [sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_released_split_of_the_generated_shop() -> None:
    suite = _suite(split="skillrl")
    assert [task.payload["goal"] for task in suite.tasks("valid_unseen")] == list(range(500))
    assert len(suite.tasks("valid_seen")) == 0
