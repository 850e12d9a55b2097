"""This project's side of `benchmarks/rollout.py`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import skillrl
from skillrl.inference.base import Generate, Sampling
from skillrl.inference.local import Layout, LocalEngine
from skillrl.models import weights
from skillrl.models.hf_config import read_config
from skillrl.parallel.addresses import WIDTH
from skillrl.parallel.mesh import make_mesh

folder = Path(sys.argv[1])
config = read_config(folder / "model")
params = weights.load(folder / "model", config, dtype="float32")
engines: dict[str, LocalEngine] = {}
version = 0


def answer(workload: str) -> np.ndarray:
    """``[steps, groups, members, new]`` of a policy that was published this moment."""
    global version
    work = np.load(folder / f"{workload}.npz")
    prefix, suffix, new = work["prefix"], work["suffix"], int(work["new"])
    steps, groups, members, width = suffix.shape
    if workload not in engines:
        layout = Layout(groups, members, (prefix.shape[1],), (width,), groups)
        engines[workload] = LocalEngine(config, layout, seed=0, stops=(), mesh=make_mesh())
    engine = engines[workload]
    version += 1
    engine.publish(params, version)
    sampling = Sampling(temperature=0.0, max_tokens=new)
    out = np.zeros((steps, groups, members, new), np.int32)
    for step in range(steps):
        requests = [
            Generate(
                tuple(prefix[group].tolist()),
                tuple(suffix[step, group, member].tolist()),
                (0,) * WIDTH,
            )
            for group in range(groups)
            for member in range(members)
        ]
        found = engine.generate(requests, sampling)
        out[step] = np.array([f.ids for f in found]).reshape(groups, members, new)
    return out


for line in sys.stdin:
    workload = line.strip()
    start = time.perf_counter()
    ids = answer(workload)
    seconds = time.perf_counter() - start
    np.save(folder / f"{workload}_skillrl.npy", ids)
    print(json.dumps({"seconds": seconds, "version": skillrl.__version__}), flush=True)
