"""Hugging Face's side of `benchmarks/rollout.py`: `generate` on a batch per step."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers

folder = Path(sys.argv[1])
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
model.eval()


def answer(workload: str) -> np.ndarray:
    """``[steps, groups, members, new]``."""
    work = np.load(folder / f"{workload}.npz")
    prefix, suffix, new = work["prefix"], work["suffix"], int(work["new"])
    steps, groups, members, _ = suffix.shape
    out = np.zeros((steps, groups, members, new), np.int32)
    for step in range(steps):
        shared = np.broadcast_to(prefix[:, None], (groups, members, prefix.shape[1]))
        prompts = torch.tensor(np.concatenate([shared, suffix[step]], -1)).flatten(0, 1)
        with torch.inference_mode():
            found = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=False,
                max_new_tokens=new,
                min_new_tokens=new,
                eos_token_id=None,
                pad_token_id=0,
            )
        out[step] = found[:, prompts.shape[1] :].numpy().reshape(groups, members, new)
    return out


for line in sys.stdin:
    workload = line.strip()
    start = time.perf_counter()
    ids = answer(workload)
    seconds = time.perf_counter() - start
    np.save(folder / f"{workload}_hf.npy", ids)
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(json.dumps({"seconds": seconds, "version": version}), flush=True)
