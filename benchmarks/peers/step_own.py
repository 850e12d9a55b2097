"""Both of this project's sides of `benchmarks/train_step.py`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import memory
import numpy as np
import own

import skillrl
from skillrl.models import weights
from skillrl.models.hf_config import read_config
from skillrl.training.update import host_metrics


def main(*, shared: bool) -> None:
    """Answers each line of standard input with one step."""
    folder = Path(sys.argv[1])
    config = read_config(folder / "model")
    params = weights.load(folder / "model", config, dtype="float32")
    work, drawn = np.load(folder / "agentic.npz"), np.load(folder / "samples.npz")
    batch = own.make_batch(
        own.Work(work["prefix"], work["suffix"], drawn["response"]),
        shared=shared,
        micro=8,
        old=drawn["old"],
        ref=drawn["ref"],
        advantages=drawn["advantages"],
    )
    updater = own.make_step(config, params)
    state = updater.init(params)
    del params
    for _ in sys.stdin:
        jax.block_until_ready(state)
        before = memory.resident_mib()
        memory.forget_peak()
        start = time.perf_counter()
        state, metrics = updater.update(state, batch)
        jax.block_until_ready(state)
        seconds = time.perf_counter() - start
        found = host_metrics(metrics)
        answer = {
            "seconds": seconds,
            "peak_mib": memory.peak_mib() - before,
            "loss": found["loss"],
            "grad_norm": found["grad_norm"],
            "version": skillrl.__version__,
        }
        print(json.dumps(answer), flush=True)
