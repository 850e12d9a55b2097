"""What a prompt's shared part costs: an iteration with 0 to 2,000 tokens of role, skills and task.

    python benchmarks/skill_cost.py [--shape tiny|0.5B|1.5B] [--rounds N] [--arithmetic 7B]
        [--json PATH]

An iteration is the rollout of 2 groups x 8 members x 10 steps (suffix 150 tokens, response 24)
and one GRPO step over its 160 samples, both by this project's engine and step: once with each
group's prefix computed once (shared), and once with the same tokens at the head of every row
(unshared, 8 rows at a time), as engines and trainers without prefix sharing do. A prefix of n
tokens adds to an iteration what it takes beyond an iteration without one. Operations are counted
beside (`flops.py`). Rounds go through all cases in turn; the first warms up; medians.

`--shape 1.5B` and others are for an accelerator, in bfloat16: 80 samples a group of 150 + 64
tokens, micro-batches of about 8,192 tokens, and case by case, so that each has the memory to
itself; compilation takes most of the time there. `--unshared` says for which prefixes the unshared
form is measured (default: all). Rows are printed and written as they come. The shortest run:

    python benchmarks/skill_cost.py --shape 1.5B --prefixes 0,1000 --unshared "" --rounds 2

`--arithmetic 7B` prints beside each measured row what counting says (`arithmetic.py`), at the
shape that was run and at 7B with a LoRA adapter, and where an iteration's time goes there.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import jax  # noqa: E402
import own  # noqa: E402
from arithmetic import adds, iteration  # noqa: E402
from flops import SHAPES, rollout_flops, step_flops  # noqa: E402
from hardware import PEAKS, Peak, describe, peak_of_device  # noqa: E402

from skillrl.io.console import table  # noqa: E402

PREFIXES = (0, 500, 1000, 2000)
TINY = {"steps": 10, "groups": 2, "members": 8, "suffix": 150, "new": 24}
LARGE = {"steps": 10, "groups": 2, "members": 8, "suffix": 150, "new": 64}
MICRO = 8  # rows of a micro-batch
TOKENS = 8192  # or so many tokens, on an accelerator
COUNTS = (rollout_flops, step_flops)
CARD = "NVIDIA H100 80GB HBM3"  # counted for where the device's own peaks are not known
BAR = 0.25  # at most this share of what 1,000 tokens add unshared


class Case:
    """One iteration's work, compiled and ready."""

    def __init__(self, config: Any, params: Any, work: own.Work, *, shared: bool, tokens: int):
        self._work, self._shared, self._params = work, shared, params
        micro = MICRO
        if tokens:  # the largest part of a group's samples that holds so many
            steps, _, members, _ = work.suffix.shape
            _, *row = work.widths(shared=shared)
            parts = [n for n in range(1, steps * members + 1) if steps * members % n == 0]
            micro = max(n for n in parts if n == 1 or n * sum(row) <= tokens)
        rows = None if shared or tokens else micro
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
    parser.add_argument("--unshared", help="prefixes that are measured unshared; default: all")
    parser.add_argument("--groups", type=int, help="default: 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arithmetic", choices=sorted(SHAPES), help="count for this shape, too")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    sizes = SHAPES[args.shape]
    tiny = args.shape == "tiny"
    shape = TINY if tiny else LARGE
    if args.groups:
        shape = {**shape, "groups": args.groups}
    config = own.model_config(sizes, dtype="float32" if tiny else "bfloat16")
    params = own.random_policy(config)
    result: dict[str, Any] = {
        **describe(),
        "shape": args.shape,
        "work": shape,
        "rounds": args.rounds,
        "cases": [],
    }
    prefixes = numbers(args.prefixes)
    unshared = prefixes if args.unshared is None else numbers(args.unshared)
    plan = [(n, shared) for n in prefixes for shared in (True, False) if shared or n in unshared]

    def save() -> None:
        result["load_after"] = os.getloadavg()[0]
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n")

    # A busy moment of a shared CPU should hit all cases; an accelerator's memory holds one.
    for together in [plan] if tiny else [[case] for case in plan]:
        cases = []
        for prefix, shared in together:
            work = own.random_work(sizes, prefix=prefix, **shape)
            cases.append(Case(config, params, work, shared=shared, tokens=0 if tiny else TOKENS))
        seconds: list[list[tuple[float, float]]] = [[] for _ in cases]
        for _ in range(args.rounds + 1):
            for case, times in zip(cases, seconds, strict=True):
                times.append(case.run())
        for (prefix, shared), (first, *times) in zip(together, seconds, strict=True):
            flop = [count(sizes, {**shape, "prefix": prefix}, shared=shared) for count in COUNTS]
            row = {"prefix": prefix, "shared": shared, "gflop": [f / 1e9 for f in flop]}
            result["cases"].append({**row, "first": first, "seconds": times})
            rollout, update = (statistics.median(x) for x in zip(*times, strict=True))
            print(
                f"prefix {prefix}, {'shared' if shared else 'unshared'}: rollout {rollout:.2f} s, "
                f"update {update:.2f} s (the first, which compiles: {sum(first):.1f} s)",
                flush=True,
            )
            save()
        del cases
        if not tiny:
            jax.clear_caches()
            gc.collect()
    show(result)
    if args.arithmetic:
        result["arithmetic"] = arithmetic(result, args.arithmetic)
        save()


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def median(result: dict[str, Any], prefix: int, *, shared: bool) -> float | None:
    """Seconds of an iteration; without a prefix there is nothing to share."""
    for row in result["cases"]:
        if row["prefix"] == prefix and row["shared"] == shared:
            return statistics.median(sum(s) for s in row["seconds"])
    return median(result, prefix, shared=True) if not shared and prefix == 0 else None


def show(result: dict[str, Any]) -> None:
    def gflop(prefix: int, *, shared: bool) -> float:
        work = {**result["work"], "prefix": prefix}
        counts = (count(SHAPES[result["shape"]], work, shared=shared) for count in COUNTS)
        return sum(counts) / 1e9

    def text(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    lengths = sorted({row["prefix"] for row in result["cases"]})
    rows = []
    for prefix in lengths:
        times = [median(result, n, shared=s) for s in (True, False) for n in (prefix, lengths[0])]
        ours, none, theirs, alone = times
        work, little, more, less = (
            gflop(n, shared=s) for s in (True, False) for n in (prefix, lengths[0])
        )
        longer = prefix != lengths[0]
        both = longer and None not in times
        rows.append(
            [
                str(prefix),
                text(ours, ".2f"),
                text(theirs, ".2f"),
                text(100 * (ours / none - 1), ".0f"),
                text(100 * (theirs / alone - 1) if theirs and alone else None, ".0f"),
                text((ours - none) / (theirs - alone) if both else None, ".2f"),
                text((work - little) / (more - less) if longer else None, ".2f"),
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


def arithmetic(result: dict[str, Any], name: str) -> dict[str, Any]:
    """What counting says of the shape that was run and of shape `name`; printed and returned."""
    here, there = SHAPES[result["shape"]], SHAPES[name]
    found = peak_of_device()
    peak = found if found.flops else Peak(None, 1.0, "operations alone")
    far = found if found.flops else PEAKS[CARD]
    work, rank = result["work"], 16 if name == "7B" else 0
    width = 4 if result["shape"] == "tiny" else 2
    near = {"peak": peak, "width": width}
    large = {"peak": far, "rank": rank}
    rows = []
    for prefix in sorted({row["prefix"] for row in result["cases"]} - {0}):
        cells = [str(prefix)]
        for shared in (True, False):
            some, none = (median(result, n, shared=shared) for n in (prefix, 0))
            cells.append(f"{100 * (some / none - 1):.0f}" if some and none else "")
            cells.append(f"{adds(here, work, prefix, shared=shared, **near):.0f}")
            cells.append(f"{adds(there, LARGE, prefix, shared=shared, **large):.0f}")
        rows.append(cells)
    heads = ["prefix tokens"]
    for side in ("shared", "unshared"):
        heads += [f"{side} adds %", f"counted, {result['shape']}", f"counted, {name}"]
    print()
    print(table(rows, heads))
    parts = {
        f"{'shared' if shared else 'unshared'}, {prefix}": iteration(
            there, {**LARGE, "prefix": prefix}, shared=shared, **large
        )
        for shared in (True, False)
        for prefix in (0, 1000)
    }
    print(
        f"\n{name}{f' with LoRA of rank {rank}' if rank else ''}, {LARGE['groups']} groups of 80 "
        f"samples of 150 + 64 tokens; milliseconds at {far.flops / 1e12:.0f} TFLOP/s and "
        f"{(far.bandwidth or 0) / 1e12:.2f} TB/s"
    )
    lines = [
        [label, *(f"{1000 * s:.0f}" for s in part.values()), f"{1000 * sum(part.values()):.0f}"]
        for label, part in parts.items()
    ]
    print(table(lines, ["prefix tokens", *next(iter(parts.values())), "in all"]))
    return {"table": rows, "columns": heads, "seconds": parts}


if __name__ == "__main__":
    main()
