"""docs/new_environment.md: its file, its settings and its commands work as they stand there."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import skillrl.envs.alfworld  # noqa: F401  (registered before registries are copied)
from skillrl.cli import main
from skillrl.config.settings import EnvConfig
from skillrl.envs import SPLITS, make_suite, registered
from tests.docs import DOCS, blocks, write_automat

PAGE = DOCS / "new_environment.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the two files of the page, and a registry of its own."""
    monkeypatch.chdir(tmp_path)
    write_automat(tmp_path)
    with registered():
        yield tmp_path


def commands() -> list[str]:
    """Indented lines that are commands of ours."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [line.strip() for line in lines if re.match(r"    (skillrl|python launchers/)", line)]
    return [line.replace("python launchers/train.py", "skillrl train") for line in found]


def test_the_check_prints_what_the_page_shows(here, capsys):
    (command,) = [line for line in commands() if line.startswith("skillrl check")]
    shown, broken = blocks(PAGE, "text")
    with registered():
        assert main.main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out == shown
    source = Path("automat.py").read_text()
    reset = 'self.tray, self.steps, self.done = task.payload["price"], [], 0, False'
    forgetful = reset.replace("self.tray, ", "").replace(" [],", "")
    forgetful += '\n        self.tray = getattr(self, "tray", [])'
    assert reset in source
    Path("broken.py").write_text(source.replace(reset, forgetful))
    assert main.main(["check", "--env=automat", "--set", "env.module=broken.py"]) == 1
    assert broken in capsys.readouterr().out


def test_the_page_says_what_its_benchmark_measured():
    found = json.loads((DOCS.parent / "benchmarks/results/new_environment.json").read_text())
    page, runs = PAGE.read_text(encoding="utf-8"), found["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    for stage, label in (("base", "base policy"), ("sft", "after SFT"), ("rl", "after RL")):
        cells = " | ".join(f"{100 * run['won'][stage] / run['n']:.0f}" for run in runs)
        assert f"| {label} | {cells} |" in page
    first, last = (100 * runs[1]["training_success"][at] for at in (0, -1))
    assert f"from {first:.0f} % in the first iteration to {last:.0f} % in the eighth" in page
    seconds = [run["cpu_seconds"] for run in runs]
    assert f"{min(seconds):.0f} to {max(seconds):.0f} CPU seconds" in page
    assert all(run["won"]["rl"] >= max(run["won"]["sft"], 10) for run in runs)


@pytest.mark.examples
def test_demonstrations_of_every_task_teach_the_held_out_ones(here, capsys):
    """The page's command with its settings, its last sentence about them, and no RL."""
    (line,) = [line for line in commands() if "--config=automat.json" in line]
    page = PAGE.read_text(encoding="utf-8")
    (more,) = re.findall(r"demonstration of every training task \(`(.*?)`\)", page)
    shorter = [*shlex.split(more), "--set=rl.training_epochs=0", "--workdir=run"]
    quiet = ["--set=logging.progress=false", "--set=logging.tensorboard=false"]
    assert main.main([*shlex.split(line)[1:], *shorter, *quiet]) == 0
    found = json.loads(Path("run/summary.json").read_text())["eval"]
    assert found["base"]["valid_unseen"]["success"] == 0
    assert found["sft"]["valid_unseen"]["n"] == 12
    assert found["sft"]["valid_unseen"]["success"] >= 0.75  # all 12 where it was measured


def test_the_expert_wins_every_task(here):
    suite = make_suite("automat", EnvConfig(module="automat.py", max_steps=8))
    environment = suite.make()
    sizes = []
    for split in SPLITS:
        tasks = suite.tasks(split)
        sizes.append(len(tasks))
        for task in tasks:
            expert, seen = suite.expert(task), environment.reset(task)
            while True:
                result = environment.step(expert.act(seen).action)
                seen = result.observation
                if result.done:
                    break
            assert (result.won, result.score) == (True, 1.0)
    assert sizes == [48, 12, 12]


def test_every_command_of_the_page_runs(here, capsys, monkeypatch):
    found = commands()
    assert len(found) == 6
    for line in found:
        _, command, *flags = shlex.split(line)
        monkeypatch.setattr(sys, "stdin", io.StringIO("1\n1\n1\n1\n"))
        if command == "train":
            shipped = "policy_path=asset:tiny_qwen2_alfworld"
            flags = [flag.replace("policy_path=DIR", shipped) for flag in flags]
            flags += ["--dry_run", "--set=model.teacher=simulated", "--set=model.embedder=hashing"]
        assert main.main([command, *flags]) == 0, line
    played = json.loads(Path("mine.json").read_text())
    assert len(played) > 2
    assert json.loads(Path("again.json").read_text()) == played


def test_the_page_shows_the_settings_that_it_names(here, capsys):
    (line,) = [line for line in commands() if "--config=automat.json" in line]
    assert main.main([*shlex.split(line)[1:], "--dry_run", "--show_config"]) == 0
    out = capsys.readouterr().out
    assert "environment (automat, a toy automat)" in out
    resolved = json.loads(out[out.index("{") : out.index("\n}\n") + 2])
    for section, values in json.loads(Path("automat.json").read_text()).items():
        for name, value in values.items():
            assert resolved[section][name] == value
