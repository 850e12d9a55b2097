"""Rollouts on a real vLLM, on a CPU; `.ci/vllm` installs it and runs this."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from skillrl.config.settings import Config, ModelConfig, RolloutConfig
from skillrl.inference.base import Generate, Sampling, generate
from skillrl.inference.exports import _next_tokens
from skillrl.inference.make import make_served_engine
from skillrl.inference.served import ServedEngine
from skillrl.models.config import TransformerConfig
from skillrl.models.policy import Model, load_params, open_model
from skillrl.parallel.mesh import make_mesh
from skillrl.phases.build import make_engine
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import save_bank
from skillrl.types import Skill
from tests.inference.test_served import nudged, with_adapter
from tests.inference.vllm_process import VLLMProcess
from tests.pipeline import tiny

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif("SKILLRL_VLLM" not in os.environ, reason="see .ci/vllm"),
]

SIZES = TransformerConfig(
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=32,
    tie_embeddings=False,
)
"""vLLM takes no other head width for Qwen2 than hidden_size / num_heads. On a CPU it packs the head
away when it starts, and does not pack it again where that is the embedding."""

SHORT: dict[str, Any] = {
    "env": {"max_steps": 3},
    "model": {"dtype": "float32"},
    "rl": {"training_epochs": 3},
    "evaluation": {"quick_tasks": 0},
    "checkpoint": {"interval": 10},
}

CLOSE = 1e-3
"""Nats; float32 on both sides gives some 1e-5."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy of sizes that vLLM takes."""
    return tiny.make_policy(tmp_path_factory.mktemp("policy"), SIZES)


@pytest.fixture(scope="module", params=["weights", "adapter"])
def server(
    request: pytest.FixtureRequest, policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VLLMProcess]:
    """One server for all tests with whole policies, and then one for all with adapters."""
    log = tmp_path_factory.mktemp("vllm") / "log.txt"
    adapters = request.param == "adapter"
    with VLLMProcess(os.environ["SKILLRL_VLLM"], policy, log, adapters=adapters) as running:
        yield running


@pytest.fixture(scope="module")
def model(policy: Path) -> Model:
    """The same policy here."""
    return open_model(
        policy, make_mesh(devices=jax.devices()[:1]), dtype="float32", attention="xla"
    )


@pytest.fixture
def engine(server: VLLMProcess, model: Model, tmp_path: Path) -> Iterator[ServedEngine]:
    """What samples on it."""
    rollout = RolloutConfig(engine="vllm", api_base=server.url, slots=4, max_gap=CLOSE)
    made = make_served_engine(
        model, rollout, ModelConfig(dtype="float32"), directory=tmp_path / "exports", seed=3
    )
    yield made
    made.close()


def asks(model: Model, count: int) -> list[Generate]:
    """Prompts of words, each its own."""
    start = tuple(model.tokenizer.encode("You are in the middle of a room."))
    return [
        Generate(start, tuple(model.tokenizer.encode(f"Go to desk {i}.")), (1, 0, 7, i, 0, 0))
        for i in range(count)
    ]


def ours(model: Model, params: Any, request: Generate, ids: tuple[int, ...]) -> np.ndarray:
    """Our log-probabilities of the ids of a response."""
    prompt = (*request.prefix_ids, *request.suffix_ids)
    at = np.arange(len(ids), dtype=np.int32) + len(prompt) - 1
    whole = np.array([*prompt, *ids], np.int32)
    scores = np.asarray(_next_tokens(params, whole, at, config=model.config))
    return scores[np.arange(len(ids)), list(ids)]


def test_every_policy_is_sampled_with_its_own_log_probabilities(
    engine: ServedEngine, server: VLLMProcess, model: Model
):
    params = load_params(model)
    for version in (1, 2):
        changed = (
            with_adapter(params, model, 0.1 * version)
            if server.adapters
            else nudged(params, 0.1 * version)
        )
        engine.publish(changed, version)
        assert engine.report()["publish_gap"] < CLOSE
        requests = asks(model, 6)
        found = generate(engine, requests, Sampling(max_tokens=12))
        for request, answer in zip(requests, found, strict=True):
            np.testing.assert_allclose(
                answer.logprobs, ours(model, changed, request, answer.ids), atol=CLOSE
            )
            (span,) = answer.versions
            assert (span.start, span.end) == (0, len(answer.ids))
            assert engine.served is not None
            assert span.version == engine.served.weights
        again = generate(engine, requests, Sampling(max_tokens=12))
        assert [a.ids for a in again] == [a.ids for a in found]  # the seed decides


def test_greedy_tokens_are_those_of_the_local_engine(engine: ServedEngine, model: Model):
    params = load_params(model)
    engine.publish(params, 0)
    config = Config.from_dict(
        {
            "rl": {"max_prompt_length": 64, "max_response_length": 12},
            "rollout": {"slots": 4, "prefix_buckets": [32], "suffix_buckets": [32]},
            "model": {"dtype": "float32"},
        }
    )
    local: Any = make_engine(config, model, seed=0)
    local.publish(params, 0)
    greedy = Sampling(max_tokens=12, temperature=0.0)
    there, here = (generate(one, asks(model, 4), greedy) for one in (engine, local))
    assert [a.ids for a in there] == [a.ids for a in here]
    assert [a.finished for a in there] == [a.finished for a in here]


@pytest.fixture(scope="module")
def command(
    server: VLLMProcess, policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Makes the arguments of `skillrl rl` on it."""
    folder = tmp_path_factory.mktemp("settings")
    skill = Skill(id="gen_001", title="Look", principle="Look around first.")
    save_bank(SkillBank((skill,)), folder / "bank.json")

    def make(path: Path, **changes: Any) -> list[str]:
        rollout = {"engine": "vllm", "api_base": server.url, **changes.pop("rollout", {})}
        settings = tiny.merged(tiny.SETTINGS, {"model": {"policy_path": str(policy)}})
        for more in (SHORT, {"rollout": rollout}, changes):
            settings = tiny.merged(settings, more)
        return [
            "rl",
            f"--config={tiny.write(folder, settings)}",
            f"--workdir={path}",
            f"--seed={tiny.SEED}",
            f"--skill_bank={folder / 'bank.json'}",
        ]

    return make


def episodes(path: Path) -> list[dict[str, Any]]:
    """All episodes of RL."""
    files = sorted((path / "rl" / "trajectories").iterdir())
    return [row for file in files for row in tiny.rows(file)]


def check(path: Path, *, staleness: int) -> None:
    """Checks what a run has played and learned."""
    rows = [row for row in tiny.rows(path / "metrics.jsonl") if row["phase"] == "rl"]
    assert [row["step"] for row in rows] == [1, 2, 3]
    for number, row in enumerate(rows):
        assert row["publish_gap"] < CLOSE
        if staleness:
            assert row["staleness"] == min(number, staleness)
            assert 0 < row["importance"] <= 2
        else:
            assert row["sampler_gap_fresh"] < CLOSE
    if staleness:
        assert rows[0]["stale_gap"] < CLOSE
    played = episodes(path)
    assert len(played) == 12
    for episode in played:
        assert not episode["error"]
        for step in episode["steps"]:
            assert len(step["logprobs"]) == len(step["response_ids"]) > 0
            assert step["versions"][-1]["end"] == len(step["response_ids"])


def adapter(server: VLLMProcess) -> dict[str, Any]:
    """Settings of what is trained on this server."""
    return {"lora": {"rank": 4 if server.adapters else 0, "alpha": 8.0}}


@pytest.mark.parametrize("staleness", [0, 1])
def test_mock_alfworld(
    command: Callable[..., list[str]], server: VLLMProcess, tmp_path: Path, staleness: int
):
    path = tmp_path / "run"
    changes = {"rollout": {"max_staleness": staleness}, **adapter(server)}
    status, _, err = tiny.run(*command(path, **changes))
    assert status == 0, err
    check(path, staleness=staleness)


def test_a_server_that_is_killed_in_mid_rollout_loses_no_episode(
    command: Callable[..., list[str]], server: VLLMProcess, tmp_path: Path
):
    path = tmp_path / "run"
    killed = threading.Event()

    def kill() -> None:
        first = path / "rl" / "trajectories" / "00001.jsonl"
        until = time.monotonic() + 900
        while not first.exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(3.0)  # into the second iteration's episodes
        server.kill()
        killed.set()
        server.start()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    status, _, err = tiny.run(*command(path, **adapter(server)))
    killer.join()
    assert status == 0, err
    assert killed.is_set()
    check(path, staleness=0)
