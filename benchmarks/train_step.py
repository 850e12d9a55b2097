"""One GRPO step: this project's, its own without shared prefixes, and TRL's.

    python benchmarks/train_step.py --trl PYTHON [--rounds N] [--json PATH]

PYTHON is the interpreter of a virtual environment that holds trl and torch. The samples are those
of the agentic workload of `rollout.py` with random responses: 4 groups x 8 members x 10 steps,
each a prefix of 1,000 tokens that its group shares, a suffix of 150 and a response of 24. All sides
take the same weights (float32), samples, advantages and reference log-probabilities, two threads,
and micro-batches of 8 samples; a step is loss, gradient and AdamW over all 320 samples. Losses and
gradient norms are compared, so that nobody computes something else. Sides take turns, the first
round warms up; memory is what a step adds at its highest to the resident set before it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from flops import step_flops  # noqa: E402
from rollout import AGENTIC, SIZES, Side, prepare  # noqa: E402

from skillrl.io.console import table  # noqa: E402

OURS, UNSHARED, TRL = "skillrl", "unshared", "trl"
MICRO = 8
LENGTH = AGENTIC["prefix"] + AGENTIC["suffix"] + AGENTIC["new"]
BARS = {UNSHARED: 5.0, TRL: 4.0}


def add_samples(folder: Path, seed: int) -> None:
    """Responses, advantages and log-probabilities of the behaviour and reference policies."""
    import jax
    import jax.numpy as jnp

    from skillrl.models import weights
    from skillrl.models.hf_config import read_config
    from skillrl.models.transformer import logits

    work = np.load(folder / "agentic.npz")
    prefix, suffix, new = work["prefix"], work["suffix"], int(work["new"])
    steps, groups, members, _ = suffix.shape
    rng = np.random.default_rng(seed + 1)
    response = rng.integers(3, SIZES.vocab, (steps, groups, members, new))
    shared = np.broadcast_to(prefix[:, None], (steps, groups, members, prefix.shape[1]))
    rows = np.concatenate([shared, suffix, response], -1).reshape(-1, MICRO, LENGTH)
    config = read_config(folder / "model")
    params = weights.load(folder / "model", config, dtype="float32")

    @jax.jit
    def score(tokens: jax.Array) -> jax.Array:
        scores = jax.nn.log_softmax(logits(params, tokens, config=config)[:, -new - 1 : -1])
        return jnp.take_along_axis(scores, tokens[:, -new:, None], -1)[..., 0]

    logprobs = np.concatenate([score(jnp.asarray(part, jnp.int32)) for part in rows])
    noise = rng.normal(0, 0.1, (2, *logprobs.shape))
    np.savez(
        folder / "samples.npz",
        response=response,
        advantages=rng.normal(size=len(logprobs)).astype(np.float32),
        old=(logprobs + noise[0]).astype(np.float32),
        ref=(logprobs + noise[1]).astype(np.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trl", default="", help="python with trl and torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    pythons = {OURS: sys.executable, UNSHARED: sys.executable, TRL: args.trl}
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rounds": args.rounds,
        "threads": args.threads,
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, args.seed)
        add_samples(folder, args.seed)
        sides = [Side(name, p, folder, args.threads, "step") for name, p in pythons.items() if p]
        answers: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
        for _ in range(args.rounds + 1):
            for side in sides:
                answers[side.name].append(side.ask("step"))
        for side in sides:
            side.close()
    samples = AGENTIC["steps"] * AGENTIC["groups"] * AGENTIC["members"]
    result["sides"] = {
        name: {
            "version": found[0]["version"],
            "seconds": [answer["seconds"] for answer in found[1:]],
            "samples_per_second": samples / statistics.median(a["seconds"] for a in found[1:]),
            "peak_mib": max(answer["peak_mib"] for answer in found[1:]),
            "loss": found[0]["loss"],
            "grad_norm": found[0]["grad_norm"],
            "gflop": step_flops(SIZES, AGENTIC, shared=name == OURS) / 1e9,
        }
        for name, found in answers.items()
    }
    result["load_after"] = os.getloadavg()[0]
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def show(result: dict[str, Any]) -> None:
    ours = result["sides"][OURS]
    rows = []
    for name, side in result["sides"].items():
        seconds = statistics.median(side["seconds"])
        rows.append(
            [
                f"{name} {side['version']}",
                f"{side['samples_per_second']:.1f}",
                f"{ours['samples_per_second'] / side['samples_per_second']:.2f}",
                f"{BARS[name]:.1f}" if name in BARS else "",
                f"{side['peak_mib']:,.0f}",
                f"{side['gflop']:,.0f}",
                f"{side['gflop'] / seconds:.1f}",
                f"{side['loss']:.5f}",
                f"{side['grad_norm']:.5f}",
            ]
        )
    heads = ["side", "samples/s", "ours / it", "bar", "peak MiB", "GFLOP", "GFLOP/s"]
    print(table(rows, [*heads, "loss", "gradient norm"]))


if __name__ == "__main__":
    main()
