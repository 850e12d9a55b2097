"""Both of this project's sides of `benchmarks/train_step.py`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jax
import memory
import numpy as np

import skillrl
from skillrl.models import weights
from skillrl.models.hf_config import read_config
from skillrl.models.parameters import axes_tree
from skillrl.parallel import rules
from skillrl.parallel.mesh import make_mesh
from skillrl.training.batch import Micro, Sample, Shapes, make_minibatch
from skillrl.training.losses import grpo_loss
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.update import Updater, host_metrics, make_updater, with_reference


def build(config, params) -> Updater:
    """A GRPO step with the settings of all sides."""
    mesh = make_mesh()
    optimizer = make_optimizer(1e-6, total_steps=1000, weight_decay=0.0, max_grad_norm=1e9)
    shapes = jax.eval_shape(lambda: params)
    shardings = rules.tree_shardings(mesh, axes_tree(config), params)

    def loss(logprobs: jax.Array, micro: Micro):
        found, metrics = grpo_loss(
            logprobs,
            micro.old,
            micro.ref,
            micro.advantages,
            micro.weights,
            clip_low=0.2,
            clip_high=0.2,
            kl_coeff=0.01,
        )
        return found, {"loss": found, **metrics}

    return make_updater(
        config=config,
        loss=loss,
        optimizer=optimizer,
        mesh=mesh,
        param_shapes=shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(optimizer, shapes, shardings, rules.replicated(mesh)),
    )


def main(*, shared: bool) -> None:
    """Answers each line of standard input with one step."""
    folder = Path(sys.argv[1])
    config = read_config(folder / "model")
    params = weights.load(folder / "model", config, dtype="float32")
    work, drawn = np.load(folder / "agentic.npz"), np.load(folder / "samples.npz")
    prefix, suffix, response = work["prefix"], work["suffix"], drawn["response"]
    steps, groups, members, _ = suffix.shape
    samples, order = [], []
    # As in training: by task, member and step.
    for group in range(groups):
        for member in range(members):
            for step in range(steps):
                number = (step * groups + group) * members + member
                prompt = (*prefix[group].tolist(), *suffix[step, group, member].tolist())
                cut = prefix.shape[1] if shared else 1
                samples.append(
                    Sample(
                        prompt[:cut],
                        prompt[cut:],
                        tuple(response[step, group, member].tolist()),
                        tuple(drawn["old"][number].tolist()),
                        float(drawn["advantages"][number]),
                        number,
                    )
                )
                order.append(number)
    widths = len(samples[0].prefix_ids), len(samples[0].suffix_ids), len(samples[0].response_ids)
    rows, columns = (1, 8) if shared else (8, 1)
    shapes = Shapes(rows, columns, *((width,) for width in widths))
    batch = make_minibatch(samples, shapes)
    ref = drawn["ref"][order].reshape(-1, rows, columns, widths[2])
    batch = with_reference(batch, list(ref))
    updater = build(config, params)
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
