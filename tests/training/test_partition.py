"""What is trained of a policy: gradients of the part, the rest untouched and not copied."""

import jax
import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.models import lora, parameters
from skillrl.models.lora import Lora
from skillrl.parallel.rules import replicated, tree_shardings
from skillrl.training import partition
from skillrl.training.batch import make_minibatch
from skillrl.training.optimizer import make_optimizer, state_shardings
from skillrl.training.packing import Shapes
from skillrl.training.update import host_metrics, make_updater
from tests.inference.engines import PREFIX_BUCKETS, SUFFIX_BUCKETS
from tests.models.test_lora import random_adapter
from tests.training.plain import RESPONSE, distance, either, keep_gradient, plain, samples

SAMPLES = samples()
ROW = SUFFIX_BUCKETS[0] + RESPONSE
SHARED = Shapes(
    tokens=2 * 3 * ROW,
    samples_per_row=3,
    prefix_buckets=PREFIX_BUCKETS,
    row_buckets=(ROW,),
    response_buckets=(RESPONSE,),
)
SHAPE = Lora(3, 6.0)


def updater_of(part, config, mesh):
    """An updater for a partition, as `training.steps` builds it, that shows its gradient."""
    optimizer = keep_gradient(make_optimizer(0.05, total_steps=4))
    shardings = tree_shardings(mesh, part.axes, part.shapes)
    return make_updater(
        config=config,
        loss=either,
        optimizer=optimizer,
        mesh=mesh,
        param_shapes=part.shapes,
        param_shardings=shardings,
        optimizer_shardings=state_shardings(
            optimizer, part.shapes, param_shardings=shardings, scalar=replicated(mesh)
        ),
        join=part.join,
    )


@pytest.fixture(scope="module")
def batch():
    made = make_minibatch(SAMPLES, SHARED)
    assert len(made.micro_batches) > 1
    return made


@pytest.mark.slow
def test_an_adapter_s_gradient_is_the_kernel_s_through_the_low_rank_product(
    tiny_config, tiny_params, one_device, batch
):
    part = partition.adapter(tiny_config, SHAPE, seed=0)
    made = updater_of(part, tiny_config, one_device)
    trained = random_adapter(tiny_config, SHAPE)
    merged = part.merge(trained, tiny_params)
    want = plain(merged, tiny_config, either, SAMPLES, ref=None)

    before = jax.tree.map(np.array, tiny_params)
    state, metrics = made.update(made.init(trained), batch, part.frozen(tiny_params))
    got = parameters.flatten(state.optimizer.gradient)
    assert host_metrics(metrics)["skipped"] == 0
    adapter, kernels = parameters.flatten(trained), parameters.flatten(want.grads)
    for path in lora.specs(tiny_config, SHAPE):
        place = path[:-1]
        a, b = adapter[(*place, lora.A)], adapter[(*place, lora.B)]
        layers, rank = a.shape[0], a.shape[-1]
        g = np.asarray(kernels[(*place, "kernel")]).reshape(layers, a[0, ..., 0].size, -1)
        low, high = np.asarray(a).reshape(layers, -1, rank), np.asarray(b).reshape(layers, rank, -1)
        rule = ("lio,lro->lir", g, high) if path[-1] == lora.A else ("lir,lio->lro", low, g)
        expected = SHAPE.scale * np.einsum(*rule)
        assert distance(got[path].reshape(expected.shape), expected) < 2e-5, path
    jax.tree.map(np.testing.assert_array_equal, tiny_params, before)  # not touched, not donated


@pytest.mark.slow
def test_an_adapter_that_is_off_scores_as_the_base(tiny_config, tiny_params, one_device, batch):
    part = partition.adapter(tiny_config, SHAPE, seed=0)
    made = updater_of(part, tiny_config, one_device)
    off = made.score(tiny_params, batch)
    fresh = made.score(part.join(part.trained(tiny_params), tiny_params), batch)
    on = made.score(part.join(random_adapter(tiny_config, SHAPE), tiny_params), batch)
    for a, b, c in zip(off, fresh, on, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(np.asarray(a) - np.asarray(c)).max() > 0.01


def test_frozen_parameters_have_no_gradient_and_no_moments(
    tiny_config, tiny_params, one_device, batch
):
    part = partition.all_but(tiny_config, ["embed/*", "*norm*", "layers/attention/key/*"])
    made = updater_of(part, tiny_config, one_device)
    want = parameters.flatten(plain(tiny_params, tiny_config, either, SAMPLES, ref=None).grads)
    state, _ = made.update(made.init(part.trained(tiny_params)), batch, part.frozen(tiny_params))
    got = parameters.flatten(state.optimizer.gradient)
    assert set(got) == {
        path
        for path in parameters.specs(tiny_config)
        if path[0] != "embed" and "norm" not in "/".join(path) and "key" not in path
    }
    assert distance(got, {path: want[path] for path in got}) < 1e-5
    whole = parameters.flatten(part.merge(state.params, tiny_params))
    for path, leaf in parameters.flatten(tiny_params).items():
        assert (whole[path] is leaf) == (path not in got)
        assert path not in got or np.any(np.asarray(whole[path]) != np.asarray(leaf))


@pytest.mark.parametrize(
    ("patterns", "named"),
    [(["embedding"], "'embedding', which fits no parameter"), (["*"], "leaves nothing to train")],
)
def test_patterns_that_cannot_be_meant_are_refused(tiny_config, patterns, named):
    with pytest.raises(SkillRLError, match=named):
        partition.all_but(tiny_config, patterns)
