import dataclasses
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skillrl.errors import SkillRLError
from skillrl.training.checkpoint import Checkpoints, abstract
from skillrl.training.optimizer import make_optimizer

EXTRA = {"cursor": 3, "rate": 0.1, "big": 2**40, "on": True, "empty": {}, "bank": [{"a/b.c": "é"}]}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    params: Any
    optimizer: Any
    seed: jax.Array


@pytest.fixture(scope="module")
def state():
    rng = np.random.default_rng(0)
    params = {
        "embed": jnp.asarray(rng.normal(size=(7, 3)), jnp.float32),
        "layers": {"kernel": jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.bfloat16)},
    }
    optimizer = make_optimizer(0.1, total_steps=10)
    updates, moments = optimizer.update(params, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
    return State(params, moments, jnp.array([1, 2**32 - 1], jnp.uint32))


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_what_is_saved_comes_back_bit_for_bit(tmp_path, state):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state, EXTRA)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 5
        restored, extra = checkpoints.restore(5, abstract(state))
        assert checkpoints.extra(5) == EXTRA
    assert_same_bits(restored, state)
    assert extra == EXTRA
    assert {leaf.dtype.name for leaf in jax.tree.leaves(restored)} == {
        "float32",
        "bfloat16",
        "int32",
        "uint32",
    }


def test_only_the_latest_are_kept(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 10):
        checkpoints.save(step, state, {"step": step})
    assert checkpoints.steps() == [2, 10]
    assert sorted(os.listdir(tmp_path)) == ["10", "2"]
    assert checkpoints.restore(2, abstract(state))[1] == {"step": 2}


def test_opening_and_reading_change_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path / "missing")
    assert checkpoints.steps() == []
    assert checkpoints.latest() is None
    assert not (tmp_path / "missing").exists()


def tear(directory, of):
    """What a killed run may leave behind, made of a whole checkpoint."""
    shutil.copytree(directory / of, directory / "90")
    (directory / "90" / "commit_success.txt").unlink()
    shutil.copytree(directory / of, directory / "91.orbax-checkpoint-tmp-1")
    shutil.copytree(directory / of, directory / "1.deleted")
    shutil.copytree(directory / of, directory / "92")
    shutil.rmtree(directory / "92" / "state")
    (directory / "93").mkdir()


def test_torn_directories_are_never_listed_and_swept_by_the_next_save(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, state, EXTRA)
    tear(tmp_path, "3")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [3]
    with pytest.raises(SkillRLError, match="complete ones: 3"):
        checkpoints.restore(90, abstract(state))
    checkpoints.save(90, state, EXTRA)
    assert checkpoints.steps() == [3, 90]
    assert sorted(os.listdir(tmp_path)) == ["3", "90", "notes.txt"]


def test_a_run_killed_while_saving_leaves_only_whole_checkpoints(tmp_path):
    program = """
        import sys
        import jax.numpy as jnp
        from skillrl.training.checkpoint import Checkpoints

        checkpoints = Checkpoints(sys.argv[1], keep=2)
        for step in range(1, 10_000):
            checkpoints.save(step, {"w": jnp.full((200, 1000), step)}, {"step": step})
            print(step, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    reached = 0
    for line in process.stdout:
        reached = int(line)
        if reached == 4:
            process.send_signal(signal.SIGKILL)
    process.wait()

    checkpoints = Checkpoints(tmp_path)
    latest = checkpoints.latest()
    assert latest >= reached
    for step in checkpoints.steps():
        restored, extra = checkpoints.restore(step, abstract({"w": jnp.zeros((200, 1000), int)}))
        assert extra == {"step": step}
        assert (restored["w"] == step).all()
    checkpoints.save(latest + 1, {"w": jnp.zeros(1)}, {})
    assert checkpoints.latest() == latest + 1


def test_another_model_is_named(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    wanted = abstract(state)

    def message(**params):
        with pytest.raises(SkillRLError) as caught:
            checkpoints.restore(1, dataclasses.replace(wanted, params=wanted.params | params))
        return str(caught.value)

    shape = jax.ShapeDtypeStruct((8, 3), jnp.float32)
    assert "params/embed: saved float32[7, 3], wanted float32[8, 3]" in message(embed=shape)
    lower = jax.ShapeDtypeStruct((7, 3), jnp.bfloat16)
    assert "wanted bfloat16[7, 3]" in message(embed=lower)
    assert "params/lora: saved nothing" in message(lora=shape)


def test_no_checkpoint_and_going_backwards(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(SkillRLError, match="complete ones: none"):
        checkpoints.restore(1, abstract(state))
    checkpoints.save(4, state, {})
    for step in (3, 4):
        with pytest.raises(SkillRLError, match="not above the latest, 4"):
            checkpoints.save(step, state, {})
    with pytest.raises(SkillRLError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)


# Orbax closes its event loop before its own failing read has ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_files_are_an_error_with_a_way_out(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    for path in (tmp_path / "1" / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SkillRLError, match=r"cannot be read.*the one before it"):
        checkpoints.restore(1, abstract(state))
    gc.collect()  # so that its complaint falls here


def test_a_directory_that_cannot_be_written(tmp_path, state):
    (tmp_path / "file").write_text("")
    with pytest.raises(SkillRLError, match="--workdir"):
        Checkpoints(tmp_path / "file" / "rl").save(1, state, {})


@pytest.mark.parametrize("extra", [{"a": (1, 2)}, {"a": {1: 2}}, {"a": np.ones(2)}, {"a": np.nan}])
def test_extra_that_would_not_come_back_equal_is_refused(tmp_path, state, extra):
    with pytest.raises(SkillRLError, match="extra"):
        Checkpoints(tmp_path).save(1, state, extra)
    assert not os.listdir(tmp_path)


def test_orbax_is_quiet_and_our_own_log_is_not(tmp_path, state, caplog):
    with caplog.at_level(logging.DEBUG):
        Checkpoints(tmp_path).save(1, state, {})
        logging.getLogger("absl").info("ours")
    assert [record.getMessage() for record in caplog.records if record.name == "absl"] == ["ours"]
