"""Arrays that two processes hold together: put, copied to each, checked, exported and saved."""

from __future__ import annotations

from tests.hosts import run


def test_one_process_has_its_own_already(one_device):
    import jax.numpy as jnp

    from skillrl.parallel.local import is_local, local_mesh, localise

    tree = {"x": jnp.ones(2)}
    assert is_local(one_device)
    assert local_mesh(one_device) is one_device
    assert localise(tree) is tree


ACT = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from skillrl.models import weights
from skillrl.parallel import rules
from skillrl.parallel.local import check_spread, connect, is_local, local_mesh, localise
from skillrl.parallel.mesh import make_mesh
from skillrl.training.checkpoint import Checkpoints
from skillrl.training.finite import check_finite

x = np.arange(24, dtype=np.float32).reshape(4, 6) / 7
mesh = make_mesh(1, 2, 1)
connect(mesh)
rows = rules.put_rows(mesh, {"x": x})["x"]
(shard,) = rows.addressable_shards
assert np.array_equal(shard.data, x[2 * processes.index():][:2])

assert not is_local(mesh) and local_mesh(mesh).size == 1
whole = localise({"x": rows, "own": jax.numpy.ones(3)})
assert whole["x"].is_fully_addressable and np.array_equal(whole["x"], x)
assert set(whole["own"].sharding.device_set) == set(jax.local_devices())

assert np.array_equal(weights.fetch(rows, None), x)
assert np.array_equal(weights.fetch(rows, 3), x[3])
check_finite({"x": rows}, "the state:")
x[3, 3] = np.nan
try:
    check_finite({"x": rules.put_rows(mesh, x)}, "the state:")
except SkillRLError as error:
    say("=", error)
x[3, 3] = 3

with Checkpoints("saved") as checkpoints:
    checkpoints.save(1, {"x": rows}, {"cursor": 3})
    other = NamedSharding(make_mesh(2, 1, 1), PartitionSpec(None, "data"))
    wanted = {"x": jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=other)}
    step, state, extra = checkpoints.resume(wanted)
    assert (step, extra) == (1, {"cursor": 3})
    (shard,) = state["x"].addressable_shards
    assert np.array_equal(shard.data, x[:, 3 * processes.index():][:, :3])
try:
    check_spread(make_mesh(1, 1, 1))
except SkillRLError as error:
    say("=", error)
say("= done")
"""


def test_two_processes_hold_arrays_together(tmp_path):
    statuses, found = run(tmp_path, ACT)
    assert statuses == [0, 0], found
    for text in found:
        told = [line for line in text.splitlines() if line.startswith("=")]
        assert "= the state: " in told[0]
        assert "mesh.data=1, mesh.fsdp=1, mesh.tensor=1: takes 1 devices" in told[1]
        assert "process 1 has 0" in told[1]
        assert told[2] == "= done"
    assert (tmp_path / "saved" / "1" / "SHA256SUMS").is_file()
