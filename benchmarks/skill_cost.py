"""What a prompt's shared part costs: an iteration with 0 to 2,000 tokens of role, skills and task.

    python benchmarks/skill_cost.py [--shape tiny|0.5B|1.5B] [--rounds N] [--json PATH]

An iteration is the rollout of 2 groups x 8 members x 10 steps (suffix 150 tokens, response 24)
and one GRPO step over its 160 samples, both by this project's engine and step: once with each
group's prefix computed once (shared), and once with the same tokens at the head of every row
(unshared, 8 rows at a time), as engines and trainers without prefix sharing do. A prefix of n
tokens adds to an iteration what it takes beyond an iteration without one. Operations are counted
beside (`flops.py`). Rounds go through all cases in turn; the first warms up; medians.

`--shape 1.5B` and others are for an accelerator, in bfloat16, with 80 samples a group of
150 + 64 tokens; there the sampler's grid holds a group at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import jax  # noqa: E402
import own  # noqa: E402
from flops import SHAPES, rollout_flops, step_flops  # noqa: E402

from skillrl.console import table  # noqa: E402

PREFIXES = (0, 500, 1000, 2000)
TINY = {"steps": 10, "groups": 2, "members": 8, "suffix": 150, "new": 24}
LARGE = {"steps": 10, "groups": 1, "members": 8, "suffix": 150, "new": 64}
BAR = 0.25  # at most this share of what 1,000 tokens add unshared


class Case:
    """One iteration's work, compiled and ready."""

    def __init__(self, config: Any, params: Any, work: own.Work, *, shared: bool, micro: int):
        self._work, self._shared, self._params = work, shared, params
        rows = None if shared else micro
        self._engine = own.make_engine(config, work, shared=shared, rows=rows)
        self._updater = own.make_step(config, params, remat="dots", logprob_chunk=1024)
        self._batch = own.make_batch(work, shared=shared, micro=micro)
        self._version = 0

    def run(self) -> tuple[float, float]:
        """Seconds of rollout and update with a policy of this moment."""
        self._version += 1
        start = time.perf_counter()
        self._engine.publish(self._params, self._version)
        own.answer(self._engine, self._work, shared=self._shared)
        played = time.perf_counter()
        state = self._updater.init(self._params)
        jax.block_until_ready(state)
        begun = time.perf_counter()
        state, _ = self._updater.update(state, self._batch)
        jax.block_until_ready(state)
        return played - start, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="tiny", choices=sorted(SHAPES))
    parser.add_argument("--prefixes", default=",".join(map(str, PREFIXES)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    sizes = SHAPES[args.shape]
    tiny = args.shape == "tiny"
    shape = TINY if tiny else LARGE
    config = own.model_config(sizes, dtype="float32" if tiny else "bfloat16")
    params = own.random_policy(config)
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "shape": args.shape,
        "work": shape,
        "rounds": args.rounds,
        "load_before": os.getloadavg()[0],
        "cases": [],
    }
    cases = []
    for prefix in map(int, args.prefixes.split(",")):
        work = own.random_work(sizes, prefix=prefix, **shape)
        for shared in (True, False):
            flop = [
                count(sizes, {**shape, "prefix": prefix}, shared=shared)
                for count in (rollout_flops, step_flops)
            ]
            row = {"prefix": prefix, "shared": shared, "gflop": [f / 1e9 for f in flop]}
            result["cases"].append({**row, "seconds": []})
            cases.append(Case(config, params, work, shared=shared, micro=8))
    for number in range(args.rounds + 1):
        for case, row in zip(cases, result["cases"], strict=True):
            seconds = case.run()
            if number:
                row["seconds"].append(seconds)
    result["load_after"] = os.getloadavg()[0]
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def show(result: dict[str, Any]) -> None:
    def total(prefix: int, *, shared: bool) -> tuple[float, float]:
        """Median seconds of an iteration, and its GFLOP."""
        row = next(r for r in result["cases"] if (r["prefix"], r["shared"]) == (prefix, shared))
        return statistics.median(sum(s) for s in row["seconds"]), sum(row["gflop"])

    lengths = sorted({row["prefix"] for row in result["cases"]})
    rows = []
    for prefix in lengths:
        (ours, work), (theirs, more) = (total(prefix, shared=s) for s in (True, False))
        (none, little), (alone, less) = (total(lengths[0], shared=s) for s in (True, False))
        share = (ours - none) / (theirs - alone) if prefix != lengths[0] else float("nan")
        fewer = (work - little) / (more - less) if prefix != lengths[0] else float("nan")
        rows.append(
            [
                str(prefix),
                f"{ours:.2f}",
                f"{theirs:.2f}",
                f"{100 * (ours / none - 1):.0f}",
                f"{100 * (theirs / alone - 1):.0f}",
                f"{share:.2f}" if share == share else "",
                f"{fewer:.2f}" if fewer == fewer else "",
                f"{work:,.0f}",
                f"{more:,.0f}",
            ]
        )
    heads = ["prefix tokens", "shared s", "unshared s", "adds %", "unshared adds %"]
    heads += [
        f"added, shared / unshared (bar {BAR})",
        "the same in FLOP",
        "GFLOP",
        "unshared GFLOP",
    ]
    print(table(rows, heads))


if __name__ == "__main__":
    main()
