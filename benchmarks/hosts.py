"""Makes the same run on several numbers of processes, and on two after one of four was killed.

    python benchmarks/hosts.py --counts=1,2,4 --json=benchmarks/results/hosts.json

All processes are on this machine, with one CPU device each, and speak by loopback. The run is
small (its policy random, games generated, teacher simulated; `tests/pipeline/tiny.py`), with all
phases. Episodes and banks must be the same; parameters may differ by what other sums make of them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
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

LIMIT = 3000.0
KILLED_AFTER = 2  # iterations
AFTERWARDS = 2  # processes that go on
LARGER: dict[str, Any] = {
    "rl": {"batch_size": 16},
    "rollout": {"slots": 4},
    "evaluation": {"max_tasks": 8},
}


def finished(folder: Path, run: Path, flags: list[str], count: int) -> float:
    """Starts a run, or lets it go on, on `count` processes; seconds to its end."""
    folder.mkdir(exist_ok=True)
    begun = time.monotonic()
    command = ["-m", "skillrl", "train", f"--workdir={run}", *flags]
    with hosts.started(command, folder, count=count, flags=count > 1 or None) as running:
        statuses = hosts.ends(running, LIMIT)
    assert statuses == [0] * count, (statuses, hosts.said(folder, 0)[-3000:])
    return time.monotonic() - begun


def killed(folder: Path, run: Path, flags: list[str], count: int) -> float:
    """Kills the last of `count` processes in RL; seconds until all others have ended."""
    folder.mkdir(exist_ok=True)
    command = ["-m", "skillrl", "train", f"--workdir={run}", *flags]
    done = run / "rl" / "trajectories" / f"{KILLED_AFTER:05d}.jsonl"
    with hosts.started(command, folder, count=count) as running:
        until = time.monotonic() + LIMIT
        while not done.exists():
            assert all(process.poll() is None for process in running), hosts.said(folder, 0)[-3000:]
            assert time.monotonic() < until
            time.sleep(0.05)
        running[-1].send_signal(signal.SIGKILL)
        begun = time.monotonic()
        statuses = hosts.ends(running, 120)
    assert 0 not in statuses, statuses
    said = f"process {count - 1} on {hosts.HOST}"
    assert said in hosts.said(folder, 0), hosts.said(folder, 0)[-3000:]
    return time.monotonic() - begun


def compared(one: Path, other: Path) -> dict[str, Any]:
    """How a run is the other's like."""
    iterations = sorted(path.name for path in (one / "rl" / "trajectories").iterdir())
    places = [Path("rl", "trajectories", name) for name in iterations]
    whole = ["collect/trajectories.jsonl", "distill/bank.json", "sft/examples.jsonl"]
    whole += [f"banks/{path.name}" for path in (one / "banks").iterdir()]
    alike = all(
        sorted(path.name for path in (one / part).iterdir())
        == sorted(path.name for path in (other / part).iterdir())
        for part in ("banks", "rl/trajectories")
    )
    return {
        "episodes": sum(len(tiny.rows(one / place)) for place in places),
        "same_episodes": all(tiny.played(one / p) == tiny.played(other / p) for p in places),
        "same_files": alike
        and all((one / n).read_bytes() == (other / n).read_bytes() for n in whole),
        "gap": tiny.gap(one, other),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--counts", default="1,2,4")
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    counts = [int(count) for count in args.counts.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        flags = tiny.prepare(folder, tiny.merged(tiny.SETTINGS, LARGER))
        rows: list[dict[str, Any]] = []

        def report(name: str, run: Path, **more: Any) -> None:
            first = folder / f"run{counts[0]}"
            row = {"processes": name, **more, **compared(first, run)}
            rows.append(row)
            print(row, flush=True)

        for count in counts:
            run = folder / f"run{count}"
            seconds = finished(folder / f"said{count}", run, flags, count)
            clock = json.loads((run / "wall_seconds.json").read_text())
            report(str(count), run, seconds=round(seconds, 1), rl_seconds=round(clock["rl"], 1))
        most = max(counts)
        if most > 1:
            run = folder / "killed"
            ended = killed(folder / "said_killed", run, flags, most)
            seconds = finished(folder / "said_after", run, flags, AFTERWARDS)
            name = f"{most}, one killed; {AFTERWARDS} go on"
            report(name, run, seconds=round(seconds, 1), others_ended_after=round(ended, 1))
    write_json(
        Path(args.json),
        {
            "command": " ".join(["python", *sys.argv]),
            "cores": len(os.sched_getaffinity(0)),
            "rows": rows,
        },
    )
    names = ("processes", "seconds", "episodes", "same_episodes", "same_files", "gap")
    print(table([[str(row[name]) for name in names] for row in rows], names))
    wrong = [r for r in rows if not (r["same_episodes"] and r["same_files"] and r["gap"] <= 1e-5)]
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
