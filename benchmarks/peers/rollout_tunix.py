"""Tunix's side of `benchmarks/rollout.py`: its own JAX Sampler on a batch per step."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.qwen2.model import ModelConfig
from tunix.models.qwen2.params import create_model_from_safe_tensors

folder = Path(sys.argv[1])
sizes = json.loads((folder / "model" / "config.json").read_text())
config = ModelConfig(
    num_layers=sizes["num_hidden_layers"],
    vocab_size=sizes["vocab_size"],
    embed_dim=sizes["hidden_size"],
    hidden_dim=sizes["intermediate_size"],
    num_heads=sizes["num_attention_heads"],
    head_dim=sizes["hidden_size"] // sizes["num_attention_heads"],
    num_kv_heads=sizes["num_key_value_heads"],
    rope_theta=int(sizes["rope_theta"]),
    norm_eps=sizes["rms_norm_eps"],
    use_tied_embedding=sizes["tie_word_embeddings"],
)
auto = jax.sharding.AxisType.Auto
mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(auto, auto))
model = create_model_from_safe_tensors(str(folder / "model"), config, mesh, jnp.float32)


class Numbers:
    """A tokenizer of token numbers; no token begins or ends a text."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0

    def eos_id(self) -> int:
        return -1

    def pad_id(self) -> int:
        return 0


samplers: dict[str, Sampler] = {}


def answer(workload: str) -> np.ndarray:
    """``[steps, groups, members, new]``."""
    work = np.load(folder / f"{workload}.npz")
    prefix, suffix, new = work["prefix"], work["suffix"], int(work["new"])
    steps, groups, members, width = suffix.shape
    length = prefix.shape[1] + width
    if workload not in samplers:
        cache = CacheConfig(length + new, config.num_layers, config.num_kv_heads, config.head_dim)
        samplers[workload] = Sampler(model, Numbers(), cache)
    out = np.zeros((steps, groups, members, new), np.int32)
    for step in range(steps):
        shared = np.broadcast_to(prefix[:, None], (groups, members, prefix.shape[1]))
        prompts = np.concatenate([shared, suffix[step]], -1).reshape(-1, length)
        found = samplers[workload](
            [" ".join(map(str, prompt)) for prompt in prompts.tolist()],
            max_generation_steps=new,
            max_prompt_length=length,
            temperature=0.0,
        )
        out[step] = np.array(found.tokens).reshape(groups, members, new)
    return out


for line in sys.stdin:
    workload = line.strip()
    with mesh:
        start = time.perf_counter()
        ids = answer(workload)
        seconds = time.perf_counter() - start
    np.save(folder / f"{workload}_tunix.npy", ids)
    version = f"{importlib.metadata.version('google-tunix')}, jax {jax.__version__}"
    print(json.dumps({"seconds": seconds, "version": version}), flush=True)
