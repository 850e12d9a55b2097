"""What cannot fit is refused before it is allocated."""

import jax
import pytest

from skillrl.errors import SkillRLError
from skillrl.models import memory
from skillrl.models.config import TransformerConfig
from skillrl.parallel.mesh import make_mesh

QWEN_7B = TransformerConfig(
    vocab_size=152_064,
    hidden_size=3584,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    dtype="bfloat16",
)


@pytest.fixture
def mesh():
    return make_mesh(devices=jax.devices()[:1])


def test_a_decode_state_is_counted_by_hand(mesh, monkeypatch):
    # A token is 2 x 28 layers x 4 heads x 128 x 2 bytes = 57,344 bytes. 8 rows of a prefix of 1,000
    # and 4 slots of 500 are 24,000 tokens; 32 slots have scores of 152,064 x 4 bytes.
    needed = 24_000 * 57_344 + 32 * 152_064 * 4
    shape = {"rows": 8, "members": 4, "prefix": 1000, "slot": 500}
    monkeypatch.setattr(memory, "device_memory", lambda mesh: needed)
    memory.check_decode_state(QWEN_7B, mesh, **shape)
    monkeypatch.setattr(memory, "device_memory", lambda mesh: needed - 1)
    with pytest.raises(SkillRLError, match=r"32 requests .* at least 1\.3 GiB.*rollout\.slots"):
        memory.check_decode_state(QWEN_7B, mesh, **shape)


def test_a_micro_batch_is_counted_by_hand(mesh, monkeypatch):
    needed = 4096 * 3584 * 28 * 2  # the input of each layer
    monkeypatch.setattr(memory, "device_memory", lambda mesh: needed)
    memory.check_micro_batch(QWEN_7B, mesh, tokens=4096)
    with pytest.raises(SkillRLError, match=r"4,097 tokens .* 0\.8 GiB.*train_batch\.tokens"):
        memory.check_micro_batch(QWEN_7B, mesh, tokens=4097)


def test_no_machine_holds_all_that_a_config_takes(mesh):
    with pytest.raises(SkillRLError, match="GiB"):
        memory.check_decode_state(QWEN_7B, mesh, rows=65536, members=1, prefix=2**20, slot=2**20)
    with pytest.raises(SkillRLError, match="GiB"):
        memory.check_micro_batch(QWEN_7B, mesh, tokens=10**9)
