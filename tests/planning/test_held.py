"""What one device holds, against numbers counted by hand."""

import math

import pytest

from skillrl.config.settings import Config
from skillrl.models import parameters
from skillrl.models.config import TransformerConfig
from skillrl.models.released import RELEASED
from skillrl.phases.build import make_buckets
from skillrl.planning.held import counted_mesh, device_bytes, find_work, held, kv_bytes

SMALL = TransformerConfig(
    vocab_size=16,
    hidden_size=8,
    intermediate_size=12,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=2,
)
# Embedding 16 x 8. A layer: norms 8 + 8; query 8 x 8 + 8; key, value 8 x 4 + 4 each; output 8 x 8;
# gate, up, down 8 x 12 each. A last norm of 8.
LAYER = 16 + 72 + 2 * 36 + 64 + 3 * 96
NUMBERS = 128 + 2 * LAYER + 8
MATRICES = 128 + 2 * (64 + 2 * 32 + 64 + 3 * 96)


def settings(**sections) -> Config:
    base = {
        "rl": {
            "batch_size": 8,
            "group_size": 4,
            "minibatches": 1,
            "max_prompt_length": 64,
            "max_response_length": 16,
        },
        "rollout": {"slots": 4, "prefix_buckets": [32], "suffix_buckets": [32]},
        "train_batch": {"tokens": 96, "members": 1, "row_buckets": [], "response_buckets": [16]},
        "evaluation": {"quick_tasks": 0},
        "model": {"dtype": "bfloat16"},
    }
    merged = {k: {**base.get(k, {}), **sections.get(k, {})} for k in {**base, **sections}}
    return Config.from_dict(merged)


def found(config: Config, sizes: TransformerConfig, *mesh: int) -> dict[str, float]:
    on = counted_mesh(*mesh)
    return held(config, sizes, mesh=on, work=find_work(config, on, buckets=make_buckets(config)))


def test_a_small_policy_on_one_device():
    it = found(settings(), SMALL, 1, 1, 1)
    assert it["parameters"] == it["gradients"] == it["reference policy"] == 4 * NUMBERS
    assert it["optimizer"] == 2 * 4 * NUMBERS + 8  # and two counters
    # Matrices in bfloat16; norms (16 a layer and 8) and biases (16 a layer) stay as they are.
    assert it["policy laid out for sampling"] == 2 * MATRICES + 4 * (40 + 32)
    # A token has 2 layers x (key and value) x 2 heads x 2 numbers of 2 bytes: 32 bytes. Four slots
    # have a prefix of 32, a suffix of 32 and 16 drawn tokens, whose ids and scores take 8 bytes;
    # two prefixes are kept, one of each group.
    assert it["KV cache"] == 4 * (32 + 32 + 16) * 32 + 4 * 16 * 8 + 2 * 32 * 32
    assert it["prefixes of an update"] == 2 * 32 * (32 + 64)  # values, and float32 sums


def test_a_small_policy_on_four_devices():
    it = found(settings(), SMALL, 1, 2, 2)
    # Fsdp halves what has the width (norms too), tensor heads, feed-forward and vocabulary.
    norms = 2 * 16 + 8
    biases = 2 * (8 + 2 * 4)
    assert MATRICES + norms + biases == NUMBERS
    assert it["parameters"] == 4 * (MATRICES / 4 + norms / 2 + biases / 2)
    assert it["optimizer"] == 2 * it["parameters"] + 8


def test_7b_on_eight_devices():
    sizes = RELEASED["Qwen2.5-7B"]
    it = found(settings(), sizes, 1, 8, 1)
    count = 7_615_616_512
    # Biases of queries, keys and values lie whole on each device: 28 x (3584 + 2 x 512) numbers.
    whole = 28 * (3584 + 1024)
    on_one = (count - whole) / 8 + whole
    assert it["optimizer"] == 2 * 4 * on_one + 8
    assert it["optimizer"] == pytest.approx(2 * 4 * count / 8, rel=2e-4)
    assert it["parameters"] == it["gradients"] == it["reference policy"] == 4 * on_one
    assert it["policy laid out for sampling"] == pytest.approx(2 * on_one, rel=1e-3)


def test_kv_of_7b_is_57_kilobytes_a_token():
    sizes, one = RELEASED["Qwen2.5-7B"], counted_mesh(1, 1, 1)
    assert kv_bytes(sizes, one, rows=(1, 1), tokens=1, width=2) == 2 * 28 * 4 * 128 * 2
    # Rows are split where the devices divide them, and kv heads over tensor.
    assert kv_bytes(sizes, counted_mesh(1, 8, 1), rows=(8, 1), tokens=1, width=2) == 57_344
    assert kv_bytes(sizes, counted_mesh(1, 8, 1), rows=(1, 1), tokens=1, width=2) == 57_344
    assert kv_bytes(sizes, counted_mesh(1, 1, 4), rows=(1, 1), tokens=1, width=2) == 57_344 / 4


def test_an_adapter_trains_little_and_needs_no_second_reference():
    it = found(settings(lora={"rank": 2}), SMALL, 1, 1, 1)
    inputs_and_outputs = (8 + 8) + 2 * (8 + 4) + (8 + 8) + 3 * (8 + 12)
    adapter = 2 * 2 * inputs_and_outputs
    assert it["gradients"] == 4 * adapter
    assert it["optimizer"] == 8 * adapter + 8
    assert it["parameters"] == 4 * (NUMBERS + adapter)
    assert it["reference policy"] == 0
    assert it["policy laid out for sampling"] == 2 * (MATRICES + adapter) + 4 * 72


def test_int8_kernels_take_a_byte():
    rl, rollout = {"old_logprobs": "recomputed"}, {"weights": "int8"}
    it = found(settings(rl=rl, rollout=rollout), SMALL, 1, 1, 1)
    assert it["policy laid out for sampling"] == MATRICES + 4 * 72


def test_what_is_frozen_has_no_gradient():
    it = found(settings(model={"freeze": ["embed/*"]}), SMALL, 1, 1, 1)
    assert it["gradients"] == 4 * (NUMBERS - 128)
    assert it["parameters"] == 4 * NUMBERS
    assert it["reference policy"] == 4 * (NUMBERS - 128)  # what is frozen is the reference's own


def test_parameters_in_bfloat16_keep_float32_moments():
    it = found(settings(model={"param_dtype": "bfloat16"}), SMALL, 1, 1, 1)
    assert it["parameters"] == 2 * NUMBERS
    assert it["optimizer"] == 8 * NUMBERS + 8


def test_an_axis_that_does_not_divide_leaves_an_array_whole():
    mesh = counted_mesh(1, 3, 1)
    assert device_bytes(mesh, ("embed", None), shape=(8, 5), width=4) == 160
    assert device_bytes(mesh, ("embed", None), shape=(9, 5), width=4) == 60


def test_parameters_are_those_of_the_table():
    table = parameters.specs(SMALL)
    assert sum(math.prod(s.shape) for s in table.values()) == NUMBERS
