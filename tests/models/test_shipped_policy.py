"""The tiny base policy that travels with the package."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillrl import presets
from skillrl.models import weights
from skillrl.models.tokenizer import Tokenizer

POLICY = Path(presets.resolve_path("asset:tiny_qwen2_alfworld"))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load(POLICY)


def test_it_is_small_and_its_sizes_agree(tokenizer):
    config = weights.read_config(POLICY)
    assert config.model_type == "qwen2"
    assert config.vocab_size == tokenizer.vocab_size
    assert sum(path.stat().st_size for path in POLICY.iterdir()) < 4_000_000


def test_names_of_its_world_are_one_token(tokenizer):
    assert len(tokenizer.encode("go to cabinet 1")) == 2
    assert len(tokenizer.encode("take mug 2 from countertop 1")) == 4
    assert len(tokenizer.encode("go to cabinet 12")) == 3  # an official kitchen: lossless, longer


@settings(deadline=None)
@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
