"""The local engine's sizes and the engines that the settings ask for."""

import dataclasses

import pytest

from skillrl.config.settings import ModelConfig as ModelSettings
from skillrl.config.settings import RolloutConfig
from skillrl.errors import SkillRLError
from skillrl.inference.layout import Layout
from skillrl.inference.make import make_local_engine, make_openai_engine
from skillrl.parallel.buckets import Buckets

BUCKETS = Buckets.from_limits(
    max_prompt_length=128, max_response_length=16, growth=2.0, prefix=(100,)
)


def test_a_layout_from_the_settings(one_device):
    rollout = RolloutConfig(slots=24, members=2, lanes=3, prefill_tokens=70)
    assert Layout.from_config(rollout, buckets=BUCKETS, mesh=one_device) == Layout(
        prefix_rows=4,  # 24 slots of three workers, two on a row
        group_members=2,
        prefix_buckets=(100,),
        suffix_buckets=(32, 64),  # 128 is more than a prefill reads at once
        cache_buckets=(32, 64, 128),
        prefix_cache=32,
        prefill_tokens=70,
        workers=3,
        fuse_projections=False,  # on CPUs
        devices=1,
    )


@pytest.mark.parametrize(
    ("rollout", "kept"),
    [
        (RolloutConfig(slots=8), 32),  # at least
        (RolloutConfig(slots=40), 80),  # twice the prefix rows
        (RolloutConfig(slots=120, members=3), 120),  # the slots
        (RolloutConfig(slots=8, prefix_cache=9), 9),
    ],
)
def test_how_many_prefixes_are_kept(one_device, rollout, kept):
    # One suffix at a time, so that no prefill needs more.
    rollout = dataclasses.replace(rollout, prefill_tokens=1)
    assert Layout.from_config(rollout, buckets=BUCKETS, mesh=one_device).prefix_cache == kept


def test_a_prefill_that_holds_no_bucket_reads_the_smallest(one_device):
    rollout = RolloutConfig(prefill_tokens=5)
    assert Layout.from_config(rollout, buckets=BUCKETS, mesh=one_device).suffix_buckets == (32,)


def test_the_local_engine_has_the_slots_that_are_asked_for(tiny_config, one_device):
    options = {"max_response_length": 16, "stops": (1,), "mesh": one_device, "seed": 0}
    rollout = RolloutConfig(slots=12, members=2, lanes=2)
    engine = make_local_engine(tiny_config, rollout, buckets=BUCKETS, **options)
    assert engine.slots == 12
    far_too_long = dataclasses.replace(BUCKETS, cache=(10**12,))
    with pytest.raises(SkillRLError, match=r"rollout\.slots"):
        make_local_engine(tiny_config, rollout, buckets=far_too_long, **options)


def test_the_engine_of_a_server():
    model = ModelSettings(policy_api_base="http://127.0.0.1:9/v1", policy_model_id="m")
    engine = make_openai_engine(model, slots=3, seed=5)
    assert (engine.slots, engine.version) == (3, 0)
