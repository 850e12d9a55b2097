"""Which processes belong together: flags, environments of launchers, and what is refused."""

from __future__ import annotations

import jax
import pytest

from skillrl.cli import main
from skillrl.errors import SkillRLError
from skillrl.parallel import joining
from skillrl.parallel.joining import Cluster, cluster_of

THREE = {"coordinator_address": "a:1234", "num_processes": 2, "process_id": 1}


@pytest.mark.parametrize(
    ("environment", "many"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "8"}, False),  # inside an allocation, without srun
        ({"SLURM_NTASKS": "8", "SLURM_STEP_NODELIST": "n[1-8]"}, True),
        ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "n1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, True),
    ],
)
def test_where_auto_joins_a_cluster(environment, many):
    assert (cluster_of(Cluster(), environment) is not None) is many
    assert cluster_of(Cluster(distributed="off"), environment) is None
    assert cluster_of(Cluster(distributed="on"), environment) is not None


def test_explicit_values_come_from_flags_or_from_jax_s_own_names():
    assert cluster_of(Cluster(**THREE), {}) == Cluster(**THREE)
    names = {"JAX_COORDINATOR_ADDRESS": "a:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    assert cluster_of(Cluster(), names) == Cluster(**THREE)
    alone = Cluster(coordinator_address="a:1234", num_processes=1, process_id=0)
    assert cluster_of(alone, {}) is None
    with pytest.raises(SkillRLError, match="JAX_PROCESS_ID=x: both must be whole"):
        cluster_of(Cluster(), {**names, "JAX_PROCESS_ID": "x"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"distributed": "yes"}, "--distributed=yes: choose one of: auto, on, off"),
        ({"num_processes": 2}, "--num_processes=2: also needs --coordinator_address and --process"),
        ({**THREE, "process_id": None}, "also needs --process_id"),
        ({**THREE, "process_id": 2}, "--process_id=2: must be from 0 to 1"),
        ({**THREE, "process_id": -1}, "--process_id=-1: must be from 0 to 1"),
        ({**THREE, "num_processes": 0}, "--num_processes=0: must be 1 or more"),
        ({**THREE, "coordinator_address": "host"}, "--coordinator_address=host: must be HOST:PORT"),
        ({**THREE, "coordinator_address": "host:0"}, "must be HOST:PORT"),
        ({**THREE, "distributed": "off"}, "--distributed=off: and --coordinator_address is given"),
    ],
)
def test_what_does_not_go_together_is_refused(values, said, tmp_path, capsys):
    with pytest.raises(SkillRLError) as caught:
        Cluster(**values)
    assert said in str(caught.value)
    given = [f"--{name}={value}" for name, value in values.items() if value is not None]
    assert main.main(["train", f"--workdir={tmp_path / 'w'}", *given]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "w").exists()


def test_off_and_auto_alone_join_nothing(monkeypatch):
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    assert not joining.start(Cluster(distributed="off"))
    assert not joining.start(Cluster())


def test_on_fails_loudly_without_a_cluster():
    jax.devices()  # the back end is up, so joining must be refused, not skipped
    with pytest.raises(SkillRLError, match="--distributed=off"):
        joining.start(Cluster(distributed="on"))
