"""Presets that stack, whose environment they are for, and where a run lies by default."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from skillrl.cli import main
from skillrl.cli.commands import COMMANDS
from skillrl.cli.flags import parse
from skillrl.config import presets
from skillrl.config.presets import (
    default_workdir,
    preset_names,
    read_config,
    resolve,
    split_configs,
)
from skillrl.config.settings import Config
from skillrl.errors import Problems, SkillRLError
from skillrl.phases.run_directory import RunDirectory, atomic_write


@pytest.mark.parametrize(
    "given",
    ["alfworld_qwen2.5_7b,paper", ["alfworld_qwen2.5_7b", "paper"], ("paper,", "mine.json")],
)
def test_several_files_stack_and_the_last_one_wins(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text('{"rl": {"batch_size": 40}}')
    resolved = resolve(mock=False, config_path=given)
    first, last = split_configs(given)
    assert resolved.sources["rl.batch_size"] == last
    assert resolved.config.rl.batch_size == (40 if last == "mine.json" else 128)
    # What the later one does not say stays the earlier one's.
    name, value = ("model.remat", "full") if last == "paper" else ("evaluation.temperature", 0.4)
    assert resolved.sources[name] == first
    section, field = name.split(".")
    assert getattr(getattr(resolved.config, section), field) == value


def test_a_file_with_a_comma_in_its_name_is_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a,b.json").write_text('{"seed": 4}')
    assert resolve(config_path="a,b.json").config.seed == 4
    with pytest.raises(SkillRLError, match=r"--config=a: no such file"):
        resolve(config_path="a,c.json")


@pytest.mark.parametrize("one", ["", ",", "paper,nowhere"])
def test_a_file_that_is_not_there_is_named(one):
    with pytest.raises(SkillRLError, match=r"--config=(,|nowhere)?: no such file"):
        resolve(config_path=one)


def test_the_released_values():
    config = resolve(mock=False, config_path="alfworld_qwen2.5_7b,paper").config
    rl, skills = config.rl, config.skill_retrieval
    assert (rl.batch_size // rl.group_size, rl.group_size) == (16, 8)
    assert (rl.max_prompt_length, rl.max_response_length) == (4096, 512)
    assert (rl.advantage, rl.old_logprobs) == ("grpo_over_steps", "recomputed")
    assert (config.evaluation.temperature, config.checkpoint.interval) == (0.4, 10)
    assert (skills.order, skills.first_step, skills.similarity_threshold) == ("paper", False, -1)
    assert (skills.general_top_k, skills.mistakes_top_k) == (6, 5)
    assert (rl.kl_estimator, rl.clip_ratio_c, rl.entropy_coeff) == ("k3_clamped", 3.0, 0.001)
    assert (rl.loss_aggregation, rl.loss_micro_batch) == ("micro_batch_mean", 4)
    shop = resolve(mock=False, config_path="webshop_qwen2.5_7b,paper")
    assert (shop.config.rl.max_prompt_length, shop.config.rl.max_response_length) == (6000, 768)
    assert shop.sources["rl.max_prompt_length"] == "paper_webshop"
    search = resolve(mock=False, config_path="search_qwen2.5_7b,paper").config
    assert (search.rl.batch_size // search.rl.group_size, search.rl.group_size) == (256, 4)
    assert (search.evaluation.temperature, search.skill_retrieval.top_k) == (0.0, 0)
    assert (search.rl.entropy_coeff, search.rl.kl_coeff) == (0.0, 0.001)


PRESETS = {name: read_config(presets.preset_path(name)) for name in preset_names()}
BOUND = [name for name, preset in PRESETS.items() if "name" in preset.get("env", {})]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_what_it_runs_on_what_and_with_what_success(name):
    content = json.loads(presets.preset_path(name).read_text())
    assert next(iter(content)) == "_about"
    about = presets.about(name)
    assert list(about) == ["runs", "command", "hardware", "hours", "success"]
    assert all(isinstance(text, str) and text for text in about.values())
    assert about["command"].startswith(("skillrl train ", "skillrl evaluate "))


@pytest.mark.parametrize("name", preset_names())
def test_the_command_of_a_preset_uses_it(name):
    program, command, *arguments = shlex.split(presets.about(name)["command"])
    values = parse(COMMANDS[command], arguments).values
    found = resolve(
        values["env"],
        mock=values["mock"],
        config_path=values["config"],
        overrides=values["set"],
    )
    assert program == "skillrl"
    assert {name, f"preset {name}"} & set(found.sources.values())


def test_what_a_config_says_of_itself_sets_nothing_and_stands_only_at_its_top(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"_about": {"runs": "x", "rl": 3}, "seed": 4}')
    assert read_config(file) == {"seed": 4}
    assert resolve(config_path=file).config.seed == 4
    file.write_text('{"_about": 3}')
    with pytest.raises(SkillRLError, match=r"_about is 3; it is a text or an object"):
        resolve(config_path=file)
    file.write_text('{"rl": {"_about": "x"}}')
    with pytest.raises(SkillRLError, match=r"rl\._about: unknown config key"):
        resolve(config_path=file)
    with pytest.raises(SkillRLError, match="_about: unknown config key"):
        resolve(overrides=["_about=x"])


@pytest.mark.parametrize("command", ["train", "play"])
def test_the_help_lists_the_presets(command, capsys):
    assert main.main([command, "--help"]) == 0
    listed = capsys.readouterr().out.partition("Presets for --config:")[2]
    assert all(f"\n  {name}\n" in listed for name in preset_names())


def test_presets_for_one_environment_say_so():
    assert {n for n in preset_names() if n.startswith(("alfworld", "webshop", "search"))} <= {
        *BOUND
    }
    assert {"mock_search", "mock_webshop", "paper_search", "paper_webshop"} <= {*BOUND}


@pytest.mark.parametrize("name", BOUND)
def test_a_preset_of_one_environment_is_refused_on_another(name):
    own = PRESETS[name]["env"]["name"]
    for other in {"alfworld", "webshop", "search", "toy"} - {own}:
        with pytest.raises(SkillRLError, match=rf"--config={name}: is a preset for --env={own}"):
            resolve(other, config_path=name)
        with pytest.raises(SkillRLError, match=f"the environment here is {other}"):
            resolve(None, config_path=f"configs/{name}.json", overrides=[f"env.name={other}"])
    assert resolve(own, config_path=name).config.env.name == own
    if own != "search":
        assert resolve(f"agentgym_{own}", config_path=name).config.env.name == f"agentgym_{own}"


def test_a_file_of_ones_own_may_be_used_elsewhere(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"env": {"name": "alfworld"}}')
    assert resolve("webshop", config_path=file).config.env.name == "webshop"


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"rl": {"group_sise": 8, "batch_size": 0, "kl_coeff": 0.5}, "sed": 3}')
    with pytest.raises(Problems) as caught:
        resolve(config_path=file, overrides=["env.max_steps=0"])
    said = caught.value.problems
    words = ["rl.group_sise", "rl.batch_size is 0", "sed", "--set: env.max_steps is 0"]
    assert len(said) == len(words)
    assert all(word in problem for word, problem in zip(words, said, strict=True))


def test_all_that_is_wrong_is_a_line_each(capsys):
    assert main.main(["train", "--set=rl.group_sise=1", "--set=rl.batch_size=0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" rl.")[0] for line in lines] == ["skillrl train: error: --set:"] * 2


def test_default_directories_differ_by_what_makes_another_run():
    made = {}
    for env in ("alfworld", "webshop"):
        for seed in (0, 1):
            for mock in (True, False):
                for files in (
                    (),
                    ("own_policy",),
                    ("own_policy", "paper"),
                    ("/x/own_policy.json",),
                ):
                    config = Config.from_dict({"seed": seed, "env": {"name": env}})
                    made[env, seed, mock, files] = default_workdir(
                        config, mock=mock, config_path=files
                    )
    assert made["alfworld", 0, True, ()] == Path("runs/alfworld-seed0")
    assert made["webshop", 1, False, ("own_policy",)] == Path(
        "runs/webshop-own_policy-nomock-seed1"
    )
    same = [place for key, place in made.items() if key[3] == ("/x/own_policy.json",)]
    assert len(set(made.values())) == len(made) - len(same)  # a file is known by its name alone
    assert all(place.parent == Path("runs") for place in made.values())


def test_no_name_of_a_file_leaves_the_directory_of_runs():
    place = default_workdir(Config(), mock=True, config_path=["../../etc/a b;c.json"])
    assert place == Path("runs/alfworld-a_b_c-seed0")


@pytest.fixture
def here(tmp_path, monkeypatch, toy_env):
    monkeypatch.chdir(tmp_path)
    Path("policy").symlink_to(presets.resolve_path("asset:tiny_qwen2_alfworld"))
    Path("mine.json").write_text(json.dumps({"rl": {"kl_coeff": 0.5}}))
    return [f"--env={toy_env}", "--set=model.policy_path=policy"]


def started(place: str, config: Config) -> None:
    """A run there that has written something."""
    with RunDirectory(place, config) as run:
        atomic_write(run.file("collect", "trajectories.jsonl"), "")


@pytest.mark.parametrize("more", [[], ["--config=mine.json"], ["--nomock"], ["--seed=3"]])
def test_all_phases_and_the_evaluation_find_the_same_directory(here, more, capsys):
    places = set()
    for name in ("train", "collect", "distill", "sft", "rl", "evaluate"):
        main.main([name, *here, *more, "--dry_run"])
        out = capsys.readouterr().out
        places.add(out.partition("would run in ")[2].partition(":")[0])
    assert len(places) == 1
    assert places != {"runs/toy-seed0"} or not more


def test_the_second_command_of_a_new_user_is_another_run(here, capsys):
    config = resolve("toy", overrides=["model.policy_path=policy"]).config
    started("runs/toy-seed0", config)
    main.main(["train", *here, "--nomock", "--dry_run"])
    captured = capsys.readouterr()
    assert "runs/toy-nomock-seed0" in captured.out
    assert "other settings" not in captured.err


def test_an_evaluation_takes_the_settings_of_the_run_that_its_flags_name(here, capsys):
    flags = [*here, "--config=mine.json"]
    overrides = ["model.policy_path=policy", "rl.kl_coeff=0.25"]
    config = resolve("toy", config_path="mine.json", overrides=overrides).config
    started("runs/toy-mine-seed0", config)
    base = ["--checkpoint=base", "--dry_run", "--show_config"]
    assert main.main(["evaluate", *flags, *base]) == 0
    assert '"kl_coeff": 0.25' in capsys.readouterr().out
    assert main.main(["evaluate", *flags, *base, "--workdir=runs/toy-mine-seed0"]) == 0
    assert '"kl_coeff": 0.5' in capsys.readouterr().out


def test_a_message_about_other_settings_names_five(here, capsys):
    started("w", resolve("toy", mock=False, overrides=["model.policy_path=policy"]).config)
    assert main.main(["train", *here, "--workdir=w"]) == 2
    error = capsys.readouterr().err
    assert error.count(", now ") == 5
    assert "more (the run's are in w/config.json, --show_config prints yours)" in error
    assert len(error) < 1000
    started("v", resolve("toy", overrides=["model.policy_path=policy"]).config)
    assert main.main(["train", *here, "--workdir=v", "--seed=9"]) == 2
    error = capsys.readouterr().err
    assert "seed was 0, now 9. Repeat" in error
    assert "more (" not in error
