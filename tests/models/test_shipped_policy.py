"""The tiny base policies that travel with the package."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl.config import presets
from skillrl.models import weights
from skillrl.models.tokenizer import Tokenizer

POLICY = Path(presets.resolve_path("asset:tiny_qwen2_alfworld"))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load(POLICY)


@pytest.mark.parametrize("env", ["alfworld", "search", "webshop"])
def test_each_is_small_and_its_sizes_agree(env):
    policy = Path(presets.resolve_path(f"asset:tiny_qwen2_{env}"))
    config = weights.read_config(policy)
    assert config.model_type == "qwen2"
    assert config.vocab_size == Tokenizer.load(policy).vocab_size
    assert sum(path.stat().st_size for path in policy.iterdir()) < 4_000_000


@pytest.mark.parametrize("env", ["search", "webshop"])
def test_the_mock_preset_of_an_environment_names_its_own(env):
    config = presets.resolve(env).config
    assert config.model.policy_path == f"asset:tiny_qwen2_{env}"
    assert config.model.teacher == "simulated"
    other = presets.resolve(env, overrides=["model.policy_path=mine"]).config
    assert other.model.policy_path == "mine"


def test_names_of_its_world_are_one_token(tokenizer):
    assert len(tokenizer.encode("go to cabinet 1")) == 2
    assert len(tokenizer.encode("take mug 2 from countertop 1")) == 4
    assert len(tokenizer.encode("go to cabinet 12")) == 3  # an official kitchen: lossless, longer


@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
