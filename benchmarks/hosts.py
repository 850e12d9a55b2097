"""One run on one, two and four processes: are episodes, bank and policy the same?

    python benchmarks/hosts.py --json benchmarks/results/hosts.json

Each run is ``skillrl train --mock``, short, with an event of evolution after each iteration of RL,
on CPU devices of this machine, one per process, joined by `jax.distributed`. One splits the policy
(``mesh.fsdp=2``), and one begins on four processes, of which one is killed (SIGKILL) in the last
iteration, and goes on with two. All are compared with the run of one process.

What is finished in ``--workdir`` is not run again, and what was cut off goes on, so this may be
stopped at any time and started again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from skillrl.io.console import table  # noqa: E402
from skillrl.io.files import read_json, read_jsonl  # noqa: E402
from skillrl.version import VERSION  # noqa: E402
from tests import hosts  # noqa: E402

ITERATIONS = 2
SETTINGS = {
    "logging.progress": "false",
    "collect.episodes": 24,
    "sft.epochs": 1,
    "rl.training_epochs": ITERATIONS,
    "rl.batch_size": 32,
    "evolution.validation_interval": 1,
    "evaluation.max_tasks": 8,
    "evaluation.quick_tasks": 0,
    "checkpoint.interval": 1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run to compare.

    Attributes:
      name: of its directory and of its row.
      count: how many processes.
      settings: beside `SETTINGS`.
      then: where one of them is killed, how many processes go on; 0: none is killed.
    """

    name: str
    count: int
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    then: int = 0


RUNS = (
    Run(name="1", count=1),
    Run(name="2", count=2),
    Run(name="4", count=4),
    Run(name="2, fsdp", count=2, settings={"mesh.fsdp": 2}),
    Run(name="4, one killed, then 2", count=4, then=2),
)


def folder_of(base: Path, run: Run) -> Path:
    """The directory that has a run and what its processes said."""
    return base / run.name.replace(", ", "_").replace(" ", "_")


def train(base: Path, run: Run) -> None:
    """Brings a run to its end, from wherever it is."""
    folder = folder_of(base, run)
    workdir = folder / "run"
    folder.mkdir(parents=True, exist_ok=True)
    if (workdir / "summary.json").exists():
        return
    settings = SETTINGS | run.settings
    command = ["-m", "skillrl", "train", "--env=alfworld", "--mock", f"--workdir={workdir}"]
    command += [f"--set={name}={value}" for name, value in settings.items()]
    killed = folder / "killed.json"
    if run.then and not killed.exists():
        seconds, said = kill_one(folder, workdir, command, run.count)
        killed.write_text(json.dumps({"seconds": seconds, "said": said}))
    count = run.then or run.count
    print(f"{run.name}: training on {count} processes", flush=True)
    with hosts.started(command, folder, count=count) as running:
        statuses = hosts.ends(running, 3600)
    if any(statuses):
        said = "\n".join(hosts.said(folder, number)[-2000:] for number in range(count))
        raise SystemExit(f"{run.name} ended with {statuses}; start again, it goes on.\n{said}")


def kill_one(folder: Path, workdir: Path, command: list[str], count: int) -> tuple[float, str]:
    """Kills the last process in the last iteration; seconds until all had ended, and what for."""
    print(f"{folder.name}: training on {count} processes, the last of which is killed", flush=True)
    with hosts.started(command, folder, count=count) as running:
        until = time.monotonic() + 3600
        while not any(row["step"] == ITERATIONS - 1 for row in rl_rows(workdir)):
            if time.monotonic() > until or any(process.poll() for process in running):
                raise SystemExit(f"did not come to the last iteration: {hosts.said(folder, 0)}")
            time.sleep(0.2)
        time.sleep(5)  # into the next one
        running[-1].send_signal(signal.SIGKILL)
        start = time.monotonic()
        statuses = hosts.ends(running, 120)
        seconds = time.monotonic() - start
    if not all(statuses) or (workdir / "summary.json").exists():
        raise SystemExit(f"the kill came too late ({statuses}): delete {folder} and start again")
    lines = hosts.said(folder, 0).splitlines()
    return seconds, next((line for line in lines if line.startswith("skillrl: error:")), "")


def rl_rows(workdir: Path) -> list[dict[str, Any]]:
    """The rows of metrics of RL that are there."""
    path = workdir / "metrics.jsonl"
    return [row for row in read_jsonl(path) if row["phase"] == "rl"] if path.exists() else []


def steps(workdir: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """All steps of all episodes of a run, each with what its episode is, in order."""
    paths = sorted((workdir / "rl" / "trajectories").glob("*.jsonl"))
    for path in (workdir / "collect" / "trajectories.jsonl", *paths):
        for row in read_jsonl(path):
            episode = (path.name, row["id"], row["won"], row["skills"], row["prefix_ids"])
            for step in row["steps"]:
                yield episode, step


def compare(one: Path, other: Path) -> dict[str, Any]:
    """What differs between two runs."""
    tokens = same = 0
    gap = 0.0
    pairs = list(zip(steps(one), steps(other), strict=False))
    for (episode, a), (other_episode, b) in pairs:
        equal = episode == other_episode and a["response_ids"] == b["response_ids"]
        tokens += len(a["response_ids"])
        same += len(a["response_ids"]) if equal else 0
        if equal and a["response_ids"]:
            gap = max(gap, float(np.abs(np.subtract(a["logprobs"], b["logprobs"])).max()))
    policies = [load_file(path / "policy" / "model.safetensors") for path in (one, other)]
    gaps = {
        name: float(np.abs(x - policies[1][name]).max() / np.abs(x).max())
        for name, x in policies[0].items()
    }
    banks = [
        {path.name: path.read_bytes() for path in (run / "banks").iterdir()} for run in (one, other)
    ]
    worst = max(gaps, key=lambda name: gaps[name])
    return {
        "tokens": tokens,
        "same_tokens": same,
        "same_steps": len(pairs) == len(list(steps(one))) == len(list(steps(other))),
        "logprob_gap": gap,
        "banks": len(banks[0]),
        "same_banks": banks[0] == banks[1],
        "same_examples": (one / "sft" / "examples.jsonl").read_bytes()
        == (other / "sft" / "examples.jsonl").read_bytes(),
        "same_results": read_json(one / "summary.json")["eval"]
        == read_json(other / "summary.json")["eval"],
        "parameter_gap": gaps[worst],
        "parameter": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workdir", default="runs/hosts")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    base = Path(args.workdir).absolute()
    found = []
    for run in RUNS:
        train(base, run)
        folder = folder_of(base, run)
        result = {"name": run.name, **compare(folder_of(base, RUNS[0]) / "run", folder / "run")}
        result["wall_seconds"] = read_json(folder / "run" / "summary.json")["wall_seconds"]
        if run.then:
            result["killed"] = read_json(folder / "killed.json")
        found.append(result)
        print(json.dumps(result), flush=True)
    rows = [
        [
            result["name"],
            f"{result['same_tokens']:,} of {result['tokens']:,}",
            f"{result['logprob_gap']:.1e}",
            "same" if result["same_banks"] else "differ",
            "same" if result["same_results"] else "differ",
            f"{result['parameter_gap']:.1e}",
            f"{sum(result['wall_seconds'].values()):.0f}",
        ]
        for result in found
    ]
    head = ["processes", "same tokens", "log-probs", "banks", "results", "parameters", "seconds"]
    print(text := table(rows, head))
    if args.json:
        told = {
            "command": " ".join(["python", *sys.argv]),
            "hardware": {
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "python": platform.python_version(),
            },
            "version": VERSION,
            "settings": SETTINGS,
            "runs": found,
            "table": text,
        }
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
