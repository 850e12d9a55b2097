"""docs/pods.md: its tables are those of benchmarks/pods.py, and these are right."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import pods
from skillrl.models import parameters
from skillrl.models.flops import sizes_of
from tests.docs import DOCS

PAGE = (DOCS / "pods.md").read_text("utf-8")
ROOT = DOCS.parent

RELEASED = {
    "0.5B": 494_032_768,
    "1.5B": 1_543_714_304,
    "3B": 3_085_938_688,
    "7B": 7_615_616_512,
    "14B": 14_770_033_664,
    "32B": 32_763_876_352,
}
"""Numbers in the released weights, as the hub counts them."""


def by_hand(config):
    """Parameters of a Qwen2.5, term by term."""
    width, heads, kv_heads, head = (
        config.hidden_size,
        config.num_heads,
        config.num_kv_heads,
        config.head_dim,
    )
    query = width * heads * head + heads * head  # kernel and bias
    key_and_value = 2 * (width * kv_heads * head + kv_heads * head)
    output = heads * head * width
    feed_forward = 3 * width * config.intermediate_size
    layer = query + key_and_value + output + feed_forward + 2 * width  # and two norms
    embedding = config.vocab_size * width * (1 if config.tie_embeddings else 2)
    return embedding + config.num_layers * layer + width


@pytest.mark.parametrize("name", pods.POLICIES)
def test_the_shapes_have_the_released_number_of_parameters(name):
    config = pods.POLICIES[name]
    table = sum(_size(spec.shape) for spec in parameters.specs(config).values())
    assert by_hand(config) == table == RELEASED[name]


def _size(shape):
    total = 1
    for length in shape:
        total *= length
    return total


def test_what_is_held_is_counted_as_by_hand():
    """All weights in bfloat16: 2 + 2 + 8 + 2 bytes a parameter, and the layers once more."""
    count = RELEASED["7B"]
    found = pods.held(pods.POLICIES["7B"], "bfloat16")
    embeddings = 2 * 152_064 * 3584 + 3584  # with the last norm
    assert found == {
        "parameters": 2 * count,
        "gradients": 2 * count,
        "moments": 8 * count,
        "reference": 2 * count,
        "sampling": 2 * (count - embeddings),
    }
    master = pods.held(pods.POLICIES["7B"], "float32")
    assert sum(master.values()) == (4 + 4 + 8 + 4 + 2) * count
    adapter = sizes_of(pods.POLICIES["7B"]).adapter(pods.RANK)
    low = pods.held(pods.POLICIES["7B"], "lora")
    assert low["parameters"] == 2 * count + 4 * adapter
    assert (low["gradients"], low["moments"], low["reference"]) == (4 * adapter, 8 * adapter, 0)


@pytest.mark.parametrize(
    ("file", "devices", "padding"), [("compiled_8", 8, 4096), ("compiled_v5p_4", 4, 2**18)]
)
def test_it_is_what_the_compiled_optimiser_is_handed(file, devices, padding):
    """XLA's own count of AdamW's arguments at 7B; a TPU pads small arrays to its tiles."""
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{file}.json").read_text())["rows"]
    (row,) = [row for row in rows if row["program"] == "AdamW"]
    found = pods.held(pods.POLICIES["7B"], "bfloat16", fsdp=devices)
    wanted = found["parameters"] + found["gradients"] + found["moments"]
    assert 0 <= row["arguments_gib"] * pods.GIB - wanted < padding


def test_the_smallest_mesh_is_the_first_that_fits():
    config, memory = pods.POLICIES["14B"], 80e9
    devices, needed = pods.smallest(config, "bfloat16", memory)
    assert needed <= memory / 2 < sum(pods.held(config, "bfloat16", fsdp=devices // 2).values())


def test_the_tables_of_the_page_are_those_of_the_script():
    for name, text in pods.tables().items():
        assert f"<!-- {name} -->\n\n{text}\n" in PAGE, f"python benchmarks/pods.py, table {name}"


def test_the_questions_to_the_teacher_are_those_of_the_phases():
    config = pods._preset("alfworld_qwen2.5_7b")
    calls = pods.teacher_calls(config, 6)
    # general skills and mistakes, then successes and failures of six categories
    assert calls["distill"] == 2 + 2 * 6
    assert calls["sft"] == config.collect.episodes == 256  # thoughts of each success
    assert calls["rl"] == 150 // 5  # an event every five iterations
    assert pods.teacher_calls(pods._preset("search_qwen2.5_7b"), 6)["rl"] == 0  # no evolution


def test_the_page_shows_every_recipe():
    recipes = [ROOT / "launchers" / "slurm.sbatch", *(ROOT / "launchers" / "pods").iterdir()]
    for path in recipes:
        assert path.name in PAGE
    for name in re.findall(r"\]\(\.\./(launchers/[^)]*)\)", PAGE):
        assert (ROOT / name).exists(), name
