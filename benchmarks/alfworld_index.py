"""How long it takes until a directory of official-format games can be played: cold, cached.

    python benchmarks/alfworld_index.py [--games 3500] [--traj_kb 100] [--json PATH]

Writes generated games in the layout of the data release (train, and 140 in each held-out
split), then makes the suite: without a cache, with one, and after 10 games were changed. The
pages of the files are in the system's memory in all cases; a disk adds its own time to the
first.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import tempfile
import time
import types
from typing import Any

from skillrl.envs.alfworld.generate import make_game, write_game
from skillrl.envs.alfworld.manifest import load_manifest, spec_of
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.base import SPLITS

HELD_OUT = 140
CHANGED = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=3500)
    parser.add_argument(
        "--traj_kb", type=int, default=0, help="pad each traj_data.json to this size"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(pathlib.Path(folder, "cache"))
        root = pathlib.Path(folder, "json_2.1.1")
        paths = write(root, args.games, args.traj_kb)
        result: dict[str, Any] = {
            "games": args.games,
            "megabytes": round(sum(p.stat().st_size for p in root.rglob("*.*")) / 1e6),
            "traj_kb": args.traj_kb,
            "repeats": args.repeats,
        }
        cold, cached, changed = [], [], []  # pairs of seconds: by the clock, of CPU time
        for _ in range(args.repeats):
            shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
            cold.append(start(root, args.games))
            cached.append(start(root, args.games))
            for path in paths[:CHANGED]:
                path.write_text(path.read_text() + " ")
            changed.append(start(root, args.games))
        for name, pairs in (
            ("cold", cold),
            ("cached", cached),
            (f"cached_{CHANGED}_changed", changed),
        ):
            result[f"{name}_s"] = round(statistics.median(wall for wall, _ in pairs), 2)
            result[f"{name}_cpu_s"] = round(statistics.median(cpu for _, cpu in pairs), 2)
        result |= {
            "cache_kb": round(
                sum(p.stat().st_size for p in pathlib.Path(folder, "cache").rglob("*.json")) / 1e3
            ),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpu_count": os.cpu_count(),
        }
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:<{width}}  {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def write(root: pathlib.Path, games: int, traj_kb: int) -> list[pathlib.Path]:
    """Writes `games` games below `root` and returns their files. No two are the same."""
    entries = load_manifest()["train"]
    paths = []
    for number in range(games):
        spec = spec_of(entries[number % len(entries)])
        split = SPLITS[1 + number % 2] if number < 2 * HELD_OUT else SPLITS[0]
        path = write_game(make_game(spec), spec, root.parent / "new")
        trial = path.parent  # past the last entry, another trial of a task that is there already
        folder = root / split / trial.parent.name / f"{trial.name}_{number // len(entries)}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = trial.rename(folder) / path.name
        traj = path.with_name("traj_data.json")
        content = json.loads(traj.read_text())
        content["images"] = [
            {"image_name": f"{i:09d}.png", "low_idx": i} for i in range(20 * traj_kb)
        ]
        traj.write_text(json.dumps(content))
        paths.append(path)
    return paths


def start(root: pathlib.Path, games: int) -> tuple[float, float]:
    """Seconds until all tasks are there: by the clock, and of CPU time."""
    begin, used = time.perf_counter(), time.process_time()
    suite = AlfworldSuite(types.SimpleNamespace(data_dir=str(root), max_steps=50))
    found = sum(len(suite.tasks(split)) for split in SPLITS)
    seconds = (time.perf_counter() - begin, time.process_time() - used)
    assert found == games, f"{found} games of {games}"
    return seconds


if __name__ == "__main__":
    main()
