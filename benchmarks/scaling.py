"""How time and memory grow: one sweep per axis around a base point, rollout and update.

    python benchmarks/scaling.py [--axes group,steps,prefix,layers,width] [--rounds N]
        [--json PATH] [--plot PATH.png]

Base: 1 group x 8 members x 5 steps, a prefix of 1,000 tokens, a suffix of 64, responses of 16;
width 64 (heads of 32), 2 layers, vocabulary 1,024, float32. Each axis leaves the rest as it is:

- group: members, 1 to 64; steps: 1 to 50; prefix: 0 to 4,000 tokens;
- layers: 1 to 16; width: 32 to 256 (heads and the feed-forward grow with it).

A point is two processes, so that its memory is its own: each makes a policy, answers all prompts
step by step with this engine (a prefix is computed once), and takes one GRPO step over the
samples, micro-batches of 8 (or the group). The first round compiles; then the median of
`--rounds`, or of as many as fill a second. Reported are new tokens per second of the rollout,
samples per second of the update, and what each adds at its highest to the resident set before it.
Memory (Linux, glibc) is the second process's, whose allocator keeps nothing back. Operations per
second are beside them, since the axes change the work itself. About 7 minutes on two cores, most
of it compilation. The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE / "peers")]

from flops import Sizes, rollout_flops, step_flops  # noqa: E402

from skillrl.io.console import table  # noqa: E402

AXES: dict[str, tuple[int, ...]] = {
    "group": (1, 4, 8, 16, 64),
    "steps": (1, 5, 20, 50),
    "prefix": (0, 500, 1000, 2000, 4000),
    "layers": (1, 2, 4, 8, 16),
    "width": (32, 64, 128, 256),
}
UNITS = {
    "group": "members of a group",
    "steps": "steps of an episode",
    "prefix": "prefix tokens",
    "layers": "layers",
    "width": "width of the model",
}
BASE = {"group": 8, "steps": 5, "prefix": 1000, "layers": 2, "width": 64}
SUFFIX, NEW, VOCAB, HEAD, MICRO = 64, 16, 1024, 32, 8
ENOUGH = 1.0  # seconds of rounds


def sizes_of(point: dict[str, int]) -> Sizes:
    heads = point["width"] // HEAD
    return Sizes(
        vocab=VOCAB,
        width=point["width"],
        layers=point["layers"],
        heads=heads,
        kv_heads=max(heads // 2, 1),
        head=HEAD,
        ffn=point["width"] * 11 // 4,
    )


def work_of(point: dict[str, int]) -> dict[str, int]:
    return {
        "steps": point["steps"],
        "groups": 1,
        "members": point["group"],
        "prefix": point["prefix"],
        "suffix": SUFFIX,
        "new": NEW,
    }


def measure(point: dict[str, int], rounds: int) -> dict[str, Any]:
    """Seconds and MiB of one point, in this process."""
    import jax
    import memory
    import own

    sizes, work = sizes_of(point), work_of(point)
    config = own.model_config(sizes)
    params = jax.block_until_ready(own.random_policy(config))
    tokens = own.random_work(sizes, **work)
    found: dict[str, Any] = {}

    def run(name: str, prepare: Callable[[], None], once: Callable[[], object]) -> None:
        seconds: list[float] = []
        # The first compiles.
        while len(seconds) <= rounds or (rounds > 1 and sum(seconds[1:]) < ENOUGH):
            prepare()
            start = time.perf_counter()
            once()
            seconds.append(time.perf_counter() - start)
        prepare()
        gc.collect()
        before = memory.resident_mib()
        memory.forget_peak()
        once()
        found[name] = {"seconds": seconds[1:], "peak_mib": memory.peak_mib() - before}

    engine = own.make_engine(config, tokens, shared=True)
    versions = itertools.count()
    run(
        "rollout",
        lambda: engine.publish(params, next(versions)),  # forgets the prefixes
        lambda: own.answer(engine, tokens, shared=True),
    )
    batch = own.make_batch(tokens, shared=True, micro=min(MICRO, point["group"]))
    updater = own.make_step(config, params, logprob_chunk=1024)
    state = updater.init(params)

    def update() -> None:
        nonlocal state
        state, _ = updater.update(state, batch)
        jax.block_until_ready(state)

    run("update", lambda: None, update)
    for name, count in (("rollout", rollout_flops), ("update", step_flops)):
        found[name]["gflop"] = count(sizes, work, shared=True) / 1e9
    samples = point["steps"] * point["group"]
    median = {name: statistics.median(part["seconds"]) for name, part in found.items()}
    found["tokens_per_s"] = samples * NEW / median["rollout"]
    found["samples_per_s"] = samples / median["update"]
    found["device"] = jax.devices()[0].device_kind
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--axes", default=",".join(AXES))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--plot", type=Path, help="draw them here (needs matplotlib)")
    parser.add_argument("--from_json", type=Path, help="measure nothing: show and draw this file")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(json.loads(args.point), args.rounds)))
        return
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib, or leave --plot out")
    if args.from_json:
        result = json.loads(args.from_json.read_text())
    else:
        result = sweep(args.axes.split(","), args.rounds, args.json)
    show(result)
    if args.plot:
        plot(result, args.plot)


def sweep(axes: list[str], rounds: int, path: Path | None) -> dict[str, Any]:
    """All points; the base is measured once."""
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "cores_used": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "rounds": rounds,
        "base": BASE,
        "suffix": SUFFIX,
        "new": NEW,
        "load_before": os.getloadavg()[0],
        "points": [],
    }
    with tempfile.TemporaryDirectory() as cache:
        for axis in axes:
            for value in AXES[axis]:
                point = {**BASE, axis: value}
                row = next((r for r in result["points"] if r["point"] == point), None)
                if row is None:
                    row = {"point": point, **both(point, rounds, Path(cache))}
                result["points"].append({**row, "axis": axis, "value": value})
                print(
                    f"{axis} {value}: {row['tokens_per_s']:,.0f} tokens/s, "
                    f"{row['samples_per_s']:,.1f} samples/s",
                    flush=True,
                )
                result["load_after"] = os.getloadavg()[0]
                if path:
                    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def both(point: dict[str, int], rounds: int, cache: Path) -> dict[str, Any]:
    """Times from a process, memory from another that gives back what it does not use."""
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    compiled |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    # Else the allocator serves a round from what earlier ones left; but this is slower.
    frugal = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    answers = []
    for count, more in ((max(rounds, 2), {}), (1, frugal)):
        command = [sys.executable, __file__, f"--rounds={count}", f"--point={json.dumps(point)}"]
        env = {**os.environ, **compiled, **more}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    timed, lean = answers
    for name in ("rollout", "update"):
        timed[name]["peak_mib"] = lean[name]["peak_mib"]
    return timed


def show(result: dict[str, Any]) -> None:
    rows = []
    for row in result["points"]:
        cells = [f"{row['axis']} {row['value']:,}"]
        for name, rate in (("rollout", "tokens_per_s"), ("update", "samples_per_s")):
            part = row[name]
            seconds = statistics.median(part["seconds"])
            cells += [
                f"{seconds:.2f}",
                f"{row[rate]:,.1f}",
                f"{part['gflop'] / seconds:,.1f}",
                f"{part['peak_mib']:,.0f}",
            ]
        rows.append(cells)
    heads = ["", "rollout s", "tokens/s", "GFLOP/s", "MiB"]
    print(table(rows, [*heads, "update s", "samples/s", "GFLOP/s", "MiB"]))


def plot(result: dict[str, Any], path: Path) -> None:
    """A column per axis: tokens/s and samples/s above, memory below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    axes = list(dict.fromkeys(row["axis"] for row in result["points"]))
    labels = {"rollout": "rollout: new tokens/s", "update": "update: samples/s"}
    colours = {"rollout": "#1f6fb4", "update": "#d1602c"}
    figure, grid = pyplot.subplots(
        2, len(axes), figsize=(3.1 * len(axes), 5.6), sharey="row", squeeze=False
    )
    plain = FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    for column, axis in enumerate(axes):
        rows = [row for row in result["points"] if row["axis"] == axis]
        x = [row["value"] for row in rows]
        above, below = grid[:, column]
        for name, rate in (("rollout", "tokens_per_s"), ("update", "samples_per_s")):
            style = {"color": colours[name], "marker": "o", "markersize": 4}
            above.plot(x, [row[rate] for row in rows], label=labels[name], **style)
            memory = [max(row[name]["peak_mib"], 0.1) for row in rows]
            below.plot(x, memory, label=f"{name}: MiB added", **style)
        for panel in (above, below):
            panel.axvline(result["base"][axis], color="0.8", linewidth=1, zorder=0)
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(plain)
            if axis != "prefix":  # it begins at 0
                panel.set_xscale("log")
                panel.xaxis.set_minor_formatter(NullFormatter())
            panel.xaxis.set_major_locator(FixedLocator(x))
            panel.xaxis.set_minor_locator(FixedLocator([]))
            panel.xaxis.set_major_formatter(plain)
            panel.grid(alpha=0.25)
        if axis == "prefix":
            for panel in (above, below):
                panel.tick_params(axis="x", rotation=35)
        below.set_xlabel(UNITS[axis])
    grid[0, 0].set_ylabel("per second")
    grid[1, 0].set_ylabel("peak memory added, MiB")
    for panel in grid[:, 0]:
        panel.legend(fontsize=8, frameon=False)
    base = ", ".join(f"{name} {value:,}" for name, value in result["base"].items())
    figure.suptitle(
        f"One axis at a time around the base (grey): {base}; suffix {result['suffix']}, "
        f"response {result['new']} tokens\n{result['machine']} ({result['cores_used']} used)",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
