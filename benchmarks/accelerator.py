"""Decoding, prefill and the GRPO step of Qwen2.5's shapes against what the accelerator can do.

    python benchmarks/accelerator.py [--shapes 7B,1.5B,0.5B] [--parts decode,prefill,step]
        [--hf PYTHON] [--json PATH]
    python benchmarks/accelerator.py --plan

Random weights in bfloat16; 7B with a float32 LoRA adapter of rank 16 beside its frozen base, the
others trained whole. Everything through this project's engine and updater (`own.py`):

- decode: 8 groups x 8 members, a prefix of 1,000 tokens per group, 152 tokens of suffix; the time
  of 128 tokens each is that of 136 new tokens less that of 8, so neither prefill nor start counts.
  Bounds: all matrices, and all keys and values, have to be read at every step (bytes / bandwidth);
  all products have to be computed (operations / peak). The larger time binds.
- prefill: the same prompts from a policy of this moment up to their first token, prefixes included.
- step: forward, backward and AdamW over 2 groups of 80 samples (10 steps x 8 members, response
  64 tokens). MFU counts what the task needs and nothing that is computed twice (`flops.py`).
- reference (if asked for): log-probabilities of the same samples with the adapter off.

`--hf` names the interpreter of an environment with torch and transformers: `generate` answers the
same prompts in a process of its own, before this one takes the device. Every row is printed and
written as soon as it is measured. Where there is no accelerator the tiny shape runs on the CPU in
float32, and no bound is known. `--plan` prints the device memory that each part needs, without
touching a device. Two rounds after the one that compiles. Compilation is most of the time: at 7B on
an H100 the engine's alone took 139 s, the rounds some seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import own  # noqa: E402
from flops import (  # noqa: E402
    SHAPES,
    Sizes,
    decode_bytes,
    decode_flops,
    prefill_flops,
    useful_step_flops,
)
from hardware import Peak, describe, peak_gib, peak_of_device  # noqa: E402
from rollout import Side  # noqa: E402

from skillrl.models.config import TransformerConfig  # noqa: E402
from skillrl.models.lora import Lora  # noqa: E402
from skillrl.parallel.buckets import bucket_of, make_buckets  # noqa: E402
from skillrl.training.partition import Partition, adapter  # noqa: E402

# Multiples of 8, as the buckets of a run are: tensor cores want that.
PROMPTS = {"groups": 8, "members": 8, "prefix": 1000, "suffix": 152}
SAMPLES = {"steps": 10, "groups": 2, "members": 8, "prefix": 1000, "suffix": 152, "new": 64}
# As the released limit gives it.
BUCKET = bucket_of(PROMPTS["prefix"], make_buckets(6000), what="prefix")
SHORT, LONG = 8, 136  # new tokens; the difference is what decoding takes
RANKS = {"7B": 16}
TARGETS = {("7B", "decode"): 60, ("1.5B", "decode"): 45, ("7B", "prefill"): 50, ("7B", "step"): 50}
PARTS = ("decode", "prefill", "step", "reference")
COLUMNS = {"shape": 6, "part": 10, "rate": 20, "bound by bytes": 15, "bound by FLOP": 14}
COLUMNS |= {"binds": 6, "% of bound": 11, "target": 7, "compile s": 10, "run s": 8, "peak GiB": 9}


@dataclasses.dataclass
class Report:
    """Prints and writes rows as they come."""

    path: Path | None
    result: dict[str, Any]

    def __post_init__(self) -> None:
        print("  ".join(f"{name:>{width}}" for name, width in COLUMNS.items()), flush=True)

    def device(self, peak: Peak) -> None:
        """What the following rows are measured on."""
        bytes_, flops = (None if x is None else x / 1e12 for x in (peak.bandwidth, peak.flops))
        self.result |= {**describe(), "tb_per_s": bytes_, "tflop_per_s": flops}
        self.result["peak_source"] = peak.source
        known = f"{bytes_:.2f} TB/s, {flops:.0f} TFLOP/s ({peak.source})" if bytes_ else "no bound"
        print(f"{self.result['device']} ({self.result['machine']}): {known}", flush=True)

    def row(self, **row: Any) -> None:
        self.result["rows"].append(row)
        self.result["load_after"] = os.getloadavg()[0]
        unit = row["unit"]
        bound = row.get("bounds") or {}
        cells = {
            "shape": row["shape"],
            "part": row["part"],
            "rate": f"{row['rate']:,.1f} {unit}",
            "bound by bytes": f"{bound['bytes']:,.0f}" if "bytes" in bound else "",
            "bound by FLOP": f"{bound['FLOP']:,.0f}" if "FLOP" in bound else "",
            "binds": row.get("binds") or "",
            "% of bound": f"{row['percent']:.1f}" if row.get("percent") else "",
            "target": f"{row['target']}" if row.get("target") else "",
            "compile s": f"{row['compile_s']:.1f}" if "compile_s" in row else "",
            "run s": f"{row['run_s']:.2f}",
            "peak GiB": f"{row['peak_gib']:.1f}" if row.get("peak_gib") else "",
        }
        print("  ".join(f"{cells[name]:>{width}}" for name, width in COLUMNS.items()), flush=True)
        if self.path:
            self.path.write_text(json.dumps(self.result, indent=1) + "\n")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A shape as it is measured: on an accelerator in bfloat16, on a CPU in float32."""

    name: str
    sizes: Sizes
    config: TransformerConfig
    rank: int
    prompts: dict[str, int]
    samples: dict[str, int]
    long: int

    @property
    def partition(self) -> Partition | None:
        """The adapter that is trained, or None."""
        return adapter(self.config, Lora(self.rank, 2.0 * self.rank), seed=0) if self.rank else None


def subject(name: str, args: argparse.Namespace) -> Subject:
    options = {"dtype": "float32" if name == "tiny" else "bfloat16"}
    if args.attention:
        if "attention" not in {field.name for field in dataclasses.fields(TransformerConfig)}:
            raise SystemExit("--attention: this version of the model has one attention only")
        options["attention"] = args.attention
    if args.layers_one_by_one:
        options["scan_layers"] = False
    groups = args.groups or SAMPLES["groups"]
    prompts, samples, long = PROMPTS, SAMPLES | {"groups": groups}, LONG
    if name == "tiny":
        prompts = PROMPTS | {"groups": 2}
        samples = samples | {"groups": args.groups or 1}
        long = SHORT + 24
    sizes = SHAPES[name]
    config = own.model_config(sizes, **options)
    rank = RANKS.get(name, 0) if args.rank is None else args.rank
    return Subject(name, sizes, config, rank, prompts, samples, long)


def timed(work: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Seconds of compilation (the first round beyond the others) and the median of the others."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[1:])
    return max(seconds[0] - median, 0.0), median


def rate_and_bounds(
    count: float, seconds: float, flops: float, bytes_: float | None, peak: Peak
) -> dict[str, Any]:
    """`count` per second, what bytes and operations allow, and the share of what binds."""
    bounds = {}
    if peak.flops:
        bounds["FLOP"] = count * peak.flops / flops
    if peak.bandwidth and bytes_:
        bounds["bytes"] = count * peak.bandwidth / bytes_
    binds = min(bounds, key=bounds.__getitem__) if bounds else None
    percent = 100 * count / seconds / bounds[binds] if binds else None
    found = {"rate": count / seconds, "bounds": bounds, "binds": binds, "percent": percent}
    return {**found, "gflop": flops / 1e9, "gbyte": bytes_ and bytes_ / 1e9}


def measure_rollout(
    it: Subject, params: Any, parts: set[str], rounds: int, peak: Peak, report: Report
) -> None:
    """The rows of decode and prefill."""
    works = [own.random_work(it.sizes, steps=1, **it.prompts, new=new) for new in (SHORT, it.long)]
    at_once = it.prompts["groups"] * it.prompts["members"]
    engine = own.make_engine(
        it.config, works[1], shared=True, prefill=at_once, prefix_bucket=BUCKET
    )
    partition = it.partition
    policy = partition.join(partition.trained(params), params) if partition else params
    engine.publish(policy, 0)
    compile_short, short = timed(lambda: own.answer(engine, works[0], shared=True), rounds)
    compile_long, long = timed(lambda: own.answer(engine, works[1], shared=True), rounds)
    token = (long - short) / (it.long - SHORT)
    width = jnp.dtype(it.config.dtype).itemsize
    prompts = it.prompts["groups"] * it.prompts["members"]
    work = {**it.prompts, "new": SHORT + it.long}  # halfway: the middle of what is timed
    common = {"shape": it.name, "peak_gib": peak_gib(), "compile_s": compile_short + compile_long}
    if "decode" in parts:
        bytes_ = decode_bytes(it.sizes, work, shared=True, width=width)
        found = rate_and_bounds(prompts, token, decode_flops(it.sizes, work), bytes_, peak)
        more = {"unit": "tokens/s", "run_s": long, "ms_per_step": 1000 * token}
        report.row(
            **common, part="decode", **found, **more, target=TARGETS.get((it.name, "decode"))
        )
    if "prefill" in parts:
        versions = iter(range(1, rounds + 2))

        def fresh() -> None:
            engine.publish(policy, next(versions))
            own.answer(engine, works[0], shared=True)

        _, first = timed(fresh, rounds)
        seconds = first - (SHORT - 1) * token
        tokens = it.prompts["groups"] * it.prompts["prefix"] + prompts * it.prompts["suffix"]
        found = rate_and_bounds(
            tokens, seconds, prefill_flops(it.sizes, it.prompts, shared=True), None, peak
        )
        more = {"unit": "tokens/s", "run_s": seconds, "prefixes_s": first - short}
        report.row(
            **common, part="prefill", **found, **more, target=TARGETS.get((it.name, "prefill"))
        )


def measure_step(
    it: Subject, params: Any, parts: set[str], args: argparse.Namespace, peak: Peak, report: Report
) -> None:
    """The rows of the GRPO step and of the reference policy's log-probabilities."""
    partition = it.partition
    updater = own.make_step(
        it.config, params, partition, remat=args.remat, logprob_chunk=args.logprob_chunk
    )
    work = own.random_work(it.sizes, **it.samples)
    batch = own.make_batch(work, shared=True, micro=args.micro, prefix_bucket=BUCKET)
    settings = {"micro": args.micro, "remat": args.remat, "attention": args.attention or "default"}
    settings |= {"rank": it.rank, **it.samples}
    if "step" in parts:
        state = updater.init(partition.trained(params) if partition else params)
        frozen = partition.frozen(params) if partition else None

        def update() -> Any:
            nonlocal state
            state, metrics = updater.update(state, batch, frozen)
            return state, metrics

        compiled, seconds = timed(update, args.rounds)
        flops = useful_step_flops(it.sizes, it.samples, rank=it.rank)
        found = rate_and_bounds(work.rows, seconds, flops, None, peak)
        more = {"unit": "samples/s", "run_s": seconds, "compile_s": compiled}
        more |= {
            "target": TARGETS.get((it.name, "step")),
            "peak_gib": peak_gib(),
            "settings": settings,
        }
        report.row(shape=it.name, part="step", **found, **more)
        del state
    if "reference" in parts:
        compiled, seconds = timed(lambda: updater.score(params, batch), args.rounds)
        flops = useful_step_flops(it.sizes, it.samples) / 3
        found = rate_and_bounds(work.rows, seconds, flops, None, peak)
        more = {"unit": "samples/s", "run_s": seconds, "compile_s": compiled}
        report.row(shape=it.name, part="reference", **found, **more, settings=settings)


def measure_hf(python: str, subjects: list[Subject], rounds: int, report: Report) -> None:
    """`generate` on the same prompts, every prompt whole: it shares no prefix."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        side = Side("hf", python, folder, os.cpu_count() or 1, "accelerator", platforms=None)
        for it in subjects:
            work = own.random_work(it.sizes, steps=1, **it.prompts, new=1)
            np.savez(folder / "prompts.npz", prefix=work.prefix, suffix=work.suffix[0])
            sizes = dataclasses.asdict(it.sizes)
            ask = {"sizes": sizes, "new": [SHORT, it.long], "rounds": rounds}
            answer = side.ask(json.dumps(ask))
            prompts = it.prompts["groups"] * it.prompts["members"]
            (_, short), (start, long) = answer["seconds"]
            token = (long - short) / (it.long - SHORT)
            common = {"shape": it.name, "version": answer["version"], "device": answer["device"]}
            common |= {"peak_gib": answer["peak_gib"], "unit": "tokens/s"}
            report.row(
                **common,
                part="HF decode",
                rate=prompts / token,
                run_s=long,
                compile_s=start,
                ms_per_step=1000 * token,
            )
            seconds = short - (SHORT - 1) * token
            tokens = prompts * (it.prompts["prefix"] + it.prompts["suffix"])
            report.row(**common, part="HF prefill", rate=tokens / seconds, run_s=seconds)
        side.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", default="7B,1.5B,0.5B", help=", ".join(SHAPES))
    parser.add_argument("--parts", default="decode,prefill,step", help=", ".join(PARTS))
    parser.add_argument("--hf", default="", help="python with torch and transformers")
    parser.add_argument("--rounds", type=int, default=2, help="after the one that compiles")
    parser.add_argument("--groups", type=int, default=0, help="of 80 samples in a GRPO step")
    parser.add_argument("--rank", type=int, help="of the adapter, 0 for none; default: 16 at 7B")
    parser.add_argument("--micro", type=int, default=40, help="samples of a micro-batch")
    parser.add_argument("--remat", default="dots", choices=("none", "dots", "full"))
    parser.add_argument("--logprob_chunk", type=int, default=1024)
    parser.add_argument("--attention", default="", help="a value of TransformerConfig.attention")
    parser.add_argument("--layers_one_by_one", action="store_true", help="scan_layers false")
    parser.add_argument("--plan", action="store_true", help="print the memory needed, and stop")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    args = parser.parse_args()
    shapes, parts = args.shapes.split(","), set(args.parts.split(","))
    for given, known in ((shapes, SHAPES), (parts, PARTS)):
        if unknown := set(given) - set(known) - {""}:
            raise SystemExit(f"unknown: {', '.join(unknown)}; choose from: {', '.join(known)}")
    if args.plan:
        from fits import show

        show([subject(name, args) for name in shapes], micro=args.micro, remat=args.remat)
        return
    report = Report(args.json, {"command": " ".join(sys.argv), "rounds": args.rounds, "rows": []})
    # A device that JAX has taken has no room for another process: the peer goes first.
    if accelerator := os.environ.get("JAX_PLATFORMS", "") != "cpu" and _visible():
        subjects = [subject(name, args) for name in shapes]
    else:
        subjects = [subject("tiny", args)]
        print("no accelerator is at hand: the tiny shape on the CPU, for which no bound is known")
    if args.hf:
        measure_hf(args.hf, subjects, args.rounds, report)
    peak = peak_of_device()
    report.device(peak)
    if accelerator == (jax.default_backend() == "cpu"):
        raise SystemExit(f"an accelerator is there: {accelerator}; JAX has {jax.devices()}")
    for it in subjects:
        start = time.perf_counter()
        params = jax.block_until_ready(own.random_policy(it.config))
        print(f"{it.name}: weights in {time.perf_counter() - start:.1f} s", flush=True)
        if parts & {"decode", "prefill"}:
            measure_rollout(it, params, parts, args.rounds, peak, report)
            gc.collect()
        if parts & {"step", "reference"}:
            measure_step(it, params, parts, args, peak, report)
        del params
        jax.clear_caches()
        gc.collect()


def _visible() -> bool:
    """Whether a device other than the CPU is there, without taking it."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/dev").glob("accel*"))


if __name__ == "__main__":
    main()
