"""What a command takes: numbers that were counted by hand."""

from __future__ import annotations

import dataclasses

import pytest

from skillrl.config.presets import resolve, resolve_path
from skillrl.config.settings import Config
from skillrl.models.flops import Sizes, rollout_flops, sizes_of
from skillrl.parallel.speed import Peak
from skillrl.preflight import estimate

SIZES = Sizes(vocab=10, width=4, layers=2, heads=2, kv_heads=1, head=2, ffn=8)
TASKS = {"train": 100, "valid_seen": 7, "valid_unseen": 30}


def config(**sections) -> Config:
    base = {
        "env": {"max_steps": 10},
        "collect": {"episodes": 6, "expert_episodes": 2},
        "sft": {"num_examples": 0, "epochs": 2},
        "rl": {
            "batch_size": 8,
            "group_size": 4,
            "minibatches": 1,
            "training_epochs": 3,
            "max_prompt_length": 80,
            "max_response_length": 20,
        },
        "evaluation": {"quick_tasks": 5, "quick_interval": 3},
        "evolution": {"validation_interval": 2},
        "rollout": {"slots": 4},
    }
    merged = {k: {**base.get(k, {}), **sections.get(k, {})} for k in {**base, **sections}}
    return Config.from_dict(merged)


def loads(name: str = "train", sizes: Sizes | None = None, share: float = 0.5, **chosen):
    sections = chosen.pop("sections", {})
    found = estimate.loads(
        name, config(**sections), sizes, tasks=TASKS, categories=3, chosen=chosen, share=share
    )
    return {load.phase: load for load in found}


def test_episodes_tokens_and_calls_by_hand():
    found = loads()
    # Half of 10 steps; half of a prompt of 80 is 20 of prefix and 20 of suffix; half of 20.
    assert found["collect"].episodes == 6
    assert found["collect"].read == 6 * (20 + 5 * 20)
    assert found["collect"].sampled == 6 * 5 * 10
    assert found["distill"].calls == 2 + 2 * 3
    assert found["sft"].calls == 6  # a rewriting for each own success, at most
    assert found["rl"].episodes == 3 * 8 + 1 * 5  # and one periodic evaluation
    assert found["rl"].calls == 1  # after the second of three iterations
    assert found["evaluate"].episodes == 2 * 30 + (7 + 30)


def test_flags_win_over_the_settings():
    assert loads("collect", episodes=50)["collect"].episodes == 50
    assert loads("evaluate", split="valid_seen", repeats=3)["evaluate"].episodes == 21
    three = loads("evaluate", split="valid_seen", bank="own,neutral")  # and none
    assert three["evaluate"].episodes == 21
    limited = loads("evaluate", sections={"evaluation": {"max_tasks": 9}})
    assert limited["evaluate"].episodes == 9


def test_the_most_is_everything_that_is_allowed():
    most = loads(share=1.0)["collect"]
    assert (most.read, most.sampled) == (6 * (40 + 10 * 40), 6 * 10 * 20)


def test_operations_of_a_rollout_are_those_of_the_benchmarks():
    work = {"steps": 5, "groups": 1, "members": 1, "prefix": 20, "suffix": 20, "new": 10}
    found = loads("collect", SIZES)["collect"]
    assert found.flops == 6 * rollout_flops(SIZES, work, shared=True)
    # 30 requests on 4 slots are 8 rounds of 10 tokens, each reading all weights once.
    assert found.moved == 8 * 10 * SIZES.parameters * 2


def test_learning_grows_with_the_examples_and_stops_at_what_there_is():
    few = loads("sft", SIZES, num_examples=10)["sft"]
    all_ = loads("sft", SIZES)["sft"]  # 8 episodes of 5 steps
    assert all_.flops == pytest.approx(4 * few.flops)
    assert loads("sft", SIZES, num_examples=7500)["sft"].flops == all_.flops


def test_seconds_by_hand():
    load = estimate.PhaseLoad(
        phase="rl", episodes=1, read=0.0, sampled=0.0, calls=0, flops=7e9, moved=4e9
    )
    peak = Peak(bandwidth=1e9, flops=1e10, source="measured")
    assert load.seconds(peak) == pytest.approx(7e9 / (0.35 * 1e10) + 4)
    assert load.seconds(peak, devices=2) == pytest.approx(3.0)
    assert dataclasses.replace(load, flops=0.0, moved=0.0).seconds(peak) == 0.0


def test_memory_by_hand():
    sizes = dataclasses.replace(SIZES, vocab=1000)
    count = sizes.parameters
    found = estimate.memory(Config(), sizes, training=True)
    assert found["weights"] == found["reference policy"] == 4 * count  # float32
    assert found["copy that samples"] == 2 * count  # bfloat16
    assert found["gradients and moments"] == 12 * count
    assert found["keys and values of the slots"] == 32 * 7024 * (2 * 2 * 1 * 2 * 2)
    assert found["scores over the vocabulary"] == 3 * 1024 * 1000 * 4
    split = Config.from_dict({"mesh": {"fsdp": 4}})
    assert estimate.memory(split, sizes, training=True)["weights"] == count
    only_play = estimate.memory(Config(), sizes, training=False)
    assert sum(only_play.values()) < sum(found.values()) / 2
    lora = estimate.memory(Config.from_dict({"lora": {"rank": 1}}), sizes, training=True)
    assert lora["reference policy"] == 0
    assert lora["gradients and moments"] == 12 * sizes.adapter(1)


HALF_B = Sizes(vocab=151936, width=896, layers=24, heads=14, kv_heads=2, head=64, ffn=4864)


@pytest.mark.parametrize("env", ["alfworld", "webshop", "search"])
def test_the_first_command_is_not_called_long_and_a_real_policy_on_a_laptop_is(env):
    from skillrl.models.weights import read_config

    laptop = Peak(bandwidth=1e10, flops=1e11, source="measured")

    def announced(files: str | None, sizes: Sizes) -> str:
        settings = resolve(env, config_path=files).config
        tasks = {"valid_seen": 120, "valid_unseen": 120}
        found = estimate.loads("train", settings, sizes, tasks=tasks, categories=6, chosen={})
        if not estimate.may_be_long(found):
            return ""
        return estimate.announcement(found, laptop, devices=1, kind="cpu")

    shipped = resolve(env).config.model.policy_path.removeprefix("asset:")
    tiny = sizes_of(read_config(resolve_path(f"asset:{shipped}")))
    assert announced(None, tiny) == ""
    said = announced("own_policy", HALF_B)
    for word in ("rl ", "days", "on 1 cpu", "35 GFLOP/s", "measured", "rl.max_response_length"):
        assert word in said


def test_a_phase_that_is_short_is_not_announced():
    peak = Peak(bandwidth=1e12, flops=1e15, source="data sheet")
    assert (
        estimate.announcement(list(loads("train", SIZES).values()), peak, devices=1, kind="gpu")
        == ""
    )
