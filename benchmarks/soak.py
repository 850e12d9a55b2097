"""Whether 500 iterations of RL leak: memory, threads and descriptors of the process.

    python benchmarks/soak.py --iterations=500 --json=benchmarks/results/soak.json

One process trains (a small random policy, generated games, the simulated teacher;
`tests/pipeline/tiny.py`), with evolution, a held-out look and a checkpoint every few iterations.
After each iteration its resident memory, threads and open descriptors are read from /proc. After a
warm-up, in which programs compile and caches fill, each must stay within `BOUND`: the mean of the
last fifth against that of the first fifth after the warm-up. The cache of the last 1,024 games
would fill for all of the 500 iterations; here it holds --games. The same command goes on
where it was stopped (its work directory is kept); the figures are then those of its process.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import skillrl  # noqa: E402
from skillrl.envs.alfworld import native  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.io.files import write_json  # noqa: E402
from tests.pipeline import tiny  # noqa: E402

BOUND = 0.02
NAMES = ("resident_mb", "threads", "descriptors")


def measured() -> dict[str, float]:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "resident_mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": float(threading.active_count()),
        "descriptors": float(len(os.listdir("/proc/self/fd"))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--warm_up", type=int, default=100)
    parser.add_argument("--games", type=int, default=64, help="that are kept, in a run 1024")
    parser.add_argument("--workdir", default="runs/soak")
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    folder = Path(args.workdir).absolute()
    policy = folder / "made" / "model"
    if not policy.exists():
        tiny.make_policy(folder / "made")
    settings = {
        "model": {"policy_path": str(policy)},
        "rl": {"training_epochs": args.iterations},
        "evaluation": {"quick_interval": 10},
        "evolution": {"validation_interval": 5, "max_skills": 60},
        "logging": {"progress": False},
    }
    path = folder / "settings.json"
    path.write_text(json.dumps(tiny.merged(tiny.SETTINGS, settings)))
    config = skillrl.resolve("alfworld", config_path=path, flags={"seed": tiny.SEED}).config
    native._generated = functools.lru_cache(args.games)(native._generated.__wrapped__)
    rows: list[dict[str, float]] = []
    begun = time.monotonic()

    def look(row: Mapping[str, Any]) -> None:
        if row["phase"] == "rl":
            rows.append({"iteration": row["step"], **measured()})
            if row["step"] % 50 == 0:
                print(json.dumps(rows[-1]), flush=True)

    skillrl.train(config, folder / "run", on_metrics=look)
    spent = time.monotonic() - begun
    if len(rows) <= args.warm_up:
        raise SystemExit(f"{folder}: {len(rows)} iterations were left to run; remove it first")
    kept = rows[args.warm_up :]
    fifth = max(1, len(kept) // 5)
    found: dict[str, dict[str, float]] = {}
    for name in NAMES:
        first = statistics.fmean(row[name] for row in kept[:fifth])
        last = statistics.fmean(row[name] for row in kept[-fifth:])
        found[name] = {"first": first, "last": last, "change": last / first - 1}
    text = table(
        [
            [name, f"{one['first']:.1f}", f"{one['last']:.1f}", f"{100 * one['change']:+.2f}"]
            for name, one in found.items()
        ],
        ["", "first fifth after the warm-up", "last fifth", "change %"],
    )
    print(text)
    write_json(
        args.json,
        {
            "command": " ".join(["python", *sys.argv]),
            "iterations": len(rows),
            "warm_up": args.warm_up,
            "seconds": round(spent, 1),
            "found": found,
            "rows": rows[:: max(1, len(rows) // 100)],
            "table": text,
        },
    )
    sys.exit(any(one["change"] >= BOUND for one in found.values()))


if __name__ == "__main__":
    main()
