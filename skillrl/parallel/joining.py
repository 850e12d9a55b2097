"""Joins the processes of a run on several hosts, and lets them part again.

A launcher (Slurm, Open MPI, Kubernetes, Cloud TPU) starts one process per host with the same
command, or a person does, with an address and numbers. `jax.distributed` does the rest. Nothing
here imports JAX before there is something to join.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import platform
import sys
from collections.abc import Iterator, Mapping

from skillrl.errors import SkillRLError
from skillrl.parallel import processes
from skillrl.parallel.alarm import Alarm

MODES = ("auto", "on", "off")

HEARTBEAT, SHUTDOWN, INITIALISATION = 20, 15, 300
"""Time-outs of `jax.distributed` in seconds: of a process that is silent, of the last meeting, and
of the first (hosts of a cluster may come up minutes apart)."""

_EXPLICIT = ("coordinator_address", "num_processes", "process_id")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Says which processes belong together.

    Attributes:
      distributed: ``off``: this process alone. ``on``: find the others, and fail if there are
        none. ``auto``: ``on`` where the environment shows several processes or the three values
        below are given, else ``off``; a cluster that shows but is broken fails.
      coordinator_address: HOST:PORT at which the first process listens.
      num_processes: how many there are.
      process_id: the number of this one, from 0.
    """

    distributed: str = "auto"
    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def __post_init__(self) -> None:
        """Refuses what does not go together.

        Raises:
          SkillRLError: names the flag, its value and what to do.
        """
        if self.distributed not in MODES:
            raise SkillRLError(
                f"--distributed={self.distributed}: choose one of: {', '.join(MODES)}."
            )
        given = [name for name in _EXPLICIT if getattr(self, name) is not None]
        if not given:
            return
        if self.distributed == "off":
            raise SkillRLError(
                f"--distributed=off: and --{given[0]} is given. Leave one of the two out."
            )
        missing = [f"--{name}" for name in _EXPLICIT if name not in given]
        if missing:
            raise SkillRLError(
                f"--{given[0]}={getattr(self, given[0])}: also needs {' and '.join(missing)}; or "
                "leave all of them out, and a launcher (srun, mpirun, Kubernetes) says them."
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        assert self.coordinator_address is not None
        assert self.num_processes is not None
        assert self.process_id is not None
        host, colon, port = self.coordinator_address.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise SkillRLError(
                f"--coordinator_address={self.coordinator_address}: must be HOST:PORT, the host of "
                "process 0 and a free port of it, the same on all processes."
            )
        if self.num_processes < 1:
            raise SkillRLError(
                f"--num_processes={self.num_processes}: must be 1 or more, the same on all "
                "processes."
            )
        if not 0 <= self.process_id < self.num_processes:
            raise SkillRLError(
                f"--process_id={self.process_id}: must be from 0 to {self.num_processes - 1}, "
                f"another one on each of the {self.num_processes} processes (--num_processes)."
            )


def cluster_of(cluster: Cluster, environ: Mapping[str, str]) -> Cluster | None:
    """Says what there is to join, or None for a process by itself.

    The names that JAX's own users export, JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
    JAX_PROCESS_ID, stand in for the flags.
    """
    if cluster.distributed == "off":
        return None
    if cluster.num_processes is None and "JAX_NUM_PROCESSES" in environ:
        numbers = [environ.get(name, "") for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
        if not all(number.isdecimal() for number in numbers):
            raise SkillRLError(
                f"JAX_NUM_PROCESSES={numbers[0]}, JAX_PROCESS_ID={numbers[1]}: both must be whole "
                "numbers. Set both, and JAX_COORDINATOR_ADDRESS, or none."
            )
        cluster = Cluster(
            distributed=cluster.distributed,
            coordinator_address=environ.get("JAX_COORDINATOR_ADDRESS"),
            num_processes=int(numbers[0]),
            process_id=int(numbers[1]),
        )
    if cluster.num_processes is not None:
        return cluster if cluster.num_processes > 1 else None
    if cluster.distributed == "on" or _many_processes(environ):
        return cluster
    return None


def _many_processes(environ: Mapping[str, str]) -> bool:
    """Returns whether a launcher has started several processes of this run."""
    if "JAX_COORDINATOR_ADDRESS" in environ or "MEGASCALE_COORDINATOR_ADDRESS" in environ:
        return True
    if "KUBERNETES_SERVICE_HOST" in environ and "JOB_COMPLETION_INDEX" in environ:
        return True  # a pod of an indexed Job, which JAX asks for the others
    # SLURM_NTASKS without a step is an interactive allocation, not srun.
    slurm = environ.get("SLURM_NTASKS", "1") if "SLURM_STEP_NODELIST" in environ else "1"
    counts = (slurm, environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    hosts = environ.get("TPU_WORKER_HOSTNAMES", "")
    return any(count.isdigit() and int(count) > 1 for count in counts) or "," in hosts


def start(cluster: Cluster) -> bool:
    """Joins the processes; to be called before any other use of JAX.

    Returns:
      Whether there are several.

    Raises:
      SkillRLError: the others could not be joined.
    """
    found = cluster_of(cluster, os.environ)
    if found is None:
        return False
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM away from us, and only note it for those who ask.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            found.coordinator_address,
            found.num_processes,
            found.process_id,
            cluster_detection_method="deactivate" if found.num_processes else None,
            initialization_timeout=INITIALISATION,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=SHUTDOWN,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise SkillRLError(
            f"--distributed={cluster.distributed}: the processes of this run could not be joined "
            f"({_first_line(error)}). Start one process per host through srun, mpirun or a "
            "Kubernetes Job before anything uses JAX, or give --coordinator_address, "
            "--num_processes and --process_id; for a single process use --distributed=off"
        ) from error
    from jax._src import distributed

    # Asked of the devices (jax.process_count) it would open them: that has its place later.
    state = distributed.global_state
    if state.num_processes == 1:
        jax.distributed.shutdown()
        return False
    job = processes.Job(index=state.process_id, count=state.num_processes, client=state.client)
    _enter(job, str(state.coordinator_address))
    return True


def _enter(job: processes.Job, address: str) -> None:
    """Lets this process know of the others."""
    processes.enter(job)
    job.hosts = tuple(processes.together("hosts", platform.node))
    global _alarm
    _alarm = Alarm(
        job.client, address=address, index=job.index, hosts=job.hosts, said_to=sys.stderr
    )
    atexit.register(leave, 1)


_alarm: Alarm | None = None


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """Joins the processes of a run around the block; they part at its end.

    In the block all but the first say nothing: standard output and error are closed to them, so
    that what is printed is printed once. After an error that others do not raise, too, they are
    told, and end; this process must then end by `leave`.

    Args:
      cluster: which processes; a single one goes on as it is.

    Raises:
      SkillRLError: they could not be joined.
    """
    if not start(cluster):
        yield
        return
    try:
        with _silent(not processes.is_first()):
            yield
    except BaseException as error:
        if not processes.happened_everywhere(error):
            assert _alarm is not None
            _alarm.tell(error)
            raise
        _part()
        raise
    _part()


def stop_others() -> None:
    """Passes SIGTERM on to the other processes, if there are any; see `Alarm.stop_others`."""
    if _alarm is not None:
        _alarm.stop_others()


def leave(status: int) -> None:
    """Ends this process with `status` if it has failed while others went on; else returns.

    JAX's own way out would wait for the others, and end in its own words.
    """
    if _alarm is not None and _alarm.failed:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@contextlib.contextmanager
def _silent(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        yield


def _part() -> None:
    """Waits for all, and lets go of them."""
    import jax

    global _alarm
    processes.wait_for_all("the end")
    if _alarm is not None:
        _alarm.end()
    jax.distributed.shutdown()
    processes.enter(None)
    _alarm = None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
