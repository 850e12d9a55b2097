"""Strictness, precedence and secrecy of the config."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from skillrl.config import strict
from skillrl.config.presets import (
    find_config,
    parse_set,
    preset_names,
    preset_path,
    read_config,
    resolve,
    resolve_path,
)
from skillrl.config.settings import Config, diff, public_dict, resumable_settings
from skillrl.errors import SkillRLError

ROOT = Path(__file__).resolve().parents[2]

# The accepted format, word for word as it is documented.
EXAMPLE = """
{"sft": {"learning_rate": 1e-4, "batch_size": 16, "epochs": 3},
 "rl": {"learning_rate": 1e-6, "batch_size": 64, "group_size": 8, "kl_coeff": 0.01,
        "clip_epsilon": 0.2, "invalid_action_penalty": 0.1, "max_prompt_length": 6000,
        "max_response_length": 1024, "training_epochs": 150},
 "skill_retrieval": {"top_k": 6, "similarity_threshold": 0.4},
 "evolution": {"validation_interval": 5, "max_new_skills": 3, "evolution_threshold": 0.4,
               "max_analysis_deep": 10, "max_analysis_shallow": 5},
 "model": {"policy_api_base": "http://localhost:8000/v1",
           "policy_model_id": "Qwen/Qwen2.5-7B-Instruct",
           "teacher_api_base": "https://api.openai.com/v1", "teacher_model_id": "o3",
           "policy_api_key": "", "teacher_api_key": "",
           "embedding_api_base": "https://api.openai.com/v1",
           "embedding_model_id": "text-embedding-3-small", "embedding_api_key": ""}}
"""


def refused(mapping: dict) -> str:
    with pytest.raises(SkillRLError) as caught:
        Config.from_dict(mapping)
    return str(caught.value)


def changed(section: str, **values: object) -> Config:
    return Config.from_dict({section: values})


def test_the_example_is_accepted_and_is_the_default():
    assert Config.from_dict(json.loads(EXAMPLE)) == Config()


def test_every_field_of_the_example_is_read():
    def bumped(value: object) -> object:
        if isinstance(value, str):
            return "https://elsewhere.example/v1" if value.startswith("http") else value + "x"
        return value * 2  # every documented number doubles without leaving its bounds

    mapping = {s: {k: bumped(v) for k, v in f.items()} for s, f in json.loads(EXAMPLE).items()}
    config = Config.from_dict(mapping).to_dict()
    assert {s: {k: config[s][k] for k in f} for s, f in mapping.items()} == mapping


@pytest.mark.parametrize(
    ("urls", "word"),
    [
        (["http://a", "b:8000"], "http"),
        (["http://me:sk-secret@a"], "credentials"),
        (["http://a?key=sk-secret"], "credentials"),
        ([""], "http"),
        ("http://a", "list of strings"),
    ],
)
def test_lists_of_addresses_are_checked_one_by_one(urls: object, word: str):
    message = refused({"env": {"search": {"urls": urls}}})
    assert "env.search.urls" in message
    assert word in message
    assert "sk-secret" not in message


def test_a_list_of_addresses_is_kept():
    config = Config.from_dict({"env": {"search": {"urls": ["http://a", "https://b/retrieve"]}}})
    assert config.env.search.urls == ("http://a", "https://b/retrieve")


def test_the_search_preset_is_the_released_script():
    config = resolve(mock=False, config_path="search_qwen2.5_7b").config
    assert (config.env.name, config.env.max_steps, config.agent.history_length) == ("search", 4, 4)
    assert (config.env.search.top_k, config.env.search.dialect) == (3, "single")
    rl = config.rl
    assert (rl.batch_size // rl.group_size, rl.group_size) == (256, 4)
    assert (rl.kl_coeff, rl.invalid_action_penalty, rl.learning_rate) == (0.001, 0.01, 1e-6)
    assert (rl.max_prompt_length, rl.max_response_length) == (5000, 700)
    assert rl.warmup_iterations == rl.training_epochs // 10 > 0
    assert not config.evolution.enabled


def test_the_webshop_preset_is_the_released_script():
    config = resolve(mock=False, config_path="webshop_qwen2.5_7b").config
    assert (config.env.name, config.env.max_steps, config.agent.history_length) == (
        "webshop",
        15,
        2,
    )
    assert (config.env.webshop.split, config.env.webshop.goals) == ("skillrl", "synthetic")
    assert config.env.webshop.goal_seed == 0
    rl = config.rl
    assert (rl.batch_size // rl.group_size, rl.group_size) == (16, 8)
    assert (rl.kl_coeff, rl.invalid_action_penalty, rl.learning_rate) == (0.01, 0.1, 1e-6)
    assert (rl.max_prompt_length, rl.max_response_length) == (6000, 768)
    assert (rl.training_epochs, rl.warmup_iterations, rl.kl_estimator) == (150, 0, "k3")
    evolution = config.evolution
    assert evolution.enabled
    assert (evolution.evolution_threshold, evolution.max_new_skills) == (0.4, 3)
    assert (evolution.validation_interval, config.evaluation.quick_interval) == (5, 5)
    assert (config.skill_retrieval.top_k, config.checkpoint.interval) == (6, 10)


def test_round_trip():
    config = changed("rollout", suffix_buckets=[64, 128], slots=16)
    assert config.rollout.suffix_buckets == (64, 128)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_base_keeps_what_the_mapping_does_not_say():
    base = changed("rl", group_size=4)
    config = Config.from_dict({"rl": {"batch_size": 12, "minibatches": 3}}, base)
    assert (config.rl.group_size, config.rl.batch_size) == (4, 12)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"rl": {"group_sze": 12}}, ["rl.group_sze", "12", "rl.group_size?"]),
        ({"group_size": 12}, ["group_size", "rl.group_size?"]),
        ({"sfft": {}}, ["sfft", "sft?"]),
        ({"sft": {"kl_coeff": 1}}, ["sft.kl_coeff", "rl.kl_coeff?"]),
        ({"rl": {"qqqq": 1}}, ["rl.qqqq", "group_size"]),
        ({"rl": {"top_p": 0.9}}, ["rl.top_p", "full softmax"]),
        ({"rl": {"group_size": "8"}}, ["rl.group_size", '"8"', "whole number"]),
        ({"rl": {"group_size": 8.0}}, ["rl.group_size", "8.0", "whole number"]),
        ({"rl": {"group_size": True}}, ["rl.group_size", "true", "whole number"]),
        ({"rl": {"learning_rate": math.nan}}, ["rl.learning_rate", "finite number"]),
        ({"rl": {"learning_rate": None}}, ["rl.learning_rate", "null"]),
        ({"rl": 3}, ["rl is 3", "object"]),
        ({"evolution": {"enabled": 1}}, ["evolution.enabled", "true or false"]),
        ({"rollout": {"suffix_buckets": [64, "128"]}}, ["suffix_buckets", "whole numbers"]),
        ({"evaluation": {"splits": "valid_seen"}}, ["evaluation.splits", "list of strings"]),
        ({"model": {"policy_path": 7}}, ["model.policy_path", "string"]),
    ],
)
def test_unknown_keys_and_wrong_types(mapping: dict, words: list[str]):
    message = refused(mapping)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("section", "field", "value", "word"),
    [
        ("rl", "group_size", -1, "at least 1"),
        ("rl", "learning_rate", -1e-6, "at least 0"),
        ("rl", "clip_epsilon", 0, "greater than 0"),
        ("sft", "warmup_fraction", 1.5, "between 0 and 1"),
        ("skill_retrieval", "similarity_threshold", 2, "between -1 and 1"),
        ("rl", "reward", "sucess", "success?"),
        ("model", "dtype", "float16", "bfloat16, float32"),
        ("env", "name", "", "not be empty"),
        ("rollout", "suffix_buckets", [128, 64], "strictly rising"),
        ("rollout", "prefix_buckets", [0, 64], "positive"),
        ("rollout", "bucket_growth", 1, "greater than 1"),
        ("model", "teacher_api_base", "api.openai.com", "http"),
    ],
)
def test_values_out_of_bounds(section: str, field: str, value: object, word: str):
    message = refused({section: {field: value}})
    assert f"{section}.{field} is" in message
    assert word in message


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"rl": {"batch_size": 60}}, ["rl.batch_size is 60", "rl.group_size (8)", "64"]),
        ({"rl": {"batch_size": 16, "minibatches": 3}}, ["rl.minibatches is 3", "only 2 groups"]),
        ({"rl": {"group_size": 1}}, ["rl.group_size is 1"]),
        (
            {
                "rollout": {"weights": "int8"},
                "rl": {"old_logprobs": "recomputed"},
                "model": {"policy": "openai"},
            },
            ["rollout.weights is int8", "model.policy is openai", "model.policy=local"],
        ),
        (
            {"rollout": {"weights": "int8"}},
            ["rollout.weights is int8", "rl.old_logprobs is sampler", "=recomputed"],
        ),
        ({"rl": {"temperature": 0.7}}, ["rl.temperature is 0.7", "evaluation.temperature"]),
        ({"rollout": {"slots": 30, "members": 8}}, ["rollout.slots is 30", "(8)"]),
        ({"mesh": {"data": 0}}, ["mesh", "(0, 1, 1)"]),
        ({"mesh": {"data": -1, "fsdp": -1}}, ["(-1, -1, 1)", "at most one"]),
        ({"evaluation": {"splits": ["a", "a"]}}, ["evaluation.splits", "once"]),
    ],
)
def test_fields_that_do_not_go_together(mapping: dict, words: list[str]):
    message = refused(mapping)
    for word in words:
        assert word in message


def test_null_is_a_value_where_it_has_a_meaning():
    assert changed("rl", clip_epsilon_high=0.28).rl.clip_epsilon_high == 0.28
    assert changed("rl", clip_epsilon_high=None).rl.clip_epsilon_high is None


def test_keys_are_never_shown():
    config = changed("model", teacher_api_key="sk-teacher", policy_api_key="sk-policy")
    assert config.to_dict()["model"]["teacher_api_key"] == "sk-teacher"
    public = public_dict(config)
    assert not [key for key in public["model"] if key.endswith("_key")]
    for text in (json.dumps(public), repr(config), str(diff(Config(), config))):
        assert "sk-" not in text
    assert Config.from_dict(public) == Config()


@pytest.mark.parametrize(
    "mapping",
    [
        {"model": {"teacher_api_key": ["sk-secret"]}},
        {"model": {"teacher_api_kee": "sk-secret"}},
        {"model": {"OPENAI_API_KEY": "sk-secret"}},
        {"modl": {"teacher_api_key": "sk-secret"}},
        {"model": {"teacher_api_base": "https://me:sk-secret@host/v1"}},
        {"model": {"teacher_api_base": "https://host/v1?key=sk-secret"}},
        {"model": {"teacher_api": "sk-secret"}},
        {"model": {"teacher_token": "sk-secret"}},
        {"model": ["sk-secret"]},
        {"model": "sk-secret"},
    ],
)
def test_errors_do_not_show_keys(mapping: dict):
    assert "sk-secret" not in refused(mapping)


def test_diff_lists_what_may_not_change_field_by_field():
    new = Config.from_dict({"rl": {"learning_rate": 1e-5}, "env": {"name": "webshop"}})
    assert diff(Config(), new) == [
        "rl.learning_rate was 1e-06, now 1e-05",
        'env.name was "alfworld", now "webshop"',
    ]


def test_diff_lets_resumable_settings_change():
    new = Config.from_dict(
        {
            "rl": {"training_epochs": 200},
            "logging": {"tensorboard": False, "progress": False},
            "mesh": {"data": 4, "fsdp": 2, "tensor": 2},
            "env": {"workers": 3},
            "model": {"teacher_api_key": "sk", "attention": "cudnn"},
        }
    )
    assert diff(Config(), new) == []
    (line,) = diff(new, Config())
    assert line.startswith("rl.training_epochs was 200, now 150")


def replaced(config: Any, path: str, value: object) -> Any:
    """`config` with one field changed, whatever its bounds are."""
    name, _, rest = path.partition(".")
    inner = replaced(getattr(config, name), rest, value) if rest else value
    return dataclasses.replace(config, **{name: inner})


def test_the_settings_listed_as_resumable_may_change_and_no_others():
    listed = {name.removesuffix(" (upwards)") for name in resumable_settings()}
    assert {"rl.training_epochs", "mesh.*", "env.workers", "env.search.urls"} <= listed
    for path, rules, value, _ in strict.pairs(Config(), Config()):
        grown = value + 1 if isinstance(value, int | float) else "another"
        refused = diff(Config(), replaced(Config(), path, grown))
        free = rules["secret"] or path in listed or path.rpartition(".")[0] + ".*" in listed
        assert refused == [] if free else len(refused) == 1, path


def test_the_documentation_lists_the_settings_that_may_change():
    page = (ROOT / "docs" / "architecture.md").read_text()
    (listed,) = re.findall(r"only these may differ, by the marks of their fields: (.*)\.\n", page)
    assert listed.replace("`", "") == ", ".join(resumable_settings())


def test_the_seed_is_part_of_the_run():
    assert diff(Config(), Config(seed=1)) == ["seed was 0, now 1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rl.group_size=8", {"rl": {"group_size": 8}}),
        ("rl.learning_rate=1e-5", {"rl": {"learning_rate": 1e-5}}),
        ("evolution.enabled=false", {"evolution": {"enabled": False}}),
        ("rollout.suffix_buckets=[64, 128]", {"rollout": {"suffix_buckets": [64, 128]}}),
        ("rl.clip_epsilon_high=null", {"rl": {"clip_epsilon_high": None}}),
        ("env.data_dir=/games/a=b", {"env": {"data_dir": "/games/a=b"}}),
        ("env.data_dir=123", {"env": {"data_dir": "123"}}),
        ('env.data_dir="quoted"', {"env": {"data_dir": "quoted"}}),
        ("env.data_dir=", {"env": {"data_dir": ""}}),
        ("seed=3", {"seed": 3}),
    ],
)
def test_parse_set(text: str, expected: dict):
    assert parse_set(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "model.teacher_api_key:sk-secret",
        "model.teacher_api_key:sk-secret=",
        "model.teacher_api_key sk-secret",
        "model.teacher_api_key: sk-secret=x",
        "sk-secret",
    ],
)
def test_a_malformed_set_does_not_show_a_key(text: str):
    with pytest.raises(SkillRLError, match=r"section\.field=value") as caught:
        parse_set(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"rl": {"batch_size": ' + "9" * 5000 + "}}", ["digits", "plain settings"]),
        ('{"rl": {"learning_rate": ' + "9" * 400 + "}}", ["rl.learning_rate", "finite number"]),
        ('{"rl": ' + "[" * 100_000 + "]" * 100_000 + "}", ["recursion", "plain settings"]),
        ('{"model": {"policy_api_base": "http://[bad"}}', ["policy_api_base", "http://"]),
        ('{"model": {"policy_api_base": "http://host:port"}}', ["policy_api_base", "http://"]),
        ('{"rl": {"batch_size": ' + "9" * 400 + ', "group_size": 8}}', ["at most 2147483647"]),
        ('["sk-secret"]', ["a list", "JSON object"]),
    ],
)
def test_values_beyond_reason_are_refused(tmp_path, text: str, words: list[str]):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(SkillRLError) as caught:
        resolve(config_path=file)
    assert all(word in str(caught.value) for word in words)
    assert "secret" not in str(caught.value)


def test_a_deep_value_of_set_is_a_string():
    deep = "[" * 100_000
    assert parse_set(f"rl.batch_size={deep}") == {"rl": {"batch_size": deep}}


@pytest.mark.parametrize("text", ["rl.group_size", "=3", "rl.=3", ".x=3"])
def test_parse_set_wants_a_name_and_a_value(text: str):
    with pytest.raises(SkillRLError, match=r"section\.field=value"):
        parse_set(text)


def test_precedence(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"rl": {"learning_rate": 0.5, "kl_coeff": 0.5}, "seed": 4}')
    mock = read_config(preset_path("mock"))
    assert mock["rl"]["learning_rate"] not in (1e-6, 0.5)

    assert resolve(mock=False).config == Config()
    assert resolve("toy").config.rl.learning_rate == mock["rl"]["learning_rate"]
    own = read_config(preset_path("mock_alfworld"))["rl"]["learning_rate"]
    assert own != mock["rl"]["learning_rate"]
    assert resolve().config.rl.learning_rate == own  # of the environment, on top
    resolved = resolve(
        env="toy",
        config_path=file,
        overrides=["rl.kl_coeff=0.25", "rl.kl_coeff=0.125"],
        flags={"seed": 5},
    )
    config, sources = resolved.config, resolved.sources
    assert config.rl.learning_rate == 0.5
    assert sources["rl.learning_rate"] == str(file)
    assert config.rl.kl_coeff == 0.125
    assert sources["rl.kl_coeff"] == "--set"
    assert config.seed == 5
    assert sources["seed"] == "--seed"
    assert config.env.name == "toy"
    assert sources["model.teacher"] == "preset mock"
    assert "rl.clip_epsilon" not in sources


def test_layers_are_judged_together(tmp_path):
    file = tmp_path / "groups.json"
    file.write_text('{"rl": {"group_size": 6}}')  # 64 is no multiple of 6, 48 is
    assert resolve(mock=False, config_path=file, overrides=["rl.batch_size=48"]).config
    with pytest.raises(SkillRLError, match=r"rl\.batch_size"):
        resolve(mock=False, config_path=file)


def test_an_error_names_its_source(tmp_path):
    file = tmp_path / "typo.json"
    file.write_text('{"rl": {"group_sise": 6}}')
    with pytest.raises(SkillRLError, match=r"typo\.json: rl\.group_sise.*rl\.group_size\?"):
        resolve(config_path=file)
    with pytest.raises(SkillRLError, match=r"--set: rl\.group_sise"):
        resolve(overrides=["rl.group_sise=3"])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"rl": {', "line 1"),
        (b"[1]", "JSON object"),
        (b'{"seed": 1, "seed": 2}', "twice"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_broken_config_files(tmp_path, content: bytes, word: str):
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(SkillRLError, match=rf"broken\.json.*{word}"):
        resolve(config_path=file)


def test_keys_of_the_environment_stay_out_of_the_config(monkeypatch):
    monkeypatch.setenv("SKILLRL_TEACHER_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert resolve(mock=False).config == Config()


def test_presets_are_found_by_name_and_are_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from the checkout
    assert {"mock", "paper", "alfworld_qwen2.5_7b"} <= set(preset_names())
    for name in preset_names():
        resolve(mock=False, config_path=name)
        assert find_config(f"configs/{name}.json") == preset_path(name)
    with pytest.raises(SkillRLError, match="alfworld_qwen"):
        find_config("nothing")


def test_the_7b_preset_is_the_papers_run():
    config = resolve(mock=False, config_path="alfworld_qwen2.5_7b").config
    default = Config()
    assert (config.sft, config.rl) == (default.sft, default.rl)
    assert (config.skill_retrieval, config.evolution) == (
        default.skill_retrieval,
        default.evolution,
    )


def test_a_policy_of_ones_own_is_not_measured_in_the_tiny_ones_tokens():
    config = resolve(config_path="own_policy", overrides=["model.policy_path=here"]).config
    assert config.model.policy_path == "here"
    assert config.model.teacher == "simulated"
    assert config.rl.max_response_length >= 256
    assert config.rollout.prefix_buckets == config.rollout.suffix_buckets == ()
    assert config.train_batch.response_buckets == ()


def test_mock_simulates_every_outside_part():
    model = resolve().config.model
    assert (model.teacher, model.embedder) == ("simulated", "hashing")
    assert model.policy_path.startswith("asset:")


def test_a_served_shop_is_mocked_like_one_of_ones_own():
    served, own = resolve("agentgym_webshop").config, resolve("webshop").config
    assert own.model.policy_path == "asset:tiny_qwen2_webshop"
    assert dataclasses.replace(served, env=own.env) == own
    assert resolve("agentgym_alfworld").config.model == resolve("alfworld").config.model


def test_resolve_path(tmp_path):
    assert resolve_path(str(tmp_path)) == tmp_path
    assert resolve_path("asset:alfworld").is_dir()
    for bad in (str(tmp_path / "none"), "asset:none", "asset:../configs", "asset:"):
        with pytest.raises(SkillRLError, match=r"no such"):
            resolve_path(bad)


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().rl.group_size = 3  # type: ignore[misc]
