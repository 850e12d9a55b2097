"""This project's side of `benchmarks/rollout.py`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import own

import skillrl
from skillrl.inference.local import LocalEngine
from skillrl.models import weights
from skillrl.models.hf_config import read_config

folder = Path(sys.argv[1])
config = read_config(folder / "model")
params = weights.load(folder / "model", config, dtype="float32")
engines: dict[str, LocalEngine] = {}
for version, line in enumerate(sys.stdin):
    workload = line.strip()
    start = time.perf_counter()
    found = np.load(folder / f"{workload}.npz")
    prefix, suffix, new = found["prefix"], found["suffix"], int(found["new"])
    work = own.Work(prefix, suffix, np.zeros((*suffix.shape[:3], new), np.int32))
    if workload not in engines:
        engines[workload] = own.make_engine(config, work, shared=True)
    engines[workload].publish(params, version)  # a policy of this moment: nothing is cached
    ids = own.answer(engines[workload], work, shared=True)
    seconds = time.perf_counter() - start
    np.save(folder / f"{workload}_skillrl.npy", ids)
    print(json.dumps({"seconds": seconds, "version": skillrl.__version__}), flush=True)
