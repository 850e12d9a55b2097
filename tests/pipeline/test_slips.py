"""Demonstrations that show what to do after a mistake."""

from types import SimpleNamespace

import pytest

from skillrl.config.presets import resolve
from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.phases.collect import expert_episode
from skillrl.types import Task


def _episodes(slips: float, suite=None):
    suite = suite or make_suite("alfworld", SimpleNamespace(data_dir="", max_steps=25))
    tasks = suite.tasks("train")[:6]
    return [expert_episode(suite, task, slips=slips, seed=0) for task in tasks]


def test_slips_are_invalid_repetitions_that_the_expert_recovers_from():
    episodes = _episodes(0.25)
    slips = [
        (previous, step)
        for episode in episodes
        for previous, step in zip(episode.steps, episode.steps[1:], strict=False)
        if step.invalid
    ]
    assert slips
    assert all(step.action == previous.action for previous, step in slips)
    assert any(episode.won for episode in episodes)
    assert episodes == _episodes(0.25)


def test_without_slips_nothing_is_invalid():
    assert not any(step.invalid for episode in _episodes(0.0) for step in episode.steps)


def test_search_has_no_slips_and_its_preset_says_so():
    suite = make_suite("search", EnvConfig(name="search", max_steps=4))
    assert _episodes(1.0, suite) == _episodes(0.0, suite)
    assert resolve("search", mock=True).config.collect.expert_slips == 0


@pytest.mark.parametrize("error", [EnvironmentLost("given up"), SkillRLError("buy more disk")])
def test_a_lost_demonstration_is_recorded_and_what_a_person_can_repair_is_raised(error):
    class Broken:
        def reset(self, task):
            raise error

        def close(self):
            pass

    suite = SimpleNamespace(make=Broken, expert=lambda task: object())
    task = Task(id="train/0001", split="train", category="pick", goal="win")
    if isinstance(error, SkillRLError):
        with pytest.raises(SkillRLError, match="more disk"):
            expert_episode(suite, task, slips=0.0, seed=0)
        return
    lost = expert_episode(suite, task, slips=0.0, seed=0)
    assert (lost.source, lost.won, lost.steps) == ("expert", False, ())
    assert lost.error == "EnvironmentLost: given up"
