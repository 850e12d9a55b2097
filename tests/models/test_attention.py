"""Every implementation against `xla`, which is held to plain softmax attention.

`cudnn` is tested where there is an NVIDIA GPU, `splash` by Pallas' interpreter anywhere (and on
a TPU where there is one).
"""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skillrl.config import settings
from skillrl.errors import SkillRLError
from skillrl.models.attention import IMPLEMENTATIONS, attend, check_attention, splash, xla
from skillrl.models.config import TransformerConfig
from skillrl.models.kv_cache import KV
from skillrl.models.masks import InOrder, causal_mask, dense, in_order
from skillrl.models.transformer import logits
from skillrl.training.batch import MicroBatch
from skillrl.training.update import prefix_kv, response_logprobs
from tests.conftest import spread_params

DEVICE = jax.devices()[0]
NVIDIA = DEVICE.platform == "gpu" and "cuda" in DEVICE.client.platform_version.lower()
TPU = DEVICE.platform == "tpu"
on_nvidia = pytest.mark.skipif(not NVIDIA, reason="needs an NVIDIA GPU")
on_tpu = pytest.mark.skipif(not TPU, reason="needs a TPU: this takes minutes in the interpreter")


@pytest.fixture(autouse=True)
def exact_products():
    """Accelerators round float32 operands of products unless they are told not to."""
    with jax.default_matmul_precision("highest"):
        yield


def test_attention_over_parts_equals_plain_softmax_attention():
    rng = np.random.default_rng(1)
    q = rng.normal(size=(2, 3, 4, 2, 2, 5)).astype(np.float32)
    shared, own = (
        rng.normal(size=(2, 2, g, c, 2, 5)).astype(np.float32) for g, c in ((1, 6), (3, 4))
    )
    seen = rng.random((2, 1, 1, 6)) < 0.5
    causal = np.broadcast_to(np.tril(np.ones((4, 4), bool)), (2, 3, 4, 4))
    laid_out = [
        KV(np.transpose(k, (0, 1, 3, 4, 2)), np.transpose(v, (0, 1, 3, 2, 4)))
        for k, v in (shared, own)
    ]
    found = attend(q, list(zip(laid_out, (seen, causal), strict=True)))

    k, v = (np.concatenate([np.repeat(a, 3, 1), b], 2) for a, b in zip(shared, own, strict=True))
    mask = np.concatenate([np.broadcast_to(seen, (2, 3, 4, 6)), causal], -1)
    score = np.einsum("bgtkjq,bgckq->bgkjtc", q, k)
    weight = np.where(mask[:, :, None, None], np.exp(score), 0)
    weight /= weight.sum(-1, keepdims=True)
    np.testing.assert_allclose(found, np.einsum("bgkjtc,bgckq->bgtkjq", weight, v), atol=1e-5)


# --- passes as the policy makes them --------------------------------------------------

B, G, K, J = 2, 3, 2, 2
PREFIXES = np.array([37, 20])


def segment(rng, g, width, head, dtype):
    """A part's KV with random numbers."""
    k, v = rng.normal(size=(2, B, g, K, head, width))
    return KV(jnp.asarray(k, dtype), jnp.asarray(np.swapaxes(v, -1, -2), dtype))


def make_pass(kind, head, dtype="float32"):
    """Queries, parts and which of the queries exist, ``[B, G, T]``."""
    rng = np.random.default_rng(0)
    t = {"prefix": 37, "suffix": 21, "gap": 21, "kept": 5, "decode": 1}[kind]
    g = 1 if kind == "prefix" else G
    q = jnp.asarray(rng.normal(size=(B, g, t, K, J, head)) * head**-0.5, dtype)
    if kind == "prefix":  # right-padded, nothing before it
        mask = causal_mask(PREFIXES[:, None], t)
        return q, [(segment(rng, 1, t, head, dtype), mask)], mask.exists
    shared = (np.arange(45) < PREFIXES[:, None])[:, None, None]  # B, g = 1, 1, C
    before = (segment(rng, 1, 45, head, dtype), jnp.asarray(shared))
    suffixes, responses = np.array([[13, 4, 1], [9, 13, 0]]), np.array([[8, 2, 0], [1, 8, 0]])
    if kind == "suffix":
        mask = causal_mask(jnp.asarray(suffixes), t)
        return q, [before, (segment(rng, G, t, head, dtype), mask)], mask.exists
    slot = np.arange(21)  # 13 of a suffix, then 8 of its response: padding in between
    exists = np.where(slot < 13, slot < suffixes[..., None], slot - 13 < responses[..., None])
    mask = in_order(jnp.asarray(exists))
    own = segment(rng, G, 21, head, dtype)
    if kind == "gap":
        return q, [before, (own, mask)], exists
    kept = slice(14, 14 + t) if kind == "kept" else slice(13, 14)
    return q, [before, (own, mask.seen[:, :, kept])], exists[:, :, kept]


KINDS = ("prefix", "suffix", "gap", "kept", "decode")


def value_and_gradients(function, kind, head, dtype="float32"):
    """What a pass gives where queries exist, and the gradients of q and all KV, in float32."""
    q, parts, exists = make_pass(kind, head, dtype)
    wanted = np.random.default_rng(1).normal(size=q.shape).astype(np.float32)
    real = jnp.asarray(exists)[..., None, None, None]

    @jax.jit
    def run(q, kvs):
        def loss(q, kvs):
            out = function(q, [(kv, mask) for kv, (_, mask) in zip(kvs, parts, strict=True)])
            out = jnp.where(real, out.astype(jnp.float32), 0.0)
            return (out * wanted).sum(), out

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(q, kvs)

    grads, out = run(q, [kv for kv, _ in parts])
    return jax.tree.map(lambda x: np.asarray(x, np.float32), (out, grads))


def assert_close(found, expected, tolerance):
    """Everywhere within `tolerance` of the largest number of the array."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max(), rtol=0)


@on_nvidia
@pytest.mark.parametrize("head", [64, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_cudnn_gives_values_and_gradients_of_xla(kind, head):
    cudnn = functools.partial(attend, name="cudnn")
    found = value_and_gradients(cudnn, kind, head, "bfloat16")
    exact = value_and_gradients(xla, kind, head, "float32")
    assert_close(found, exact, 0.03)
    # ... and is no further from the truth than `xla` is in the same precision.
    usual = value_and_gradients(xla, kind, head, "bfloat16")
    for a, b, truth in zip(*map(jax.tree.leaves, (found, usual, exact)), strict=True):
        assert np.abs(a - truth).max() <= 2 * np.abs(b - truth).max() + 1e-3 * np.abs(truth).max()


@on_nvidia
def test_cudnn_keeps_no_scores():
    def memory(name):
        q = jax.ShapeDtypeStruct((4, 8, 256, 2, 7, 128), jnp.bfloat16)
        shared, own = (
            KV(
                jax.ShapeDtypeStruct((4, g, 2, 128, c), jnp.bfloat16),
                jax.ShapeDtypeStruct((4, g, 2, c, 128), jnp.bfloat16),
            )
            for g, c in ((1, 1024), (8, 256))
        )

        def loss(q, shared, own):
            masks = jnp.ones((4, 1, 1, 1024), bool), causal_mask(jnp.full((4, 8), 256), 256)
            out = attend(q, list(zip((shared, own), masks, strict=True)), name=name)
            return out.astype(jnp.float32).sum()

        lowered = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(q, shared, own)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert memory("cudnn") < memory("xla") / 3


@pytest.mark.parametrize("kind", ["prefix", "suffix", "gap"])
def test_splash_gives_values_and_gradients_of_xla(kind):
    function = splash if TPU else functools.partial(splash, interpret=True)
    found = value_and_gradients(function, kind, 64)
    assert_close(found, value_and_gradients(xla, kind, 64), 0.01 if TPU else 1e-5)


@pytest.mark.parametrize("name", ["cudnn", "splash"])
def test_a_decode_step_is_xla_under_every_name(name):
    q, parts, _ = make_pass("decode", 16)
    np.testing.assert_array_equal(attend(q, parts, name=name), xla(q, parts))


def test_splash_leaves_queries_that_are_not_the_tokens_themselves_to_xla():
    q, parts, _ = make_pass("kept", 16)
    np.testing.assert_array_equal(attend(q, parts, name="splash"), xla(q, parts))


def test_the_name_reaches_the_passes_of_the_policy(monkeypatch, tiny_config, tiny_params):
    seen = []

    def record(q, parts):
        seen.append((q.shape[2], isinstance(parts[-1][1], InOrder)))
        return xla(q, parts)

    monkeypatch.setitem(IMPLEMENTATIONS, "splash", record)
    config = dataclasses.replace(tiny_config, attention="splash")
    tokens = np.arange(10).reshape(2, 5)
    run = jax.jit(logits, static_argnames="config")
    found = run(tiny_params, tokens, config=config)
    assert seen
    assert set(seen) == {(5, True)}
    np.testing.assert_array_equal(found, run(tiny_params, tokens, config=tiny_config))


def test_a_dense_mask_is_the_same_mask():
    for kind in ("prefix", "gap"):
        q, parts, _ = make_pass(kind, 16)
        spelled = [(kv, dense(mask)) for kv, mask in parts]
        np.testing.assert_array_equal(jax.jit(attend)(q, parts), jax.jit(attend)(q, spelled))


def test_the_mask_of_a_suffix_and_its_response_by_hand():
    exists = jnp.array([[[True, False, True, False]]])  # one of two, then one of two
    assert in_order(exists).seen[0, 0].astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],  # padding sees itself
        [1, 0, 1, 0],
        [1, 0, 1, 1],
    ]


@pytest.mark.parametrize(
    "name", [pytest.param("cudnn", marks=on_nvidia), pytest.param("splash", marks=on_tpu)]
)
def test_training_passes_of_a_policy(name):
    """Prefixes, then suffixes and responses after them, rematerialised."""
    dtype = "bfloat16" if name == "cudnn" else "float32"
    config = TransformerConfig(
        vocab_size=64, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=64, dtype=dtype
    )
    params = jax.tree.map(lambda x: x * 0.5, spread_params(config))
    rng = np.random.default_rng(0)
    prefixes, lengths = rng.integers(0, 64, (2, 20)), jnp.array([20, 7])
    names = {field.name: jnp.zeros((2, 3, 5)) for field in dataclasses.fields(MicroBatch)}
    responses = np.array([[5, 1, 0], [2, 3, 0]])
    batch = MicroBatch(
        **names
        | {
            "tokens": rng.integers(0, 64, (2, 3, 13)),
            "prefix_lengths": lengths,
            "suffix_lengths": jnp.array([[6, 1, 3], [8, 2, 0]]),
            "response_lengths": jnp.asarray(responses),
        }
    )

    @functools.partial(jax.jit, static_argnames="config")
    def run(params, config):
        def loss(params):
            kv = prefix_kv(params, prefixes, lengths, config=config, remat="dots")
            found = response_logprobs(params, kv, batch, config=config, remat="dots")
            found = jnp.where(np.arange(5) < responses[..., None], found, 0.0)
            return found.sum(), found

        return jax.value_and_grad(loss, has_aux=True)(params)

    found = run(params, dataclasses.replace(config, attention=name))
    assert_close(found, run(params, config), 0.1 if name == "cudnn" else 0.02)


# --- what is refused -------------------------------------------------------------------


def mesh_of(platform, *, capability="9.0", client="cuda 12090", tensor=1, size=None):
    """A mesh of devices that this machine need not have."""
    device = SimpleNamespace(
        platform=platform,
        compute_capability=capability,
        device_kind="card",
        client=SimpleNamespace(platform_version=client),
    )
    return SimpleNamespace(
        devices=np.array([device], object), shape={"tensor": tensor}, size=size or tensor
    )


QWEN_7B = TransformerConfig(num_heads=28, num_kv_heads=4, head_dim=128, dtype="bfloat16")
REFUSED = [
    ("cudnn", {}, mesh_of("cpu"), ("NVIDIA", "the run is on cpu")),
    ("cudnn", {}, mesh_of("gpu", client="rocm 60300"), ("NVIDIA", "the run is on gpu")),
    ("cudnn", {}, mesh_of("gpu", capability="7.5"), ("8.0", "card has 7.5")),
    (
        "cudnn",
        {"dtype": "float32"},
        mesh_of("gpu"),
        ("16-bit", "model.dtype=float32", "Set model.dtype=bfloat16 or"),
    ),
    ("cudnn", {"head_dim": 20}, mesh_of("gpu"), ("multiple of 8", "have 20")),
    ("cudnn", {"head_dim": 264}, mesh_of("gpu"), ("at most 256", "have 264")),
    ("cudnn", {"head_dim": 192}, mesh_of("gpu", capability="8.9"), ("at most 128", "have 192")),
    ("cudnn", {}, mesh_of("gpu", tensor=8), ("mesh.tensor=8", "there are 4")),
    ("splash", {}, mesh_of("gpu"), ("a TPU", "the run is on gpu")),
    ("splash", {}, mesh_of("tpu", size=4), ("one device", "is 4", "each of them to 1")),
    ("splash", {"head_dim": 80}, mesh_of("tpu"), ("multiple of 64", "have 80")),
]


@pytest.mark.parametrize(("name", "sizes", "mesh", "parts"), REFUSED)
def test_refusals_name_setting_reason_and_remedy(name, sizes, mesh, parts):
    config = dataclasses.replace(QWEN_7B, attention=name, **sizes)
    with pytest.raises(SkillRLError) as caught:
        check_attention(config, mesh)
    for part in (f"model.attention={name} needs", *parts, "model.attention=xla"):
        assert part in str(caught.value)


LIMITS = [
    ("cudnn", {}, {"capability": "8.0"}, {}, {"capability": "7.5"}),
    ("cudnn", {"head_dim": 256}, {}, {"head_dim": 264}, {}),
    ("cudnn", {}, {"capability": "8.9"}, {"head_dim": 136}, {"capability": "8.9"}),
    ("cudnn", {}, {"tensor": 4}, {}, {"tensor": 8}),
    ("splash", {}, {"size": 1}, {}, {"size": 2}),
    ("splash", {"head_dim": 64}, {}, {"head_dim": 72}, {}),
]
"""Sizes and mesh of the last case that runs, and of the first beyond it."""


@pytest.mark.parametrize(("name", "sizes", "mesh", "sizes_beyond", "mesh_beyond"), LIMITS)
def test_limits_lie_where_they_are_said_to(name, sizes, mesh, sizes_beyond, mesh_beyond):
    platform = {"cudnn": "gpu", "splash": "tpu"}[name]

    def check(sizes, mesh, name=name):
        config = dataclasses.replace(QWEN_7B, attention=name, **sizes)
        check_attention(config, mesh_of(platform, **mesh))

    check(sizes, mesh)
    with pytest.raises(SkillRLError, match=f"attention={name} needs"):
        check(sizes_beyond, mesh_beyond)
    check(sizes_beyond, mesh_beyond, name="xla")  # which is what the message advises


def test_this_machine_is_asked(one_device):
    if NVIDIA:
        check_attention(dataclasses.replace(QWEN_7B, attention="cudnn"), one_device)
    elif DEVICE.platform == "cpu":
        with pytest.raises(SkillRLError, match="the run is on cpu"):
            check_attention(dataclasses.replace(QWEN_7B, attention="cudnn"), one_device)


def test_the_setting_offers_what_there_is():
    (field,) = (f for f in dataclasses.fields(settings.ModelConfig) if f.name == "attention")
    assert tuple(field.metadata["choices"]) == tuple(IMPLEMENTATIONS)
