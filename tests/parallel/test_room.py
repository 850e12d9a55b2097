"""What cannot fit is refused before it is allocated; what is not here is one sentence."""

import os
import subprocess
import sys

import jax
import pytest

from skillrl.errors import SkillRLError
from skillrl.models.config import TransformerConfig
from skillrl.parallel import room
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


def test_memory_is_that_of_the_machine_on_cpus(mesh):
    assert room.memory(mesh) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_grid_is_counted_by_hand(mesh, monkeypatch):
    # A token is 2 x 28 layers x 4 heads x 128 x 2 bytes = 57,344 bytes. 8 rows of a prefix of 1,000
    # and 4 cells of 500 are 24,000 tokens; 32 cells have scores of 152,064 x 4 bytes.
    needed = 24_000 * 57_344 + 32 * 152_064 * 4
    grid = {"rows": 8, "members": 4, "prefix": 1000, "cell": 500}
    monkeypatch.setattr(room, "memory", lambda mesh: needed)
    room.check_grid(QWEN_7B, mesh, **grid)
    monkeypatch.setattr(room, "memory", lambda mesh: needed - 1)
    with pytest.raises(SkillRLError, match=r"32 requests .* at least 1\.3 GiB.*rollout\.slots"):
        room.check_grid(QWEN_7B, mesh, **grid)


def test_a_micro_batch_is_counted_by_hand(mesh, monkeypatch):
    needed = 4096 * 3584 * 28 * 2  # the input of each layer
    monkeypatch.setattr(room, "memory", lambda mesh: needed)
    room.check_micro_batch(QWEN_7B, mesh, tokens=4096)
    with pytest.raises(SkillRLError, match=r"4,097 tokens .* 0\.8 GiB.*train_batch\.tokens"):
        room.check_micro_batch(QWEN_7B, mesh, tokens=4097)


def test_no_machine_has_the_room_of_all_that_a_config_takes(mesh):
    with pytest.raises(SkillRLError, match="GiB"):
        room.check_grid(QWEN_7B, mesh, rows=65536, members=1, prefix=2**20, cell=2**20)
    with pytest.raises(SkillRLError, match="GiB"):
        room.check_micro_batch(QWEN_7B, mesh, tokens=10**9)


def test_a_platform_that_is_not_here_is_one_sentence():
    code = "from skillrl.parallel import room; room.devices()"
    for asked in ("cuda", "nonsense"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "JAX_PLATFORMS": asked},
            capture_output=True,
            text=True,
            check=False,
        )
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"skillrl.errors.SkillRLError: JAX_PLATFORMS={asked}: "), last
