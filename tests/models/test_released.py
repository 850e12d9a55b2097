"""Released sizes: their parameters, counted one by one, are those that the hub shows."""

import math

import pytest

from skillrl.models.parameters import specs
from skillrl.models.released import RELEASED, released

COUNTS = {
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-14B": 14_770_033_664,
    "Qwen2.5-32B": 32_763_876_352,
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-4B": 4_022_468_096,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-14B": 14_768_307_200,
    "Qwen3-32B": 32_762_123_264,
}
"""Numbers of each repository's safetensors, as its page on the hub says."""


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_are_those_of_the_hub(name):
    table = specs(RELEASED[name])
    assert sum(math.prod(spec.shape) for spec in table.values()) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen2.5-7B", "Qwen2.5-7B"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5-7B"),
        ("Qwen2.5-0.5B-Instruct", "Qwen2.5-0.5B"),
        ("Qwen/Qwen3-8B-Base", "Qwen3-8B"),
        ("Qwen/Qwen3-4B-Thinking-2507", "Qwen3-4B"),
    ],
)
def test_a_checkpoint_has_the_sizes_of_its_base(name, size):
    assert released(name) is RELEASED[size]


@pytest.mark.parametrize(
    "name", ["", "Qwen/Qwen2.5-72B-Instruct", "other/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct-AWQ"]
)
def test_any_other_name_is_none_of_them(name):
    assert released(name) is None
