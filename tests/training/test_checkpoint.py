import dataclasses
import gc
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skillrl.errors import Corrupt, NoSpace, SkillRLError
from skillrl.io.checksums import SUMS, seal_directory
from skillrl.phases.leftovers import remove_leftovers
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.optimizer import make_optimizer
from tests.training.states import abstract

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


def test_of_older_ones_every_so_many_and_the_best_stay(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_every=4, keep_best=2)
    scores = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.1, 5: 0.7, 6: None, 7: 0.2, 8: 0.3, 9: 0.0}
    for step, score in scores.items():
        checkpoints.save(step, state, {}, score=score)
    # 2 and the later of two with 0.7; the multiples of 4; the latest
    assert checkpoints.steps() == [2, 4, 5, 8, 9]
    (tmp_path / "2" / "score.json").write_text("[]")
    checkpoints.prune()  # a score that says nothing is none, and the next best was removed before
    assert checkpoints.steps() == [4, 5, 8, 9]
    flip(tmp_path / "5" / "score.json", 3)
    with pytest.raises(Corrupt):
        checkpoints.check(5)


def test_it_is_no_checkpoint_before_all_of_it_is_there(tmp_path, state, monkeypatch):
    may_go_on = threading.Event()
    seal = seal_directory

    def wait_and_seal(path):
        assert may_go_on.wait(60)
        seal(path)

    monkeypatch.setattr("skillrl.training.checkpoint.seal_directory", wait_and_seal)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, EXTRA, wait=False)
        assert checkpoints.steps() == []
        may_go_on.set()
        checkpoints.settle()
        assert checkpoints.steps() == [1]


def test_while_it_is_written_the_state_may_be_donated(tmp_path):
    twice = jax.jit(lambda tree: jax.tree.map(lambda x: x * 2, tree), donate_argnums=0)
    state = {"w": jnp.arange(2_000_000, dtype=jnp.float32), "n": jnp.int32(3)}
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state, {"step": step}, wait=False)
            state = twice(state)
            jax.block_until_ready(state)
    assert names(tmp_path) == ["1", "2", "3"]
    for step in (1, 2, 3):
        found, extra = checkpoints.restore(step, abstract(state))
        assert extra == {"step": step}
        assert int(found["n"]) == 3 * 2 ** (step - 1)
        assert (found["w"] == jnp.arange(2_000_000) * 2.0 ** (step - 1)).all()


def test_what_was_begun_is_finished_when_an_error_ends_the_block(tmp_path, state):
    def interrupted():
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, state, EXTRA, wait=False)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        interrupted()
    assert names(tmp_path) == ["1"]
    assert_same_bits(Checkpoints(tmp_path).restore(1, abstract(state))[0], state)


def test_the_next_save_waits_for_the_one_before_and_tells_its_error(tmp_path, state, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("skillrl.training.checkpoint.seal_directory", refuse)
        checkpoints.save(2, state, {}, wait=False)
        with pytest.raises(NoSpace, match="checkpoint 2 could not be written"):
            checkpoints.save(3, state, {})
    assert names(tmp_path) == ["1"]
    checkpoints.save(4, state, {})
    assert names(tmp_path) == ["1", "4"]


def test_opening_and_reading_change_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path / "missing")
    assert checkpoints.steps() == []
    assert checkpoints.latest() is None
    assert not (tmp_path / "missing").exists()


def torn(directory, of):
    """What looks like checkpoints and is none, made of a whole one."""
    shutil.copytree(directory / of, directory / "90")
    (directory / "90" / SUMS).unlink()
    shutil.copytree(directory / of, directory / "92")
    shutil.rmtree(directory / "92" / "state")
    (directory / "93").mkdir()


def names(directory):
    return sorted(os.listdir(directory))


def test_what_looks_like_a_checkpoint_is_never_deleted_or_passed_over(tmp_path, state, caplog):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, state, EXTRA)
    torn(tmp_path, "3")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [3, 90, 92, 93]
    with pytest.raises(Corrupt, match=r"checkpoint 90 is corrupt: .* has no SHA256SUMS"):
        checkpoints.restore(90, abstract(state))
    with pytest.raises(SkillRLError, match="not above the latest, 93"):
        checkpoints.save(90, state, EXTRA)
    before = contents(tmp_path)
    step, restored, extra = checkpoints.resume(abstract(state))
    assert (step, extra) == (3, EXTRA)
    assert_same_bits(restored, state)
    for bad in (90, 92, 93):
        assert f"set aside as {bad}.corrupt; going on from 3" in caplog.text
    assert names(tmp_path) == ["3", "90.corrupt", "92.corrupt", "93.corrupt", "notes.txt"]
    assert sorted(before.values()) == sorted(contents(tmp_path).values())
    checkpoints.save(90, state, EXTRA)
    (tmp_path / "90" / SUMS).unlink()
    assert checkpoints.resume(abstract(state))[0] == 3
    assert "90.corrupt-2" in names(tmp_path)  # the name was taken


def test_with_no_whole_checkpoint_nothing_begins_and_nothing_changes(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.resume(abstract(state)) is None
    for step in (1, 2):
        checkpoints.save(step, state, EXTRA)
        flip(next((tmp_path / str(step)).rglob("d/*")), 5)
    before = contents(tmp_path)
    for _ in range(2):  # the second time as the first
        with pytest.raises(Corrupt, match=r"/2/state.*is corrupt.*No whole checkpoint is left"):
            checkpoints.resume(abstract(state))
    assert contents(tmp_path) == before
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "2").rename(tmp_path / "2.corrupt")  # as if it had been set aside
    with pytest.raises(Corrupt, match=r"2\.corrupt was set aside.*move .* away to begin again"):
        checkpoints.resume(abstract(state))


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << at % 8
    path.write_bytes(data)


def test_any_flipped_byte_of_any_file_is_found_and_named(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, EXTRA)
    files = {path: data for path, data in contents(tmp_path).items() if data}
    assert len(files) >= 6  # arrays, their index, descriptions, extra, sums
    random = np.random.default_rng(0)
    for path, data in files.items():
        # The last newline may become another end of a line, which says the same.
        for at in random.integers(0, len(data) - (path.name == SUMS), 12):
            flip(path, int(at))
            with pytest.raises(Corrupt, match="corrupt") as caught:
                checkpoints.restore(1, abstract(state))
            assert path.name in str(caught.value) or path.name == SUMS
            path.write_bytes(data)
    checkpoints.check(1)


def test_files_that_were_cut_off_lost_or_added_are_found(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, EXTRA)
    for path, data in contents(tmp_path).items():
        path.unlink()
        with pytest.raises(Corrupt, match=path.name):
            checkpoints.check(1)
        for cut in (0, len(data) // 2):
            path.write_bytes(data[:cut])
            if len(data[:cut]) < len(data):
                with pytest.raises(Corrupt, match=path.name):
                    checkpoints.check(1)
        path.write_bytes(data)
    (tmp_path / "1" / "state" / ".DS_Store").write_bytes(b"of a file manager")
    checkpoints.check(1)
    lines = (tmp_path / "1" / SUMS).read_text().splitlines(keepends=True)
    (tmp_path / "1" / SUMS).write_text("".join(lines[:-1]))  # cut at the end of a line
    with pytest.raises(Corrupt, match=r"is not in .*SHA256SUMS"):
        checkpoints.check(1)


def test_a_copy_that_loses_orbax_s_marker_is_a_whole_checkpoint(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, EXTRA)
    assert not list(tmp_path.rglob("*.txt"))  # so there is nothing to lose
    assert_same_bits(checkpoints.restore(1, abstract(state))[0], state)


def test_a_checkpoint_without_sums_needs_the_marker_and_is_said(tmp_path, state, caplog):
    """As earlier versions wrote them."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, EXTRA)
    (tmp_path / "1" / SUMS).unlink()
    with pytest.raises(Corrupt, match="nothing proves that it is whole"):
        checkpoints.restore(1, abstract(state))
    (tmp_path / "1" / "commit_success.txt").write_text("")
    assert_same_bits(checkpoints.restore(1, abstract(state))[0], state)
    assert "whether it is whole cannot be told" in caplog.text


def test_one_too_many_goes_with_the_next_resume(tmp_path, state):
    """A kill between a save and the removal of the oldest leaves it."""
    for step in (1, 2, 3):
        Checkpoints(tmp_path, keep=3).save(step, state, EXTRA)
    assert Checkpoints(tmp_path, keep=2).resume(abstract(state))[0] == 3
    assert names(tmp_path) == ["2", "3"]
    flip(next((tmp_path / "3").rglob("d/*")), 5)
    assert Checkpoints(tmp_path, keep=1).resume(abstract(state))[0] == 2
    assert names(tmp_path) == ["2", "3.corrupt"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_never_saved(tmp_path, state, value):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, EXTRA)
    kernel = state.params["layers"]["kernel"].at[1, 2, 3].set(value)
    bad = dataclasses.replace(state, params=state.params | {"layers": {"kernel": kernel}})
    with pytest.raises(SkillRLError, match="params/layers/kernel holds numbers that are not fin"):
        checkpoints.save(2, bad, EXTRA)
    assert names(tmp_path) == ["1"]


# Orbax closes its event loop before its own failing write has ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("wait", [True, False])
def test_a_full_disk_is_one_message_and_earlier_checkpoints_stay(wait, tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"w": jnp.ones(10)}, {})
    large = {"w": jnp.asarray(np.random.default_rng(0).normal(size=1_000_000), jnp.float32)}

    def save(*what):
        checkpoints.save(*what, wait=wait)
        checkpoints.settle()

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))  # for Tensorstore's threads, too
    try:
        with pytest.raises(NoSpace) as caught:
            save(2, large, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "checkpoint 2 could not be written" in str(caught.value)
    assert "File too large" in str(caught.value)
    assert "earlier checkpoints are untouched" in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err
    assert names(tmp_path) == ["1"]
    checkpoints.check(1)
    gc.collect()  # so that Orbax's complaint falls here
    checkpoints.save(2, large, {})


@pytest.mark.parametrize("wait", [True, False])
def test_a_run_killed_while_saving_leaves_only_whole_checkpoints(wait, tmp_path):
    tmp_path = tmp_path / "run" / "checkpoints" / "rl"
    program = """
        import sys
        import jax.numpy as jnp
        from skillrl.training.checkpoint import Checkpoints

        checkpoints = Checkpoints(sys.argv[1], keep=2)
        for step in range(1, 10_000):
            made = {"w": jnp.full((200, 1000), step)}
            checkpoints.save(step, made, {"step": step}, wait=sys.argv[2] == "True")
            print(step, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), str(wait)],
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

    remove_leftovers(tmp_path.parent.parent)
    checkpoints = Checkpoints(tmp_path)
    latest = checkpoints.latest()
    assert latest >= reached - (not wait)  # the last one may have been on its way
    assert all(name.isdecimal() for name in names(tmp_path))
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
    with pytest.raises(SkillRLError, match="there are: none"):
        checkpoints.restore(1, abstract(state))
    checkpoints.save(4, state, {})
    for step in (3, 4):
        with pytest.raises(SkillRLError, match="not above the latest, 4"):
            checkpoints.save(step, state, {})
    with pytest.raises(SkillRLError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)


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
