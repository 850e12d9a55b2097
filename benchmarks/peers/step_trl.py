"""TRL's side of `benchmarks/train_step.py`: the loss of its `GRPOTrainer`, then AdamW."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import datasets
import memory
import numpy as np
import tokenizers
import torch
import transformers
import trl

MICRO = 8

folder = Path(sys.argv[1])
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
work, drawn = np.load(folder / "agentic.npz"), np.load(folder / "samples.npz")
prefix, suffix = work["prefix"], work["suffix"]
steps, groups, members, _ = suffix.shape
shared = np.broadcast_to(prefix[:, None], (steps, groups, members, prefix.shape[1]))
prompts = torch.tensor(np.concatenate([shared, suffix], -1)).flatten(0, 2)
responses = torch.tensor(drawn["response"]).flatten(0, 2)
count = len(prompts)

words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0}, unk_token="x"))
args = trl.GRPOConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=MICRO,
    gradient_accumulation_steps=count // MICRO,
    num_generations=members,
    max_completion_length=responses.shape[1],
    loss_type="grpo",
    beta=0.01,
    epsilon=0.2,
    learning_rate=1e-6,
    use_cpu=True,
    bf16=False,
    gradient_checkpointing=False,
    report_to=[],
)
trainer = trl.GRPOTrainer(
    model,
    reward_funcs=lambda completions, **_: [0.0] * len(completions),
    args=args,
    train_dataset=datasets.Dataset.from_dict({"prompt": ["x"] * count}),
    processing_class=transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="x", eos_token="x"
    ),
)
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0)
trainer.current_gradient_accumulation_steps = count // MICRO


def step() -> tuple[float, float]:
    """Loss and norm of the gradient over all samples."""
    total = 0.0
    for at in range(0, count, MICRO):
        part = slice(at, at + MICRO)
        inputs = {
            "prompt_ids": prompts[part],
            "prompt_mask": torch.ones_like(prompts[part]),
            "completion_ids": responses[part],
            "completion_mask": torch.ones_like(responses[part]),
            "advantages": torch.tensor(drawn["advantages"][part]),
            "old_per_token_logps": torch.tensor(drawn["old"][part]),
            "ref_per_token_logps": torch.tensor(drawn["ref"][part]),
        }
        loss = trainer._compute_loss(model, inputs)
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
    optimizer.step()
    optimizer.zero_grad()
    return total, norm


for _ in sys.stdin:
    before = memory.resident_mib()
    memory.forget_peak()
    start = time.perf_counter()
    loss, norm = step()
    seconds = time.perf_counter() - start
    answer = {
        "seconds": seconds,
        "peak_mib": memory.peak_mib() - before,
        "loss": loss,
        "grad_norm": norm,
        "version": f"{trl.__version__}, torch {torch.__version__}",
    }
    print(json.dumps(answer), flush=True)
