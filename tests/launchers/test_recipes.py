"""The recipes for clusters: what is in them exists, fits together, and is what readers take."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from skillrl.cli.commands import COMMANDS
from skillrl.config import presets

LAUNCHERS = Path(__file__).resolve().parents[2] / "launchers"
SBATCH = LAUNCHERS / "slurm.sbatch"
TPU_VM = LAUNCHERS / "pods" / "tpu_vm.sh"
JOBSETS = sorted((LAUNCHERS / "pods").glob("jobset_*.yaml"))
SKYPILOT = LAUNCHERS / "pods" / "skypilot.yaml"
RECIPES = [SBATCH, TPU_VM, *JOBSETS, SKYPILOT]

JOINING = {"distributed", "coordinator_address", "num_processes", "process_id"}
"""Flags that join the processes of several hosts."""

ECHO = """#!/bin/bash
printf '%s\\n' "$(basename "$0")" "$JAX_LOCAL_DEVICE_IDS" "$@" >> "$CALLS"
exit "${STATUS:-0}"
"""


def command(text: str) -> list[str]:
    """The arguments of the one `skillrl train` in a shell text."""
    (found,) = re.findall(r"^[^#\n]*(skillrl train (?:[^\n]*\\\n)*[^\n]*)", text, re.M)
    return shlex.split(found.replace("\\\n", " "))


def flags(path: Path) -> list[str]:
    """The arguments of the command that a recipe starts."""
    if path in JOBSETS:
        (container,) = containers(path)
        return [*container["command"], *container["args"]]
    if path == SKYPILOT:
        return command(yaml.safe_load(path.read_text())["run"])
    text = path.read_text()
    for quoted in ('--command="', '${*@Q}"', '"$@" || status=$?'):
        text = text.replace(quoted, "")
    return command(text)


def containers(path: Path) -> list[dict]:
    (job,) = yaml.safe_load(path.read_text())["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_flag_and_preset_of_a_recipe_exists(path):
    known = {flag.name for flag in COMMANDS["train"].flags} | JOINING | {"nomock"}
    arguments = flags(path)
    assert arguments[:2] == ["skillrl", "train"]
    named = [re.match(r"--(\w+)", word)[1] for word in arguments if word.startswith("--")]
    assert {"nomock", "distributed"} <= set(named) <= known
    preset = [word.removeprefix("--config=") for word in arguments if word.startswith("--config=")]
    settings = [word.removeprefix("--set=") for word in arguments if word.startswith("--set=")]
    settings += [after for word, after in itertools.pairwise(arguments) if word == "--set"]
    presets.resolve("alfworld", mock=False, config_path=preset or None, overrides=settings)


@pytest.mark.parametrize("path", [SBATCH, TPU_VM], ids=lambda path: path.name)
def test_a_script_is_bash(path):
    subprocess.run(["bash", "-n", path], check=True)


def test_slurm_starts_one_task_per_node_and_warns_it_in_time():
    options = dict(
        re.match(r"--([\w-]+)(?:=(.+))?$", line.removeprefix("#SBATCH ")).groups()
        for line in SBATCH.read_text().splitlines()
        if line.startswith("#SBATCH")
    )
    assert options["ntasks-per-node"] == "1"
    assert options["signal"] == "TERM@120"  # without B: it goes to the tasks, not to the script
    assert "requeue" in options
    assert int(options["nodes"]) > 1
    lines = SBATCH.read_text().splitlines()
    first = next(at for at, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]  # Slurm stops there


@pytest.fixture
def called(tmp_path):
    """Runs a script with stand-ins for the cluster's commands; returns status and their calls."""
    for name in ("srun", "scontrol", "gcloud"):
        (tmp_path / name).write_text(ECHO)
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **environment):
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", script, *arguments],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "CALLS": str(calls),
                "JAX_LOCAL_DEVICE_IDS": "",
                **environment,
            },
        )
        return done.returncode, calls.read_text().splitlines()

    return run


def test_slurm_queues_a_job_again_that_was_terminated_and_no_other(called):
    job = {"SLURM_JOB_ID": "17", "SLURM_GPUS_ON_NODE": "4"}
    status, calls = called(SBATCH, "--seed=3", STATUS="0", **job)
    assert status == 0
    assert calls[:2] == ["srun", "0,1,2,3"]  # else JAX would take one GPU of each node
    assert calls[-3:] == ["--nomock", "--distributed=on", "--seed=3"]
    assert "scontrol" not in calls
    status, calls = called(SBATCH, STATUS="143", **job)
    assert status == 143
    assert calls[calls.index("scontrol") + 2 :] == ["requeue", "17"]
    status, calls = called(SBATCH, STATUS="2", **job)
    assert status == 2
    assert "scontrol" not in calls


def test_a_tpu_slice_gets_the_command_on_every_worker(called):
    status, calls = called(TPU_VM, "slice", "us-east5-a", "--workdir=/my runs/a", "--seed=3")
    assert status == 0
    assert {"slice", "--zone=us-east5-a", "--worker=all"} <= set(calls)
    (sent,) = [line for line in calls if line.startswith("--command=")]
    words = shlex.split(sent.removeprefix("--command="))
    assert words[:3] == ["skillrl", "train", "--nomock"]
    assert words[-2:] == ["--workdir=/my runs/a", "--seed=3"]


@pytest.mark.parametrize("path", JOBSETS, ids=lambda path: path.name)
def test_a_jobset_has_what_v1alpha2_requires(path):
    made = yaml.safe_load(path.read_text())
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", made["metadata"]["name"])
    assert made["spec"]["failurePolicy"]["maxRestarts"] > 0
    (job,) = made["spec"]["replicatedJobs"]
    assert job["replicas"] == 1
    spec = job["template"]["spec"]
    assert spec["completions"] == spec["parallelism"] > 1
    assert (spec["completionMode"], spec["backoffLimit"]) == ("Indexed", 0)
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # a Job takes this or OnFailure
    assert pod["terminationGracePeriodSeconds"] >= 60
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    ((device, count),) = container["resources"]["limits"].items()
    assert device in ("nvidia.com/gpu", "google.com/tpu")
    assert mesh(flags(path)) == spec["parallelism"] * count


def test_the_pods_of_a_gpu_jobset_know_each_other():
    (path,) = [path for path in JOBSETS if "gpu" in path.name]
    made = yaml.safe_load(path.read_text())
    (job,) = made["spec"]["replicatedJobs"]
    (container,) = containers(path)
    given = dict(re.match(r"--(\w+)=?(.*)", word).groups() for word in container["args"])
    name = made["metadata"]["name"]
    host, _, port = given["coordinator_address"].partition(":")
    # <jobset>-<job>-<number of the job>-<number of the pod>.<subdomain, by default the jobset>
    assert host == f"{name}-{job['name']}-0-0.{name}"
    assert int(port) in [port["containerPort"] for port in container["ports"]]
    assert int(given["num_processes"]) == job["template"]["spec"]["completions"]
    assert given["process_id"] == "$(JOB_COMPLETION_INDEX)"
    assert "JOB_COMPLETION_INDEX" in [entry["name"] for entry in container["env"]]


def test_a_tpu_jobset_asks_for_as_many_hosts_as_its_topology_has():
    (path,) = [path for path in JOBSETS if "tpu" in path.name]
    (job,) = yaml.safe_load(path.read_text())["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    selector = spec["template"]["spec"]["nodeSelector"]
    chips = 1
    for size in selector["cloud.google.com/gke-tpu-topology"].split("x"):
        chips *= int(size)
    assert selector["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5p-slice"
    assert chips == 4 * spec["parallelism"]


def test_a_skypilot_task_has_the_fields_that_there_are():
    made = yaml.safe_load(SKYPILOT.read_text())
    known = {
        *("name", "workdir", "num_nodes", "resources", "envs", "secrets", "volumes"),
        *("file_mounts", "setup", "run", "config"),
    }
    assert set(made) <= known
    _, count = made["resources"]["accelerators"].split(":")
    assert mesh(flags(SKYPILOT)) == made["num_nodes"] * int(count)
    subprocess.run(["bash", "-n"], input=made["run"] + made["setup"], text=True, check=True)
    (place,) = made["volumes"]
    assert any(word.startswith(f"--workdir={place}/") for word in flags(SKYPILOT))
    assert all(value is None for value in made["secrets"].values())  # none is written here


def mesh(arguments):
    """How many devices the settings of a command lay out."""
    overrides = [word.removeprefix("--set=") for word in arguments if "mesh." in word]
    config = presets.resolve(
        "alfworld", mock=False, config_path="alfworld_qwen2.5_7b", overrides=overrides
    ).config
    return config.mesh.data * config.mesh.fsdp * config.mesh.tensor


def test_the_recipes_hold_no_key():
    for path in RECIPES:
        assert not re.search(r"sk-\w|api_key=\S", path.read_text()), path
