"""The two-pass update against the plain computation over whole prompts."""

import dataclasses

import jax
import numpy as np
import pytest

from skillrl.inference.base import Sampling
from skillrl.inference.layout import Layout
from skillrl.inference.local import LocalEngine
from skillrl.models.transformer import logits
from skillrl.training.batch import Sample, make_minibatch
from skillrl.training.optimizer import make_optimizer
from skillrl.training.packing import Shapes
from skillrl.training.update import host_metrics, with_old, with_reference
from tests.inference.engines import PREFIX_BUCKETS, REQUESTS, SEED, STOPS, SUFFIX_BUCKETS, serve
from tests.training.plain import (
    RESPONSE,
    WIDTH,
    build,
    distance,
    either,
    keep_gradient,
    plain,
    samples,
    sft,
)

SAMPLES = samples()
ROW = SUFFIX_BUCKETS[0] + RESPONSE
ONE = Shapes(
    tokens=4 * ROW,
    samples_per_row=1,
    prefix_buckets=PREFIX_BUCKETS,
    row_buckets=(ROW,),
    response_buckets=(RESPONSE,),
)
SHARED = dataclasses.replace(ONE, tokens=2 * 3 * ROW, samples_per_row=3)
SORTED = Shapes(
    tokens=4 * ROW,
    samples_per_row=2,
    prefix_buckets=(4, *PREFIX_BUCKETS),
    row_buckets=(5, 8, ROW),
    response_buckets=(2, RESPONSE),
)
SHAPES = {"one": ONE, "shared": SHARED, "sorted": SORTED}
EACH = pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(ONE, id="one", marks=pytest.mark.slow),
        pytest.param(SHARED, id="shared"),
        pytest.param(SORTED, id="sorted", marks=pytest.mark.slow),
    ],
)
STEPS = 4
REF = np.random.default_rng(9).normal(-4.0, 0.5, (len(SAMPLES), RESPONSE)).astype(np.float32)
REFERENCES = {"sft": np.ones_like(REF), "grpo": REF}


def slots(batch):
    """(micro-batch, slot, suffix ids, response ids) of every sample."""
    for i, micro in enumerate(batch.micro_batches):
        for slot in zip(*np.nonzero(micro.suffix_lengths), strict=True):
            s, r = micro.suffix_lengths[slot], micro.response_lengths[slot]
            ids = micro.tokens[slot].tolist()
            yield i, slot, tuple(ids[:s]), tuple(ids[s : s + r])


def rows_of(batch, values):
    """Values [B, G, A] per micro-batch, by the (suffix, response) of the slot they lie in."""
    return {(s, r): np.asarray(values[i])[slot][: len(r)] for i, slot, s, r in slots(batch)}


def with_ref(batch, values):
    """The row of `values` [samples, A] put where each sample is."""
    mine = {(s.suffix_ids, s.response_ids): ref for s, ref in zip(SAMPLES, values, strict=True)}
    found = [np.zeros_like(micro.old) for micro in batch.micro_batches]
    for i, slot, suffix, response in slots(batch):
        width = found[i].shape[-1]
        found[i][slot] = mine[suffix, response][:width]
    return with_reference(batch, found)


@pytest.fixture(scope="module")
def updater(tiny_config, tiny_params, one_device):
    """An updater that shows its gradient, and the placed parameters."""
    optimizer = keep_gradient(make_optimizer(0.05, schedule="linear", total_steps=STEPS))
    return build(tiny_config, tiny_params, one_device, either, optimizer)


@pytest.fixture(scope="module")
def expected(tiny_config, tiny_params):
    """The plain computation, by name of the loss."""
    return {
        name: plain(tiny_params, tiny_config, either, SAMPLES, ref=ref)
        for name, ref in REFERENCES.items()
    }


def run(updater, batch):
    """Metrics and gradient of one update."""
    made, params = updater
    state, metrics = made.update(made.init(params), batch)
    return host_metrics(metrics), state.optimizer.gradient


@EACH
@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_two_passes_equal_the_plain_gradient(updater, expected, name, shapes):
    batch = with_ref(make_minibatch(SAMPLES, shapes), REFERENCES[name])
    assert len(batch.micro_batches) > 1
    metrics, grads = run(updater, batch)
    want = expected[name]
    assert distance(grads, want.grads) < 1e-5
    for key, value in want.metrics.items():
        assert metrics[key] == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(want.grads)))
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    assert metrics["skipped"] == 0.0


def test_the_blocks_are_of_all_kinds():
    """Widths, sizes, counts of scores, empty slots and empty rows among the prefixes."""
    made = {name: make_minibatch(SAMPLES, shapes) for name, shapes in SHAPES.items()}
    assert {micro.tokens.shape[0] for micro in made["one"].micro_batches} == {1, 4}
    assert any((micro.suffix_lengths == 0).any() for micro in made["shared"].micro_batches)
    batch = made["sorted"]
    assert {micro.tokens.shape[-1] for micro in batch.micro_batches} == {5, 8, 12}
    assert {micro.weights.shape[-1] for micro in batch.micro_batches} == {2, 6}
    assert any((micro.suffix_lengths == 0).any() for micro in batch.micro_batches)
    assert {block.tokens.shape for block in batch.prefixes} == {(1, 12), (3, 4)}
    assert any((block.index >= batch.prefix_room).any() for block in batch.prefixes)


def test_the_comparison_covers_every_part_of_the_loss(expected):
    """Clipping, KL and every parameter take part, or the test above would prove little."""
    metrics = expected["grpo"].metrics
    assert 0 < metrics["clip_fraction"] < 1
    assert metrics["kl"] > 0.01
    assert distance(expected["sft"].grads, expected["grpo"].grads) > 0.1
    for want in expected.values():
        live = jax.tree.map(lambda g: float(np.abs(g).max()), want.grads)
        assert min(jax.tree.leaves(live)) > 0


def test_the_order_and_cut_of_micro_batches_change_rounding_only(updater):
    batch = with_ref(make_minibatch(SAMPLES, SHARED), REF)
    _, grads = run(updater, batch)
    turned = dataclasses.replace(batch, micro_batches=batch.micro_batches[::-1])
    assert distance(run(updater, turned)[1], grads) < 1e-6
    # The same rows, one to a micro-batch of two: the other's slots are empty.
    whole, *halves = batch.micro_batches
    assert len(whole.prefix) == 2
    for keep in ([1, 0], [0, 1]):
        real = np.array(keep, bool)
        halves.append(
            jax.tree.map(
                lambda x, m=real: np.where(m.reshape(-1, *[1] * (x.ndim - 1)), x, 0), whole
            )
        )
    cut = dataclasses.replace(batch, micro_batches=tuple(halves))
    assert distance(run(updater, cut)[1], grads) < 1e-6


@EACH
def test_scores_are_the_log_probabilities_of_the_responses(updater, expected, shapes):
    made, params = updater
    batch = make_minibatch(SAMPLES, shapes)
    scores = rows_of(batch, made.score(params, batch))
    for s, want in zip(SAMPLES, expected["grpo"].logprobs, strict=True):
        got = scores[s.suffix_ids, s.response_ids]
        np.testing.assert_allclose(got, want[: len(s.response_ids)], atol=1e-5)


def test_recomputed_log_probabilities_make_every_ratio_one(updater):
    made, params = updater
    batch = make_minibatch(SAMPLES, SHARED)
    scores = jax.device_get(made.score(params, batch))  # of the host: else compiled once more
    metrics, _ = run(updater, with_reference(with_old(batch, scores), scores))
    assert metrics["ratio"] == pytest.approx(1, abs=1e-6)
    assert metrics["clip_fraction"] == 0
    assert metrics["kl"] == pytest.approx(0, abs=1e-9)
    assert metrics["sampler_gap_max"] < 1e-5


def test_the_sampler_and_the_trainer_agree(updater, tiny_config, tiny_params, one_device):
    engine = LocalEngine(
        tiny_config,
        Layout(
            prefix_rows=3,
            group_members=1,
            prefix_buckets=PREFIX_BUCKETS,
            suffix_buckets=SUFFIX_BUCKETS,
            cache_buckets=SUFFIX_BUCKETS,
            prefix_cache=4,
        ),
        seed=SEED,
        stops=STOPS,
        mesh=one_device,
    )
    engine.publish(tiny_params, 0)
    requests = [r for r in REQUESTS if len(r.suffix_ids) <= SUFFIX_BUCKETS[0]]
    answers = serve(engine, requests, Sampling(temperature=1.0, max_tokens=RESPONSE))
    sampled = [
        Sample(
            prefix_ids=r.prefix_ids,
            suffix_ids=r.suffix_ids,
            response_ids=a.ids,
            old_logprobs=a.logprobs,
        )
        for r, a in zip(requests, answers, strict=True)
    ]
    assert {len(s.response_ids) for s in sampled} > {RESPONSE}  # lengths differ
    batch = make_minibatch(sampled, SHARED)
    made, params = updater
    scores = rows_of(batch, made.score(params, batch))
    gaps = [np.abs(scores[s.suffix_ids, s.response_ids] - s.old_logprobs).max() for s in sampled]
    assert max(gaps) < 1e-4


# --- the optimiser's part -------------------------------------------------------------


def same_bits(tree, other):
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    )


def test_a_step_lowers_the_loss_and_leaves_the_given_parameters_alone(updater, tiny_params):
    made, params = updater
    batch = make_minibatch(SAMPLES, SHARED)
    batch = with_reference(batch, jax.device_get(made.score(params, batch)))
    state, first = made.update(made.init(params), batch)
    assert int(state.step) == 1
    state, second = made.update(state, batch)
    assert int(state.step) == 2
    assert second["policy_loss"] < first["policy_loss"]
    assert same_bits(params, tiny_params)  # init copied them, though states are donated
    assert not same_bits(state.params, tiny_params)


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(updater):
    made, params = updater
    good = make_minibatch(SAMPLES, SHARED)
    state, _ = made.update(made.init(params), good)  # moments are not 0 any more
    before = jax.device_get(state)
    for wrong in (np.nan, np.inf):
        broken = dataclasses.replace(SAMPLES[0], advantage=wrong)
        state, metrics = made.update(state, make_minibatch([broken, *SAMPLES[1:]], SHARED))
        assert host_metrics(metrics)["skipped"] == 1.0
        assert same_bits(state, before)
    state, metrics = made.update(state, good)
    assert host_metrics(metrics)["skipped"] == 0.0
    assert int(state.step) == 2
    assert not same_bits(state.params, before.params)


def test_parameters_that_are_not_finite_are_counted_where_the_gradient_is(updater):
    made, params = updater
    apply = made.programs["apply"]
    for value, skipped in ((0.5, 0.0), (np.inf, 1.0), (np.nan, 1.0)):
        state = made.init(params)
        leaves, tree = jax.tree.flatten(state.params)
        leaves[-1] = leaves[-1].at[0].set(value)  # e.g. of a tensor that no token has read
        state = dataclasses.replace(state, params=jax.tree.unflatten(tree, leaves))
        _, metrics = apply(state, jax.tree.map(np.zeros_like, params))
        assert host_metrics(metrics) == {"grad_norm": 0.0, "skipped": skipped}


def test_the_same_batch_gives_the_same_bits(updater):
    made, params = updater
    batch = make_minibatch(SAMPLES, SHARED)
    one, _ = made.update(made.init(params), batch)
    other, _ = made.update(made.init(params), batch)
    assert same_bits(one, other)


def test_learning_rate_zero_leaves_every_bit(updater):
    """At the end of a linear schedule the rate is 0, as it is throughout for a frozen policy."""
    made, params = updater
    batch = make_minibatch(SAMPLES, SHARED)
    state = made.init(params)
    for _ in range(STEPS):
        state, _ = made.update(state, batch)
    before = jax.device_get(state)
    state, metrics = made.update(state, batch)
    assert host_metrics(metrics)["grad_norm"] > 0
    assert int(state.step) == STEPS + 1
    assert same_bits(state.params, before.params)
    assert not same_bits(state.optimizer, before.optimizer)


def test_the_abstract_state_describes_the_state(updater):
    made, params = updater
    state = made.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(made.abstract_state)
    for leaf, spec in zip(
        jax.tree.leaves(state), jax.tree.leaves(made.abstract_state), strict=True
    ):
        assert (leaf.shape, leaf.dtype) == (spec.shape, spec.dtype)
        assert leaf.sharding.is_equivalent_to(spec.sharding, leaf.ndim)


@pytest.mark.slow
def test_entropy_is_added_to_the_objective(tiny_config, tiny_params, one_device):
    """The two-pass gradient against that of mean(-log p) - coeff * mean(entropy) in one piece."""
    coeff = 0.7
    made, params = build(
        tiny_config,
        tiny_params,
        one_device,
        sft,
        keep_gradient(make_optimizer(0.05, schedule="linear", total_steps=STEPS)),
        entropy_coeff=coeff,
        logprob_chunk=4,
    )
    state, metrics = made.update(made.init(params), make_minibatch(SAMPLES, SHARED))
    count = sum(len(s.response_ids) for s in SAMPLES)
    tokens = np.zeros((len(SAMPLES), WIDTH), np.int32)
    before, targets = np.zeros((2, count, 2), int)  # (row, position)
    at = 0
    for row, s in enumerate(SAMPLES):
        whole = [*s.prefix_ids, *s.suffix_ids, *s.response_ids]
        tokens[row, : len(whole)] = whole
        for position in range(len(whole) - len(s.response_ids), len(whole)):
            before[at], targets[at] = (row, position - 1), (row, position)
            at += 1
    lengths = np.array(
        [len(s.prefix_ids) + len(s.suffix_ids) + len(s.response_ids) for s in SAMPLES]
    )

    def whole_loss(params):
        scores = jax.nn.log_softmax(logits(params, tokens, config=tiny_config, lengths=lengths))
        scores = scores[tuple(before.T)]
        chosen = scores[np.arange(count), tokens[tuple(targets.T)]]
        entropy = -(jax.numpy.exp(scores) * scores).sum(-1).mean()
        return -chosen.mean() - coeff * entropy, entropy

    gradient, entropy = jax.jit(jax.grad(whole_loss, has_aux=True))(tiny_params)
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-4)
    assert distance(state.optimizer.gradient, gradient) < 1e-4
