import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from skillrl.errors import SkillRLError
from skillrl.parallel import mesh, random_keys, rules


def fake_mesh(data=1, fsdp=1, tensor=1):
    """A mesh of shapes only: enough for the rules, whatever the machine has."""
    return jax.sharding.AbstractMesh((data, fsdp, tensor), mesh.AXES)


# --- the mesh ---------------------------------------------------------------


def test_one_device_is_the_mesh_1_1_1():
    made = mesh.make_mesh(devices=jax.devices()[:1])
    assert dict(made.shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    assert made.axis_types == (AxisType.Auto,) * 3


def test_too_few_devices_names_fields_counts_and_remedy():
    with pytest.raises(SkillRLError) as caught:
        mesh.make_mesh(2, 2, 2, devices=jax.devices()[:1])
    message = str(caught.value)
    for part in ("mesh.data=2", "mesh.tensor=2", "8 devices", "1 cpu", "lower", "XLA_FLAGS"):
        assert part in message


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -2, 1), (-1, -1, 1)])
def test_sizes_that_make_no_sense(sizes):
    with pytest.raises(SkillRLError, match="at most one"):
        mesh.make_mesh(*sizes)


def test_the_rest_of_the_devices():
    assert mesh.make_mesh(-1, devices=jax.devices()[:1]).shape["data"] == 1
    with pytest.raises(SkillRLError, match="cannot be divided by 2"):
        mesh.make_mesh(-1, 2, devices=jax.devices()[:1])


# --- rules ------------------------------------------------------------------


def test_specs_by_hand():
    big = fake_mesh(2, 2, 4)
    assert rules.spec(big, ("vocab", "embed"), (152, 64)) == PartitionSpec(("tensor",), ("fsdp",))
    assert rules.spec(
        big, ("layers", "embed", "heads", "head_dim"), (3, 64, 8, 16)
    ) == PartitionSpec(None, ("fsdp",), ("tensor",), None)
    assert rules.spec(big, ("rows", None), (8, 5)) == PartitionSpec(("data", "fsdp"), None)
    assert rules.spec(big, (), ()) == PartitionSpec()


def test_what_is_not_divided_stays_whole():
    big = fake_mesh(2, 2, 4)
    assert rules.spec(big, ("kv_heads", "head_dim"), (2, 16)) == PartitionSpec(None, None)
    assert rules.spec(big, ("rows",), (6,)) == PartitionSpec(("data",))  # by 2, not by 4
    assert rules.spec(big, ("rows",), (7,)) == PartitionSpec(None)


def test_collisions_unknown_axes_and_wrong_ranks():
    one = fake_mesh()
    with pytest.raises(SkillRLError, match=r"'heads' and 'ffn' both map to mesh axis 'tensor'"):
        rules.spec(one, ("heads", "ffn"), (4, 4))
    with pytest.raises(SkillRLError, match=r"unknown logical axis 'head'.*heads"):
        rules.spec(one, ("head",), (4,))
    with pytest.raises(SkillRLError, match="do not fit"):
        rules.spec(one, ("heads",), (4, 4))


def test_tree_shardings_name_the_leaf():
    made = mesh.make_mesh(devices=jax.devices()[:1])
    shapes = {"a": {"w": jax.ShapeDtypeStruct((4, 8), jnp.float32)}, "step": jnp.int32(0)}
    tree = rules.tree_shardings(made, {"a": {"w": ("embed", "ffn")}, "step": ()}, shapes)
    assert tree["a"]["w"].spec == PartitionSpec(("fsdp",), ("tensor",))
    assert tree["step"] == rules.replicated(made)
    with pytest.raises(SkillRLError, match=r"^a/w: .*unknown"):
        rules.tree_shardings(made, {"a": {"w": ("embed", "nope")}, "step": ()}, shapes)


EIGHT = """
    import jax, jax.numpy as jnp, numpy as np
    from skillrl.parallel.mesh import make_mesh
    from skillrl.parallel.random_keys import fold_keys
    from skillrl.parallel.rules import sharding
    from skillrl.training.checkpoint import Checkpoints
    from tests.training.states import abstract
    import sys

    assert jax.device_count() == 8
    weights = jnp.arange(16.0 * 8).reshape(16, 8) / 100
    rows = jnp.arange(8.0 * 16).reshape(8, 16) / 100
    keys = jax.random.key_data(fold_keys(jax.random.key(3), np.arange(16).reshape(8, 2)))

    def loss(w, x):
        return jnp.sum(jnp.tanh(x @ w) ** 2) / len(x)

    expected = jax.value_and_grad(loss)(weights, rows)
    for sizes in ((8, 1, 1), (-1, 4, 2), (2, 2, 2)):
        mesh = make_mesh(*sizes)
        assert mesh.size == 8
        w = jax.device_put(weights, sharding(mesh, ("embed", "ffn"), weights.shape))
        x = jax.device_put(rows, sharding(mesh, ("rows", None), rows.shape))
        shard = x.addressable_shards[0].data.shape
        assert shard == (8 // (mesh.shape["data"] * mesh.shape["fsdp"]), 16), shard
        shard = w.addressable_shards[0].data.shape
        assert shard == (16 // mesh.shape["fsdp"], 8 // mesh.shape["tensor"]), shard
        found = jax.jit(jax.value_and_grad(loss), out_shardings=(None, w.sharding))(w, x)
        for a, b in zip(found, expected):  # relative to the whole, as sums are reordered
            assert jnp.linalg.norm(a - b) <= 1e-5 * jnp.linalg.norm(b)

        place = jax.device_put(np.arange(16).reshape(8, 2), sharding(mesh, ("rows", None), (8, 2)))
        split = jax.jit(fold_keys)(jax.random.key(3), place)
        np.testing.assert_array_equal(jax.random.key_data(split), keys)

    # A checkpoint of the last mesh comes back on another one.
    Checkpoints(sys.argv[1]).save(1, {"w": w}, {})
    other = sharding(make_mesh(1, 4, 2), ("embed", "ffn"), w.shape)
    state, _ = Checkpoints(sys.argv[1]).restore(1, abstract({"w": w}, {"w": other}))
    assert state["w"].sharding == other
    np.testing.assert_array_equal(state["w"], weights)
    print("same")
"""


@pytest.mark.slow
def test_eight_virtual_devices_agree_with_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EIGHT), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    assert done.stdout.strip() == "same", done.stderr


# --- keys by address --------------------------------------------------------

ROWS = np.array([[3, 3, 5, 0, 0, 2], [3, 3, 5, 1, 0, 2], [3, 3, 9, 0, 0, 2]], np.uint32)


def bits(keys):
    return np.asarray(jax.random.key_data(keys))


def test_a_key_is_the_fold_of_its_address():
    expected = jax.random.key(7)
    for number in (3, 3, 5, 1, 0, 2):
        expected = jax.random.fold_in(expected, number)
    np.testing.assert_array_equal(
        bits(random_keys.fold_keys(jax.random.key(7), ROWS))[1], bits(expected)
    )


def test_keys_depend_on_their_own_row_alone():
    seed = jax.random.key(0)
    keys = bits(random_keys.fold_keys(seed, ROWS))
    order = [2, 0, 1]
    np.testing.assert_array_equal(bits(random_keys.fold_keys(seed, ROWS[order])), keys[order])
    np.testing.assert_array_equal(bits(random_keys.fold_keys(seed, ROWS[1:2])), keys[1:2])
    np.testing.assert_array_equal(bits(jax.jit(random_keys.fold_keys)(seed, ROWS)), keys)
    assert len(np.unique(keys, axis=0)) == 3


def test_every_number_of_an_address_and_the_seed_matter():
    row = np.arange(1, 7, dtype=np.uint32)[None]
    rows = np.concatenate([row, row + np.eye(6, dtype=np.uint32)])
    keys = [bits(random_keys.fold_keys(jax.random.key(seed), rows)) for seed in (0, 1)]
    assert len(np.unique(np.concatenate(keys), axis=0)) == 14


def test_task_numbers_are_fixed():
    assert random_keys.task_number("123456789") == 0xCBF43926  # the check value of CRC-32
    phases = ("COLLECT", "SFT", "RL", "EVAL", "INIT")
    assert [getattr(random_keys, name) for name in phases] == [1, 2, 3, 4, 5]
