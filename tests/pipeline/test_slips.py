"""Demonstrations that show what to do after a mistake."""

from types import SimpleNamespace

from skillrl.envs import make_suite
from skillrl.phases.collect import expert_episode


def _episodes(slips: float):
    suite = make_suite("alfworld", SimpleNamespace(data_dir="", max_steps=25))
    collect = SimpleNamespace(expert_slips=slips, expert_episodes=6)
    session = SimpleNamespace(suite=suite, seed=0, config=SimpleNamespace(collect=collect))
    return [expert_episode(session, task) for task in suite.tasks("train")[:6]]


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
