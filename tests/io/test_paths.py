"""Paths as people type them: in every flag and setting that takes one."""

import json
from pathlib import Path

import pytest

from skillrl.cli.commands import COMMANDS
from skillrl.config import strict
from skillrl.config.presets import resolve
from skillrl.config.settings import Config
from skillrl.envs.webshop.sources import find
from skillrl.errors import SkillRLError
from skillrl.io import paths
from tests.pipeline.tiny import run


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_home(home):
    assert paths.expand("~/x") == f"{home}/x"
    assert paths.expand(Path("~")) == str(home)
    for same in ("./~", "a/~/b", "env", "asset:tiny", ""):
        assert paths.expand(same) == same


def test_every_setting_that_is_a_path_expands_it(home):
    found = [name for name, rules, *_ in strict.pairs(Config(), Config()) if rules.get("path")]
    assert found == [
        "model.policy_path",
        "model.adapter_path",
        "env.data_dir",
        "env.module",
        "env.search.corpus",
        "rollout.weights_dir",
    ]
    config = resolve(mock=False, overrides=[f"{name}=~/x" for name in found]).config
    for name, _, value, _ in strict.pairs(config, config):
        if name in found:
            assert value == f"{home}/x"
    assert Config.from_dict(config.to_dict()) == config


def test_nothing_that_names_a_file_or_folder_is_left_out():
    names = [name for name, *_ in strict.pairs(Config(), Config())]
    told = {name for name in names if name.rpartition(".")[2].endswith(("_path", "_dir"))}
    assert told == {
        "model.policy_path",
        "model.adapter_path",
        "env.data_dir",
        "rollout.weights_dir",
    }
    paths = {"workdir", "output", "trajectories", "skill_bank", "checkpoint", "game", "actions"}
    kinds = {
        (command.name, flag.name): flag.kind
        for command in COMMANDS.values()
        for flag in command.flags
        if flag.name in paths
    }
    assert kinds.pop(("export", "checkpoint")) == "text"  # rl, sft, base or a number
    assert {name for _, name in kinds} == paths
    assert set(kinds.values()) == {"path"}


@pytest.mark.parametrize(
    ("path", "words"),
    [("a\0b", "NUL"), ("x" * 300, "too long"), ("ab/" * 2000, "too long (6,000 bytes)")],
)
def test_what_no_file_can_be_called(path, words, tmp_path):
    assert words in paths.problem(path)
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"env": {"data_dir": path}}))
    with pytest.raises(SkillRLError, match=r"env\.data_dir is") as caught:
        resolve(config_path=file)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("flag", ["--workdir", "--config", "--skill_bank"])
def test_flags_refuse_such_paths_too(flag):
    status, _, err = run("rl", f"{flag}={'x' * 5000}")
    assert status == 2
    assert f"{flag}=xxx" in err
    assert "too long" in err
    assert len(err) < 300


def test_the_shop_and_the_adapter_are_looked_for_at_home(home):
    status, _, err = run("play", "--env=webshop", "--set=env.data_dir=~/shop")
    assert status == 2
    assert f"{home}/shop: there is no such directory" in err
    (home / "empty").mkdir()
    with pytest.raises(SkillRLError, match=f"{home}/empty: holds no items_shuffle"):
        find("~/empty")  # in Python, without a config
