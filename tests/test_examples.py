"""The examples run, on a smaller scale than as scripts, and show what they say."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def _load(name: str):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_play_and_prompts(capsys):
    episode = _load("play_and_prompts").main(steps=2)
    out = capsys.readouterr().out
    assert episode.task.goal in out
    assert out.count("--- step") == 2


def test_grpo_by_hand():
    successes = _load("grpo_by_hand").main(iterations=2, groups=2, group_size=4)
    assert len(successes) == 2


def test_write_a_skill(capsys):
    results = _load("write_a_skill").main(tasks=2)
    assert list(results) == ["no skill", "my skill", "other words"]
    assert len({result["n"] for result in results.values()}) == 1


def test_own_estimator():
    metrics = _load("own_estimator").main(groups=2, group_size=4)
    assert set(metrics) == {"grpo", "sign"}


@pytest.mark.parametrize("name", ["train_with_plot"])
def test_the_others_are_runs(name):
    """They are what tests/pipeline runs in miniature; here it is checked that they load."""
    assert callable(_load(name).main)


def test_every_example_is_tested():
    tested = {"play_and_prompts", "grpo_by_hand", "write_a_skill", "own_estimator"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested | {"train_with_plot"}
