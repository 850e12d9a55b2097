"""The examples run, on a smaller scale than as scripts, and show what they say."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from skillrl import extensions

pytestmark = pytest.mark.usefixtures("few_shapes")

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


@pytest.mark.examples
def test_grpo_by_hand():
    successes = _load("grpo_by_hand").main(iterations=2, groups=2, group_size=4)
    assert len(successes) == 2


@pytest.mark.examples
def test_write_a_skill(capsys):
    module = _load("write_a_skill")
    won = module.main(tasks=2)
    assert {name: len(each) for name, each in won.items()} == {
        "no skill": 2,
        "my skills": 2,
        "their words shuffled": 2,
    }
    mine, shuffled = (
        [
            sorted(re.findall(r"\w+", f"{s.title} {s.principle} {s.when_to_apply}".lower()))
            for s in bank
        ]
        for bank in (module.MINE, module.SHUFFLED)
    )
    assert mine == shuffled
    assert "2 eggs to heat" in capsys.readouterr().out


@pytest.mark.examples
def test_own_estimator_is_a_module_that_only_registers(capsys):
    path = str(EXAMPLES / "own_estimator.py")
    assert extensions.load([path]) == [f"{path} registers advantage estimator 'sign'"]
    assert not capsys.readouterr().out
    (module,) = (sys.modules[name] for name in sys.modules if "_file_own_estimator_" in name)
    metrics = module.main(groups=1, group_size=4)
    assert set(metrics) == {"grpo", "sign"}


def test_the_picture_of_a_run_is_optional(tmp_path, capsys, monkeypatch):
    """The run itself is what tests/pipeline does; here it is two rows of metrics."""
    module = _load("train_with_plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    curve = module.Curve(tmp_path / "curve.png")
    for row in ({"phase": "sft", "step": 1}, {"phase": "rl", "step": 1, "success": 0.25}):
        curve(row)
    assert "iteration 1: 25 % of the episodes won" in capsys.readouterr().out
    assert curve.rows == [(1, 0.25)]
    assert not curve.path.exists()


@pytest.mark.examples
def test_the_notebook_runs_from_top_to_bottom(capsys):
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            exec(compile("".join(cell["source"]), f"cell {cell['id']}", "exec"), names)
    assert "Open what is closed" in capsys.readouterr().out


def test_every_example_is_tested():
    page = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        assert path.suffix not in (".py", ".ipynb") or f"{path.stem}" in page
