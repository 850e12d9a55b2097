"""New tokens per second: this rollout engine, Hugging Face `generate`, Tunix's Sampler.

    python benchmarks/rollout.py --hf PYTHON --tunix PYTHON [--rounds N] [--json PATH]

PYTHON is the interpreter of a virtual environment that holds the peer (torch and transformers;
google-tunix, which needs Python >= 3.12); a peer that is not named is left out.

All load the same random Qwen2 (float32), use two threads, and answer the same prompts with
exactly as many tokens as asked (no stop token exists), greedily, so that what they answer can be
compared: the table says how many of their tokens agree with this engine's. Each side is a
process of its own that loads, answers once to warm up, and then answers round by round in turn
with the others; times are of the answering alone. There is no environment.

- one-shot: 32 prompts of 256 tokens, 32 new tokens each. No two share more than their first
  token (``<|im_start|>`` of every ChatML prompt).
- agentic: 4 groups x 8 members x 10 steps; the 32 prompts of a step have the prefix of their
  group (1,000 tokens: role, skills, task) and a suffix of their own (150 tokens); 24 new tokens.
  This engine computes a prefix once per group and policy; the new policy of every round means
  that it does so again in every round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from flops import SHAPES, rollout_flops  # noqa: E402

from skillrl.io.console import table  # noqa: E402

SIZES = SHAPES["tiny"]
ONE_SHOT = {"steps": 1, "groups": 32, "members": 1, "prefix": 1, "suffix": 255, "new": 32}
AGENTIC = {"steps": 10, "groups": 4, "members": 8, "prefix": 1000, "suffix": 150, "new": 24}
WORKLOADS = {"one-shot": ONE_SHOT, "agentic": AGENTIC}
BARS = {"one-shot": 1.5, "agentic": 3.5}
OURS = "skillrl"


class Side:
    """A process that answers a workload each time it is asked to."""

    def __init__(
        self,
        name: str,
        python: str,
        folder: Path,
        threads: int,
        script: str = "rollout",
        platforms: str | None = "cpu",
    ):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if platforms:
            env["JAX_PLATFORMS"] = platforms
        own = Path(python) == Path(sys.executable)
        env["PYTHONPATH"] = str(HERE.parent) if own else ""
        self.name = name
        self._process = subprocess.Popen(
            [python, str(HERE / "peers" / f"{script}_{name}.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        )

    def ask(self, workload: str) -> dict[str, Any]:
        """Seconds of one round; its answers are in a file of the folder."""
        assert self._process.stdin
        assert self._process.stdout
        print(workload, file=self._process.stdin, flush=True)
        for line in self._process.stdout:  # libraries print, too
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name}: it ended with status {self._process.wait()}")

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def prepare(folder: Path, seed: int) -> None:
    """The model directory and the prompts of both workloads."""
    import jax

    from skillrl.models import weights
    from skillrl.models.config import TransformerConfig
    from skillrl.models.transformer import init

    config = TransformerConfig(
        vocab_size=SIZES.vocab,
        hidden_size=SIZES.width,
        intermediate_size=SIZES.ffn,
        num_layers=SIZES.layers,
        num_heads=SIZES.heads,
        num_kv_heads=SIZES.kv_heads,
        head_dim=SIZES.head,
        max_positions=2048,
    )
    params = init(jax.random.key(seed), config)
    # Larger than a fresh model's, so that the most likely token is clearly the most likely.
    params = jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, params)
    weights.save(folder / "model", params, config, dtype="float32")
    rng = np.random.default_rng(seed)
    for name, w in WORKLOADS.items():
        shape = (w["steps"], w["groups"], w["members"])
        prefix = rng.integers(3, SIZES.vocab, (w["groups"], w["prefix"]))
        prefix[:, 0] = 2
        suffix = rng.integers(3, SIZES.vocab, (*shape, w["suffix"]))
        np.savez(folder / f"{name}.npz", prefix=prefix, suffix=suffix, new=w["new"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf", default="", help="python with torch and transformers")
    parser.add_argument("--tunix", default="", help="python with google-tunix")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    pythons = {OURS: sys.executable, "hf": args.hf, "tunix": args.tunix}
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rounds": args.rounds,
        "threads": args.threads,
        "load_before": os.getloadavg()[0],
        "workloads": {},
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, args.seed)
        sides = [Side(name, p, folder, args.threads) for name, p in pythons.items() if p]
        for workload, w in WORKLOADS.items():
            result["workloads"][workload] = measure(sides, workload, w, args.rounds, folder)
        for side in sides:
            side.close()
    result["load_after"] = os.getloadavg()[0]
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def measure(
    sides: list[Side], workload: str, w: dict[str, int], rounds: int, folder: Path
) -> dict[str, Any]:
    tokens = w["steps"] * w["groups"] * w["members"] * w["new"]
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    versions = {}
    for number in range(rounds + 1):
        for side in sides:
            answer = side.ask(workload)
            versions[side.name] = answer["version"]
            if number:  # the first warms up
                seconds[side.name].append(answer["seconds"])
    answers = {s.name: np.load(folder / f"{workload}_{s.name}.npy") for s in sides}
    found = {}
    for name, times in seconds.items():
        ids = answers[name]
        assert ids.size == tokens, f"{name} gave {ids.size} tokens, not {tokens}"
        assert 0 <= ids.min() <= ids.max() < SIZES.vocab, f"{name} gave tokens that do not exist"
        median = statistics.median(times)
        found[name] = {
            "version": versions[name],
            "seconds": times,
            "tokens_per_second": tokens / median,
            "spread": [tokens / max(times), tokens / min(times)],
            "agree": float((ids == answers[OURS]).mean()),
            "gflop": rollout_flops(SIZES, w, shared=name == OURS) / 1e9,
        }
    return found


def show(result: dict[str, Any]) -> None:
    for workload, sides in result["workloads"].items():
        ours = sides[OURS]["tokens_per_second"]
        rows = []
        for name, side in sides.items():
            low, high = side["spread"]
            rate = side["tokens_per_second"]
            rows.append(
                [
                    f"{name} {side['version']}",
                    f"{rate:,.0f} ({low:,.0f}-{high:,.0f})",
                    f"{ours / rate:.2f}",
                    f"{side['gflop']:,.1f}",
                    f"{side['gflop'] / statistics.median(side['seconds']):,.1f}",
                    f"{100 * side['agree']:.1f}",
                ]
            )
        print(f"\n{workload}")
        heads = ["side", "new tokens/s", "ours / it", "GFLOP", "GFLOP/s", "tokens that agree %"]
        print(table(rows, heads))
        peers = [side["tokens_per_second"] for name, side in sides.items() if name != OURS]
        if peers:
            print(f"ours / the faster peer: {ours / max(peers):.2f} (bar {BARS[workload]})")


if __name__ == "__main__":
    main()
