"""From a config back to flags: they resolve to the same settings, and show no place and no key."""

import pytest

from skillrl.config import presets
from skillrl.config.as_command import command, flags, public
from skillrl.config.settings import Config, public_dict


def resolved(arguments):
    """The settings that flags of a run stand for."""
    named = [argument.partition("=")[::2] for argument in arguments]
    values = {name: [value for other, value in named if other == name] for name, _ in named}
    return presets.resolve(
        values["--env"][0],
        mock="--mock" in values,
        config_path=values.get("--config"),
        overrides=values.get("--set", ()),
        flags={"seed": int(values["--seed"][0])} if "--seed" in values else None,
    ).config


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"env": "alfworld"}, ["--env=alfworld", "--mock"]),
        ({"env": "webshop", "mock": False}, ["--env=webshop", "--nomock"]),
        (
            {"env": "alfworld", "mock": False, "config_path": "alfworld_qwen2.5_7b"},
            ["--env=alfworld", "--nomock", "--config=alfworld_qwen2.5_7b"],
        ),
        (
            {"env": "search", "flags": {"seed": 7}, "overrides": ["rl.kl_coeff=0.5"]},
            ["--env=search", "--mock", "--seed=7", "--set=rl.kl_coeff=0.5"],
        ),
    ],
)
def test_a_preset_and_what_differs_from_it(given, wanted):
    env = given.pop("env")
    assert flags(presets.resolve(env, **given).config) == wanted


def test_values_of_every_kind_come_back():
    config = Config.from_dict(
        {
            "modules": ["mine.py", "other.part"],
            "env": {"name": "my_world", "module": "my world.py"},
            "model": {"teacher_model_id": '"quoted"', "policy_model_id": "1.5", "dtype": "float32"},
            "rollout": {"prefix_buckets": [64, 128]},
            "evolution": {"enabled": False},
            "evaluation": {"splits": ["valid_seen"]},
            "sft": {"learning_rate": 1e-5},
        }
    )
    assert resolved(flags(config)) == config


def test_a_shown_command_has_neither_places_nor_keys():
    config = Config.from_dict(
        {
            "modules": ["/home/me/mine.py"],
            "env": {"data_dir": "/data/games/"},
            "model": {"policy_path": "/models/qwen", "teacher_api_key": "sk-secret"},
        }
    )
    shown = command("train", config, "--workdir=x y")
    assert shown.startswith("skillrl train --env=alfworld ")
    assert shown.endswith(" '--workdir=x y'")
    for word in ('modules=["PATH/mine.py"]', "data_dir=PATH/games", "policy_path=PATH/qwen"):
        assert word in shown
    for word in ("sk-secret", "_key", "/home", "/data", "/models"):
        assert word not in shown
    assert "teacher_api_key" in str(config.to_dict())  # it was there
    assert public_dict(public(config))["env"]["data_dir"] == "PATH/games"
