"""The update and the sampler on eight virtual devices against one, in a process of their own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MESHES = ("8,1,1", "2,2,2", "1,4,2", "2,2,2:cudnn")

SCRIPT = """
    import dataclasses
    import sys

    import jax
    import numpy as np
    import optax

    from skillrl.inference.base import Sampling
    from skillrl.inference.layout import Layout
    from skillrl.inference.local import LocalEngine
    from skillrl.models.config import TransformerConfig
    from skillrl.parallel.mesh import make_mesh
    from skillrl.training.batch import make_minibatch
    from skillrl.training.packing import Shapes
    from skillrl.training.update import host_metrics, with_reference
    from tests.conftest import spread_params
    from tests.inference import engines
    from tests.training.plain import RESPONSE, build, distance, grpo, keep_gradient, samples

    assert jax.device_count() == 8
    # In place of cuDNN's kernel the same function by XLA: what is around it is ours.
    kernel = jax.nn.dot_product_attention
    jax.nn.dot_product_attention = lambda *args, implementation, **options: kernel(*args, **options)
    tiny = TransformerConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=2,
        num_kv_heads=1, head_dim=8, rope_theta=1000.0,
    )
    # cuDNN's heads must be split evenly, and so tested with two.
    configs = {
        "xla": tiny, "cudnn": dataclasses.replace(tiny, num_kv_heads=2, attention="cudnn"),
    }
    row = engines.SUFFIX_BUCKETS[0] + RESPONSE
    shapes = Shapes(
        tokens=8 * row, samples_per_row=1, prefix_buckets=engines.PREFIX_BUCKETS,
        row_buckets=(row,), response_buckets=(RESPONSE,), devices=8,
    )
    batch = make_minibatch(samples(14), shapes)
    assert len(batch.micro_batches) == 2
    batch = with_reference(batch, [m.old - 0.3 for m in batch.micro_batches])

    def sample(config, mesh, params):
        buckets = engines.SUFFIX_BUCKETS[:1]
        fused = mesh.shape["fsdp"] == 4  # slower where outputs are split, but right
        layout = Layout(
            prefix_rows=4, group_members=2, prefix_buckets=engines.PREFIX_BUCKETS,
            suffix_buckets=buckets, cache_buckets=buckets, prefix_cache=8, prefill_tokens=48,
            fuse_projections=fused, devices=2,
        )
        engine = LocalEngine(
            config, layout, seed=engines.SEED, stops=engines.STOPS, mesh=mesh
        )
        engine.publish(params, 1)
        return engines.serve(engine, engines.REQUESTS[:8], Sampling(max_tokens=4))

    def run(mesh, config):
        config = dataclasses.replace(config, mesh=mesh)
        params = spread_params(config)
        updater, placed = build(config, params, mesh, grpo, keep_gradient(optax.sgd(1e-2)))
        state, metrics = updater.update(updater.init(placed), batch)
        # Sampling takes the longest to compile.
        sampled = config.attention == "xla" and mesh.shape["data"] < 4
        answers = sample(config, mesh, state.params) if sampled else ()
        # Parameters, and what has their shape, really are split.
        fsdp, tensor = mesh.shape["fsdp"], mesh.shape["tensor"]
        for tree in (state.params, state.optimizer.gradient):
            gate = tree["layers"]["mlp"]["gate"]["kernel"]
            assert gate.addressable_shards[0].data.shape == (2, 16 // fsdp, 32 // tensor)
        return jax.device_get(state), host_metrics(metrics), answers

    ones = {}
    for sizes in sys.argv[1:]:
        numbers, _, attention = sizes.partition(":")
        mesh = make_mesh(*map(int, numbers.split(",")))
        assert mesh.size == 8
        config = configs[attention or "xla"]
        one = ones.get(config)
        if one is None:
            one = ones[config] = run(make_mesh(devices=jax.devices()[:1]), config)
        state, metrics, answers = run(mesh, config)
        for name, value in one[1].items():
            gap = abs(metrics[name] - value) / max(abs(value), 1e-6)
            assert gap <= 1e-5, (sizes, name, metrics[name], value)
        assert metrics["grad_norm"] > 0.01
        for tree, other in (
            (state.optimizer.gradient, one[0].optimizer.gradient),
            (state.params, one[0].params),
        ):
            assert distance(tree, other) <= 1e-5, (sizes, distance(tree, other))
        for got, want in zip(answers or one[2], one[2], strict=True):
            assert got.ids == want.ids
            assert np.abs(np.subtract(got.logprobs, want.logprobs)).max() < 1e-4
        print(sizes)
"""


@pytest.mark.slow
def test_eight_devices_agree_with_one():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *MESHES],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            # Unoptimised machine code: compiling is all that this test spends time on.
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8"
            " --xla_backend_optimization_level=0",
            "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
        },
    )
    assert done.stdout.split() == list(MESHES), done.stderr[-4000:]
