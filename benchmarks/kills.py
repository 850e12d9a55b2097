"""Kills a run at random moments of all phases, and compares what comes out with an untouched one.

    python benchmarks/kills.py --kills=40 --json=benchmarks/results/kills.json
    python benchmarks/kills.py --kills=40 --processes=2 --json=benchmarks/results/kills_2.json

A small run (its policy random, games generated, teacher simulated; `tests/pipeline/tiny.py`) is
made once to its end. Then others are started, killed with SIGKILL at a moment drawn from the time
that the whole takes, and started again, `PER_RUN` times each, before they may finish. Every file
that a run leaves must be the same, bit for bit: episodes, examples, banks, their events, results,
the policy; and every row of metrics. So no episode is there twice or missing,
and their lengths are distributed as without kills, since they are the same episodes.

With two processes one of them is killed; the other must end by itself within `WAIT` seconds. What
is done is in the JSON file, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from skillrl.io.console import table  # noqa: E402
from skillrl.io.files import write_json  # noqa: E402
from tests import hosts  # noqa: E402
from tests.pipeline import tiny  # noqa: E402

PER_RUN = 4
WAIT = 60.0
SAME = ("collect/", "distill/", "sft/", "rl/", "banks/", "evaluation/", "policy/")
PHASES = ("collect", "sft", "rl")


def left(run: Path) -> dict[str, Any]:
    """What a run has written, but for what holds times."""
    files = {name: data for name, data in tiny.contents(run).items() if name.startswith(SAME)}
    rows = tiny.rows(run / "metrics.jsonl")
    return {**files, "metrics.jsonl": [row for row in rows if row["phase"] in PHASES]}


def phase_of(run: Path) -> str:
    """How far a run has come, by what lies there."""
    for name, path in (
        ("evaluation of RL", "evaluation/rl-valid_unseen.json"),
        ("RL", "banks"),
        ("evaluation of SFT", "evaluation/sft-valid_unseen.json"),
        ("SFT", "sft"),
        ("distilling", "distill"),
        ("collecting", "collect"),
    ):
        if (run / path).exists():
            return f"{name} or after"
    return "start"


def start(folder: Path, run: Path, flags: list[str], processes: int) -> Any:
    """Starts the run, or lets it go on; a context of its processes."""
    command = ["-m", "skillrl", "train", f"--workdir={run}", *flags]
    return hosts.started(command, folder, count=processes, flags=processes > 1 or None)


def finished(processes: list[subprocess.Popen], limit: float) -> list[int]:
    """Waits for the ends of all; their statuses."""
    until = time.monotonic() + limit
    return [process.wait(max(0.1, until - time.monotonic())) for process in processes]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    output = Path(args.json)
    found = json.loads(output.read_text()) if output.exists() else {"kills": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        flags = tiny.prepare(folder, tiny.SETTINGS)
        for name in ("warm", "whole"):  # the first one compiles
            begun = time.monotonic()
            with start(folder, folder / name, flags, args.processes) as running:
                statuses = finished(running, 1500)
            spent = time.monotonic() - begun
            assert statuses == [0] * args.processes, (statuses, hosts.said(folder, 0)[-2000:])
        wanted = left(folder / "whole")
        assert left(folder / "warm") == wanted, "two runs without kills differ"
        done = len(found["kills"]) // PER_RUN
        for number in range(done, -(-args.kills // PER_RUN)):
            rng = random.Random(f"{args.seed}/{args.processes}/{number}")
            run, kills = folder / f"run{number}", []
            while len(kills) < PER_RUN:
                after = rng.uniform(0.15, 0.9) * spent
                victim = rng.randrange(args.processes)
                with start(folder, run, flags, args.processes) as running:
                    time.sleep(after)
                    ended = running[victim].poll() is not None
                    running[victim].send_signal(signal.SIGKILL)
                    killed = time.monotonic()
                    finished(running, WAIT)
                    waited = time.monotonic() - killed
                if ended:  # too late: once more, and sooner
                    shutil.rmtree(run)
                    kills.clear()
                    continue
                kills.append(
                    {
                        "run": number,
                        "after": round(after, 2),
                        "victim": victim,
                        "phase": phase_of(run) if run.exists() else "start",
                        "others_ended_after": round(waited, 1),
                    }
                )
            with start(folder, run, flags, args.processes) as running:
                statuses = finished(running, 1500)
            assert statuses == [0] * args.processes, (statuses, hosts.said(folder, 0)[-2000:])
            there = left(run)
            differ = sorted(
                name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name)
            )
            for kill in kills:
                kill["differ"] = differ
            found["kills"] += kills
            found |= {
                "command": " ".join(["python", *sys.argv]),
                "processes": args.processes,
                "seconds_of_a_run": round(spent, 1),
                "cores": len(os.sched_getaffinity(0)),
            }
            write_json(output, found)
            print(
                f"run {number}: {[kill['phase'] for kill in kills]}, differ: {differ}", flush=True
            )
            shutil.rmtree(run)
    kills = found["kills"]
    counts = collections.Counter(kill["phase"] for kill in kills)
    print(table([[name, count] for name, count in sorted(counts.items())], ["killed in", "times"]))
    wrong = [kill for kill in kills if kill["differ"]]
    print(f"{len(kills)} kills, {len(wrong)} in runs that came out differently")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
