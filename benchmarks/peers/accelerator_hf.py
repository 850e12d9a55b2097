"""Hugging Face's side of `benchmarks/accelerator.py`: `generate` with random weights."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers

folder = Path(sys.argv[1])
device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32


def make(sizes: dict) -> torch.nn.Module:
    """A Qwen2 of these sizes, made where it lies."""
    config = transformers.Qwen2Config(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["width"],
        intermediate_size=sizes["ffn"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        tie_word_embeddings=sizes["tied"],
    )
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def answer(model: torch.nn.Module, prompts: torch.Tensor, new: int) -> float:
    """Seconds of `new` greedy tokens for all prompts."""
    start = time.perf_counter()
    with torch.inference_mode():
        found = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            max_new_tokens=new,
            min_new_tokens=new,
            eos_token_id=None,
            pad_token_id=0,
        ).cpu()
    seconds = time.perf_counter() - start
    assert found.shape == (len(prompts), prompts.shape[1] + new), found.shape
    return seconds


for line in sys.stdin:
    ask = json.loads(line)
    prompts = np.load(folder / "prompts.npz")
    prefix, suffix = prompts["prefix"], prompts["suffix"]
    shared = np.broadcast_to(prefix[:, None], (*suffix.shape[:2], prefix.shape[-1]))
    tokens = torch.tensor(np.concatenate([shared, suffix], -1)).flatten(0, 1).to(device)
    model = make(ask["sizes"])
    found = []
    for new in ask["new"]:
        times = [answer(model, tokens, new) for _ in range(ask["rounds"] + 1)]
        median = statistics.median(times[1:])
        found.append((max(times[0] - median, 0.0), median))
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    out = {"seconds": found, "version": version, "device": name, "peak_gib": peak}
    print(json.dumps(out), flush=True)
    del model
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
