"""What XLA makes of decoding, prefill and the GRPO step for an accelerator that is not at hand.

    python benchmarks/compiled.py [--device h100] [--shapes 7B,1.5B,0.5B] [--json PATH]
    python benchmarks/compiled.py --device v5p:2x2x1 --mesh 1,4,1 --attention xla

Compiles the programs of `accelerator.py`, same shapes, without running them: for an H100 with
JAX's CUDA wheels (``pip install -e ".[cuda12]"``), for TPUs with ``pip install -e ".[tpu]"``, both
on any x86-64 Linux. Printed are, per program, seconds of compilation, device memory (what is handed
in and working memory), and for an H100 what its kernels do (`hlo.py`):

- kernels, and the gigabytes that they read and write; of these, how many by kernels that compute
  nothing (copies, slices, concatenations);
- an estimate of their time: each as long as its bytes at 3.35 TB/s or its operations at 989
  TFLOP/s take, whichever is more;
- that of the task (`flops.py`: nothing twice, no copies), and the quotient: about the share of the
  bound which a run could reach. It is no measurement: a kernel also has to start and reaches
  neither peak; what is small stays in the cache; and with the card at hand XLA tries kernels out.

On several devices all of this is one device's; what arrives from others is a column of its own and
takes no time here. A decode program is one turn of its loop.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # they need a driver
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import hlo  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import own  # noqa: E402
from accelerator import BUCKET, LONG, PROMPTS, RANKS, SAMPLES, SHORT  # noqa: E402
from flops import (  # noqa: E402
    SHAPES,
    Sizes,
    decode_bytes,
    decode_flops,
    prefill_flops,
    useful_step_flops,
)
from hardware import PEAKS  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from skillrl.inference import decode_state, sampler  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.models.config import TransformerConfig  # noqa: E402
from skillrl.models.fused import should_fuse, to_decode_layout  # noqa: E402
from skillrl.models.kv_cache import kv_zeros  # noqa: E402
from skillrl.models.lora import Lora  # noqa: E402
from skillrl.models.parameters import axes_tree, specs, unflatten  # noqa: E402
from skillrl.parallel import rules  # noqa: E402
from skillrl.parallel.mesh import make_mesh  # noqa: E402
from skillrl.training.batch import MicroBatch  # noqa: E402
from skillrl.training.partition import Partition, adapter  # noqa: E402

H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000 device_memory_size: 84929347584 l2_cache_size: 52428800
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
"""
"""The data sheet of an H100 SXM, as XLA wants it where there is no card to ask."""
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Subject:
    """A shape, and where it would run."""

    name: str
    sizes: Sizes
    config: TransformerConfig
    mesh: jax.sharding.Mesh
    rank: int

    @property
    def partition(self) -> Partition | None:
        """The adapter that is trained, or None."""
        return adapter(self.config, Lora(self.rank, 2.0 * self.rank), seed=0) if self.rank else None

    def params(self) -> Any:
        """Shapes of the policy, in the dtype of activations, each where it would lie."""
        dtype = jnp.dtype(self.config.dtype)
        shapes = {p: jax.ShapeDtypeStruct(s.shape, dtype) for p, s in specs(self.config).items()}
        tree = unflatten(shapes)
        return placed(tree, rules.tree_shardings(self.mesh, axes_tree(self.config), tree))

    def whole(self, tree: Any) -> Any:
        """Shapes of a tree that every device holds."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rules.replicated(self.mesh)),
            tree,
        )

    def rows(self, tree: Any, at: int = 0) -> Any:
        """Shapes of arrays whose axis `at` is split over devices as rows are."""

        def one(x: Any) -> jax.ShapeDtypeStruct:
            x = jax.ShapeDtypeStruct(np.shape(x), jax.dtypes.canonicalize_dtype(x.dtype))
            axes = tuple("rows" if axis == at else None for axis in range(x.ndim))
            return jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=rules.sharding(self.mesh, axes, x.shape)
            )

        return jax.tree.map(one, tree)


def placed(tree: Any, shardings: Any) -> Any:
    """Shapes with shardings."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings
    )


def made(function: Any, *arguments: Any, **static: Any) -> Any:
    """Shapes of what a jitted function gives, each where the compiler puts it."""
    lowered = function.lower(*arguments, **static)
    return placed(lowered.out_info, lowered.compile().output_shardings)


Program = tuple[str, Any, tuple, dict[str, Any], float, float]
"""Name, jitted function, arguments, named ones; operations and bytes that the task needs."""


def sampling(it: Subject) -> Iterator[Program]:
    """One prefix, all suffixes at once, and a decode step, as `accelerator.py` has them."""
    groups, members = PROMPTS["groups"], PROMPTS["members"]
    suffix, slots = PROMPTS["suffix"], groups * members
    policy, config, part = it.params(), it.config, it.partition
    if part:
        adapter = placed(part.shapes, rules.tree_shardings(it.mesh, part.axes, part.shapes))
        policy = made(jax.jit(part.join), adapter, policy)
    jitted = jax.jit(to_decode_layout, static_argnames=("dtype", "fuse"))
    params = made(jitted, policy, dtype=config.dtype, fuse=should_fuse(it.mesh))

    def ints(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    number = jax.ShapeDtypeStruct((), jnp.float32)
    seed = jax.eval_shape(lambda: jax.random.key(0))

    flops = prefill_flops(it.sizes, {**PROMPTS, "suffix": 0, "members": 0}, shared=True) / groups
    arguments = (params, *it.whole((ints(BUCKET), ints())))
    yield "a prefix", sampler.prefill_prefix, arguments, {"config": config}, flops, 0.0
    kv = made(sampler.prefill_prefix, *arguments, config=config)

    flops = prefill_flops(it.sizes, PROMPTS, shared=True) - flops * groups
    rows = {
        "prefix_lengths": ints(slots),
        "tokens": ints(slots, suffix),
        "lengths": ints(slots),
        "rng_address": jax.ShapeDtypeStruct((slots, own.ADDRESS_WIDTH), jnp.uint32),
    }
    draws = {"temperature": number, "top_p": number}
    named = it.rows(rows) | it.whole({"seed_key": seed, **draws}) | {"config": config}
    yield "all suffixes", sampler.prefill, (params, (kv,) * slots), named, flops, 0.0

    init = decode_state.init_decode_state
    sizes = {"prefix": BUCKET, "suffix": suffix, "response": LONG}
    shape = decode_state.DecodeShape(prefix_rows=groups, group_members=members, **sizes)
    if it.mesh.size == 1:
        empty = lambda: init(shape=shape, config=config, mesh=it.mesh)  # noqa: E731
        state = it.whole(jax.eval_shape(empty))
    else:
        state = made(init, shape=shape, config=config, mesh=it.mesh)
    limits = {
        "awaited": jax.ShapeDtypeStruct((groups, members), bool),
        "min_finished": ints(),
        "max_steps": ints(),
    }
    work = {**PROMPTS, "new": SHORT + LONG}
    named = it.whole(limits | draws) | {"config": config, "stops": (1, 2), "mesh": it.mesh}
    needs = decode_flops(it.sizes, work), decode_bytes(it.sizes, work, shared=True)
    yield "decode step", decode_state.decode, (params, state), named, *needs


def training(it: Subject, micro: int, remat: str) -> Iterator[Program]:
    """A micro-batch's gradient, that of all prefixes, and the optimiser's step."""
    partition, params = it.partition, it.params()
    updater = own.make_step(
        it.config, params, partition, mesh=it.mesh, remat=remat, logprob_chunk=1024
    )
    state, frozen = updater.abstract_state, params if partition else {}
    devices = it.mesh.shape["data"] * it.mesh.shape["fsdp"]
    groups = max(SAMPLES["groups"], devices)
    samples = SAMPLES | {"groups": groups}
    rows = own.random_work(it.sizes, **samples)
    batch = own.make_batch(
        rows, shared=True, micro=micro, prefix_rows=devices, prefix_bucket=BUCKET
    )
    first: MicroBatch = it.rows(batch.micro_batches[0])
    prefix_rows = len(batch.micro_batches[0].prefix)

    def kv(count: int, dtype: Any) -> Any:
        shapes = jax.eval_shape(lambda: kv_zeros(it.config, (count, 1), BUCKET))
        return it.rows(jax.tree.map(lambda x: x.update(dtype=dtype), shapes), 1)

    grads = state.params
    flops = useful_step_flops(it.sizes, samples, rank=it.rank)
    of_prefixes = useful_step_flops(it.sizes, {**samples, "steps": 0}, rank=it.rank)
    of_micro = (flops - of_prefixes) * micro / rows.rows
    arguments = (state.params, kv(prefix_rows, it.config.dtype), frozen, first, grads)
    programs = updater.programs
    tokens = it.rows((np.zeros((groups, BUCKET), np.int32), np.zeros(groups, np.int32)))
    policy = made(jax.jit(partition.join), state.params, params) if partition else state.params
    read = prefill_flops(it.sizes, {**samples, "suffix": 0, "members": 0}, shared=True)
    yield "prefixes", programs["prefix_forward"], (policy, *tokens), {}, read, 0.0
    yield f"{micro} samples' gradient", programs["micro_step"], arguments, {}, of_micro, 0.0
    arguments = (state.params, frozen, *tokens, kv(groups, jnp.float32), grads)
    yield "prefixes' gradient", programs["prefix_backward"], arguments, {}, of_prefixes, 0.0
    yield "AdamW", programs["apply"], (state, grads), {}, 0.0, 0.0


def compile_one(it: Subject, program: Program, on_gpu: bool, keep: Path | None) -> dict[str, Any]:
    """The row of a program."""
    name, function, arguments, named, flops, bytes_ = program
    start = time.perf_counter()
    compiled = function.lower(*arguments, **named).compile()
    row: dict[str, Any] = {"shape": it.name, "program": name}
    row["compile_s"] = time.perf_counter() - start
    memory = compiled.memory_analysis()
    row["arguments_gib"] = memory.argument_size_in_bytes / GIB
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    row["working_gib"] = (memory.temp_size_in_bytes + new) / GIB
    if not on_gpu:
        return row
    text = compiled.as_text()
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{it.name} {name}.hlo".replace(" ", "_")).write_text(text)
    return row | of_kernels(text, flops / it.mesh.size, bytes_ / it.mesh.size)


def of_kernels(text: str, flops: float, bytes_: float) -> dict[str, Any]:
    """What the kernels of a program do, beside what its task needs."""
    peak = PEAKS["NVIDIA H100 80GB HBM3"]
    assert peak.bandwidth
    assert peak.flops
    found = hlo.kernels(text)
    moved = dict.fromkeys(("product", "attention", "move", "other", "sent"), 0)
    for kernel in found:
        moved[kernel.kind] += kernel.times * (kernel.read + kernel.written)
    sent = moved.pop("sent")
    needed = max(flops / peak.flops, bytes_ / peak.bandwidth)
    seconds = sum(kernel.seconds(peak.bandwidth, peak.flops) for kernel in found)
    return {
        "kernels": sum(kernel.times for kernel in found),
        "gbyte": sum(moved.values()) / 1e9,
        "gbyte_of": {kind: n / 1e9 for kind, n in moved.items()},
        "gbyte_sent": sent / 1e9,
        "gflop": sum(kernel.times * kernel.flops for kernel in found) / 1e9,
        "estimate_ms": 1000 * seconds,
        "needed_ms": 1000 * needed,
        "percent": 100 * needed / seconds if needed else None,
    }


def show(rows: list[dict[str, Any]]) -> None:
    heads = ["shape", "program", "compile s", "arguments GiB", "working GiB"]
    cells = [
        [row["shape"], row["program"]]
        + [f"{row[name]:.1f}" for name in ("compile_s", "arguments_gib", "working_gib")]
        for row in rows
    ]
    if rows and "kernels" in rows[0]:
        heads += ["kernels", "GB", "only moved", "sent", "estimate ms", "needed ms", "%"]
        for line, row in zip(cells, rows, strict=True):
            line += [
                f"{row['kernels']:,}",
                f"{row['gbyte']:,.1f}",
                f"{row['gbyte_of']['move']:,.1f}",
                f"{row['gbyte_sent']:,.1f}",
            ]
            line += [f"{row['estimate_ms']:,.2f}", f"{row['needed_ms']:,.2f}"]
            line.append(f"{row['percent']:.0f}" if row["percent"] else "")
    print(table(cells, heads))


def find_devices(name: str, count: int) -> tuple[list[jax.Device], bool]:
    """Devices to compile for, and whether they are GPUs."""
    if name != "h100":
        if importlib.util.find_spec("libtpu") is None:
            raise SystemExit(f"--device {name} needs the TPU compiler: pip install -e '.[tpu]'")
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        return list(topologies.get_topology_desc(name, platform="tpu").devices), False
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(importlib.util.find_spec(plugin) for plugin in plugins):
        raise SystemExit("--device h100 needs the CUDA compiler: pip install -e '.[cuda12]'")
    # JAX asks for the platform "gpu" by looking for a card (jax-ml/jax issue 23971).
    from jax._src import xla_bridge

    known = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda p: "cuda" if p in ("gpu", "cuda") else known(p)
    found = topologies.get_topology_desc(
        platform="cuda", target_config=H100, topology=f"1x{count}x1"
    )
    return list(found.devices), True


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="h100", help="h100, or a TPU topology as v5p:2x2x1")
    parser.add_argument("--mesh", default="1,1,1", help="mesh.data, mesh.fsdp, mesh.tensor")
    parser.add_argument("--shapes", default="7B,1.5B,0.5B", help=", ".join(SHAPES))
    parser.add_argument("--parts", default="sampling,training")
    parser.add_argument("--attention", default="cudnn", help="a name of model.attention")
    parser.add_argument("--rank", type=int, help="of the adapter, 0 for none; default: 16 at 7B")
    parser.add_argument("--micro", type=int, default=40, help="samples of a micro-batch")
    parser.add_argument("--remat", default="dots", choices=("none", "dots", "full"))
    parser.add_argument("--layers_one_by_one", action="store_true", help="scan_layers false")
    parser.add_argument("--keep", type=Path, help="write the compiled programs' text here")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    args = parser.parse_args()
    shapes, parts, sizes = (x.split(",") for x in (args.shapes, args.parts, args.mesh))
    for given, known in ((shapes, SHAPES), (parts, ("sampling", "training"))):
        if unknown := set(given) - set(known):
            raise SystemExit(f"unknown: {', '.join(unknown)}; choose from: {', '.join(known)}")
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise SystemExit(f"--mesh {args.mesh}: three numbers are wanted, as in 1,8,1")
    sizes = [int(size) for size in sizes]
    devices, on_gpu = find_devices(args.device, math.prod(sizes))
    mesh = make_mesh(*sizes, devices=devices)
    rows: list[dict[str, Any]] = []
    result = {"command": " ".join(sys.argv), "jax": jax.__version__, "rows": rows}
    result |= {"device": devices[0].device_kind, "mesh": args.mesh}
    for name in shapes:
        options = {"attention": args.attention, "scan_layers": not args.layers_one_by_one}
        options |= {"mesh": mesh}
        config = own.model_config(SHAPES[name], dtype="bfloat16", **options)
        rank = RANKS.get(name, 0) if args.rank is None else args.rank
        it = Subject(name, SHAPES[name], config, mesh, rank)
        programs = {"sampling": sampling(it), "training": training(it, args.micro, args.remat)}
        for part in parts:
            for program in programs[part]:
                rows.append(compile_one(it, program, on_gpu, args.keep))
                print(f"{name} {program[0]}", file=sys.stderr, flush=True)
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
