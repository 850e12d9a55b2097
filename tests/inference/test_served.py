"""The engine that samples on a server, against a stand-in; `.ci/vllm` tries vLLM itself."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import SafetensorError

from skillrl.config.settings import Config, ModelConfig, RolloutConfig
from skillrl.errors import Corrupt, NoSpace, SkillRLError
from skillrl.inference import dialect, exports, served
from skillrl.inference.base import Generate, Sampling, Unanswered, generate
from skillrl.inference.make import make_served_engine
from skillrl.inference.served import ServedEngine
from skillrl.models import lora, parameters, weights
from skillrl.models.policy import Model, load_params
from skillrl.parallel import processes
from tests.inference.stand_in import StandIn
from tests.pipeline import tiny

RANK = lora.Lora(2, 4.0, ("q_proj", "down_proj"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy on disk."""
    return tiny.make_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def both(request: pytest.FixtureRequest, policy: Path) -> Iterator[StandIn]:
    """A server of either kind."""
    with StandIn(policy, kind=request.param, longest=160, response=8) as server:
        yield server


@pytest.fixture(scope="module")
def one(policy: Path) -> Iterator[StandIn]:
    """A server that does as vLLM."""
    with StandIn(policy, longest=160, response=8) as server:
        yield server


@pytest.fixture(autouse=True)
def _as_new(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test finds a server as it was started, without faults."""
    yield
    for name in {"both", "one"} & set(request.fixturenames):
        server = request.getfixturevalue(name)
        if server._alive:
            server.die()
        server.revive()
        server.requests.clear()
        server.slow, server.invisible, server.lies = 0.0, 0, False
        server.wrong, server.ids, server.processed = None, True, False
        server.dev, server.adapters_on, server.scale_out = True, True, True


def engine(server: StandIn, directory: Path, **changes: Any) -> ServedEngine:
    """An engine on a server, which waits for nobody for long."""
    retries = changes.pop("retries", 4)
    timeout = changes.pop("timeout", 60.0)
    kind, temporary = changes.pop("engine", server.kind), changes.pop("temporary", False)
    rollout = RolloutConfig(
        engine=kind, api_base=server.url, slots=4, **{"patience": 20.0, **changes}
    )
    settings = ModelConfig(policy_timeout=timeout, policy_retries=retries, dtype="float32")
    return make_served_engine(
        server.model, rollout, settings, directory=directory, seed=3, temporary=temporary
    )


def nudged(params: Any, by: float = 0.3) -> Any:
    """Another policy, which is not far."""
    return jax.tree.map(lambda x: x + by * jnp.sin(jnp.arange(x.size).reshape(x.shape)), params)


def with_adapter(params: Any, model: Model, scale: float) -> Any:
    """The policy with an adapter that does something."""
    adapter = lora.init(jax.random.key(1), model.config, RANK)
    flat = parameters.flatten(adapter)
    flat = {p: x + scale if p[-1] == lora.B else x for p, x in flat.items()}
    return lora.join(parameters.unflatten(flat), params, RANK)


def asks(count: int) -> list[Generate]:
    """Requests that differ."""
    return [Generate((5, 6), tuple(range(7, 12 + i)), (1, 0, 7, i, 0, 0)) for i in range(count)]


def test_every_policy_is_loaded_checked_and_sampled_from(both: StandIn, tmp_path: Path):
    params = load_params(both.model)
    made = engine(both, tmp_path)
    labels = []
    for version, policy in enumerate((params, nudged(params))):
        made.publish(policy, version)
        assert made.version == version
        assert made.report()["publish_gap"] < 1e-4
        found = generate(made, asks(6), Sampling(max_tokens=5))
        assert [len(a.ids) == len(a.logprobs) > 0 for a in found] == [True] * 6
        labels.append(made.served.label)
        # Only the policy that plays stays on disk.
        assert [path.name for path in tmp_path.iterdir()] == labels[-1:]
    assert [label[:2] for label in labels] == ["0-", "1-"]
    assert both.version == labels[1]
    same = generate(made, asks(6), Sampling(max_tokens=5))
    assert [a.ids for a in same] == [a.ids for a in found]  # the seed is the address
    assert made.tokens >= 3 * sum(len(a.ids) for a in found) - 5 * 6
    made.close()


def test_every_sampling_field_is_sent(both: StandIn, tmp_path: Path):
    made = engine(both, tmp_path)
    made.publish(load_params(both.model), 0)
    generate(made, asks(1), Sampling(max_tokens=5, temperature=0.5))
    route = "/generate" if both.kind == "sglang" else "/inference/v1/generate"
    sent = both.asked(route)[-1]["sampling_params"]
    assert sent["temperature"] == 0.5
    assert (sent["top_p"], sent["top_k"], sent["min_p"]) == (1.0, -1, 0.0)
    assert sent["repetition_penalty"] == 1.0
    assert sent["presence_penalty"] == sent["frequency_penalty"] == 0.0
    assert sent["stop"] == []
    assert sent["ignore_eos"] is True
    assert sent["stop_token_ids"] == list(both.model.stop_ids)
    most, least = ("max_new_tokens", "min_new_tokens") if both.kind == "sglang" else (
        "max_tokens", "min_tokens",
    )  # fmt: skip
    assert (sent[most], sent[least]) == (5, 0)
    made.close()


def test_log_probabilities_are_those_of_the_policy(one: StandIn, tmp_path: Path):
    """What the server says of its tokens is what our own engine says of the same ones."""
    params = load_params(one.model)
    made = engine(one, tmp_path)
    made.publish(params, 0)
    greedy = generate(made, asks(3), Sampling(max_tokens=5, temperature=0.0))
    one._engine.publish(params, 0)
    ours = generate(one._engine, asks(3), Sampling(max_tokens=5, temperature=0.0))
    assert [a.ids for a in greedy] == [a.ids for a in ours]
    for a, b in zip(greedy, ours, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)
    spans = greedy[0].versions
    assert [(s.start, s.end, s.version) for s in spans] == [
        (0, len(greedy[0].ids), made.served.label)
    ]
    one._published = None
    made.close()


def test_adapters_have_names_of_their_own_and_a_salt(one: StandIn, tmp_path: Path):
    params = load_params(one.model)
    made = engine(one, tmp_path)
    names = []
    for version in (1, 2):
        made.publish(with_adapter(params, one.model, 0.1 * version), version)
        assert made.report()["publish_gap"] < 1e-4
        names.append(made.served.label)
        assert list(one.adapters) == names[-1:]  # the old one is unloaded
        (found,) = generate(made, asks(1), Sampling(max_tokens=5))
        assert {s.version for s in found.versions} == {one.version}  # of the base
        sent = one.asked("/inference/v1/generate")[-1]
        assert sent["model"] == sent["cache_salt"] == names[-1]
    assert names[0] != names[1]
    # The server was started with the base, and keeps it.
    assert not [b for b in one.asked("/collective_rpc") if b.get("method")]
    order = [path for path, _ in one.requests]
    assert order.index("/v1/unload_lora_adapter") > order.index("/v1/load_lora_adapter")
    made.close()


def test_the_base_of_an_adapter_is_given_to_a_server_that_has_another(one: StandIn, tmp_path: Path):
    base = nudged(load_params(one.model))
    made = engine(one, tmp_path)
    for version in (1, 2):
        made.publish(with_adapter(base, one.model, 0.1 * version), version)
        assert made.report()["publish_gap"] < 1e-4
    assert len([b for b in one.asked("/collective_rpc") if b.get("method")]) == 1  # once
    assert one.version == made.served.weights != made.served.label
    made.close()


def test_adapters_are_merged_where_there_are_none(policy: Path, tmp_path: Path):
    with StandIn(policy, kind="sglang", longest=160, response=8) as server:
        made = engine(server, tmp_path)
        made.publish(with_adapter(load_params(server.model), server.model, 0.2), 4)
        assert made.report()["publish_gap"] < 1e-4
        assert server.version == made.served.label
        made.close()


def test_the_order_of_a_publication(one: StandIn, tmp_path: Path):
    made = engine(one, tmp_path)
    made.publish(load_params(one.model), 0)
    steps = [
        path
        for path, body in one.requests
        if path not in ("/v1/models", "/inference/v1/generate", "/tokenize") and body != {}
    ]
    one_after_another = ("/collective_rpc", "/weight_checker", "/update_weight_version")
    assert [path for path in steps if path in one_after_another] == list(one_after_another)
    every = [path for path, _ in one.requests]
    assert every.index("/pause") < len(every) - 1 - every[::-1].index("/resume")
    made.close()


def test_raw_and_processed_log_probabilities_are_told_apart(
    one: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    params = load_params(one.model)
    raw = engine(one, tmp_path)
    raw.publish(params, 0)
    assert not caplog.records
    (found,) = generate(raw, asks(1), Sampling(max_tokens=5, temperature=0.5))
    assert len(found.logprobs) == len(found.ids)
    one.processed = True
    processed = engine(one, tmp_path)
    with caplog.at_level(logging.WARNING):
        processed.publish(nudged(params), 1)
    assert "after the temperature is applied" in caplog.text
    (found,) = generate(processed, asks(1), Sampling(max_tokens=1, temperature=0.5))
    assert found.logprobs == ()  # not those that a trajectory records
    (found,) = generate(processed, asks(1), Sampling(max_tokens=5))
    assert len(found.logprobs) == len(found.ids)
    raw.close()
    processed.close()


def test_a_server_without_ids_is_refused(both: StandIn, tmp_path: Path):
    both.ids = False
    made = engine(both, tmp_path)
    with pytest.raises(SkillRLError, match=r"no (token ids|output_token_logprobs)|other tokens"):
        made.publish(load_params(both.model), 0)
    made.close()


@pytest.mark.parametrize(
    ("kind", "lacks", "says"),
    [
        ("vllm", {"dev": False}, "VLLM_SERVER_DEV_MODE=1"),
        ("openai", {}, "lora.rank"),
    ],
)
def test_what_a_server_does_not_offer_is_refused_with_what_helps(
    policy: Path, tmp_path: Path, kind: str, lacks: dict[str, bool], says: str
):
    with StandIn(policy, longest=160, response=8, **lacks) as server:
        made = engine(server, tmp_path, engine=kind)
        params = load_params(server.model)
        made.publish(params, 0)  # which it was started with
        with pytest.raises(SkillRLError, match=says) as refused:
            made.publish(nudged(params), 1)
        assert "another policy" in str(refused.value)
        assert str(tmp_path) in str(refused.value)
        # An adapter of the policy that it has can be trained all the same.
        made.publish(with_adapter(params, server.model, 0.1), 2)
        assert made.report()["publish_gap"] < 1e-4
        made.close()


def test_without_scale_out_completions_are_asked(
    one: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    one.scale_out = False
    made = engine(one, tmp_path)
    made.publish(load_params(one.model), 0)
    assert "--enable-scale-out" in caplog.text
    (found,) = generate(made, asks(1), Sampling(max_tokens=5))
    assert found.versions == ()
    assert len(found.logprobs) == len(found.ids)
    assert one.asked("/v1/completions")[-1]["return_token_ids"] is True
    made.close()


def test_another_model_name_is_refused(one: StandIn, tmp_path: Path):
    made = engine(one, tmp_path, served_model="mine")
    with pytest.raises(SkillRLError, match="serves policy, and no 'mine'"):
        made.publish(load_params(one.model), 0)
    made.close()


def test_another_tokenizer_is_said(
    one: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """It is no danger, since ids go both ways; vLLM itself has one for our tiny policies."""
    monkeypatch.setattr(one, "tokens", lambda body: (200, {"tokens": [1, 2, 3]}))
    made = engine(one, tmp_path)
    made.publish(load_params(one.model), 0)
    assert "the known prompt is 3 tokens there" in caplog.text
    made.close()


def test_a_directory_that_is_not_visible_yet_is_waited_for(both: StandIn, tmp_path: Path):
    params = load_params(both.model)
    both.invisible = 2
    made = engine(both, tmp_path)
    made.publish(params, 0)
    assert made.report()["publish_gap"] < 1e-4
    if both.kind == "vllm":
        both.invisible = 2
        made.publish(with_adapter(params, both.model, 0.1), 1)
        assert list(both.adapters) == [made.served.label]
    made.close()


def test_one_that_never_appears_is_an_error(
    both: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dialect, "VISIBLE", 0.5)
    both.invisible = 100
    made = engine(both, tmp_path)
    with pytest.raises(SkillRLError, match=r"rollout.weights_dir"):
        made.publish(load_params(both.model), 0)
    assert not both.paused  # nobody else is left waiting
    made.close()


def test_a_half_written_export_is_never_loaded(one: StandIn, tmp_path: Path):
    (tmp_path / ".unnamed-7.1.tmp").mkdir()
    (tmp_path / "unnamed-3").mkdir()
    made = engine(one, tmp_path)
    export = made.stage(load_params(one.model), 0)
    assert [path.name for path in tmp_path.iterdir()] == [export.label]  # what a kill left is gone
    weights = export.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Corrupt, match=r"model\.safetensors"):
        made.switch(export)
    assert not [b for b in one.asked("/collective_rpc") if b.get("method")]
    (export.path / "SHA256SUMS").unlink()
    with pytest.raises(SkillRLError, match="not whole"):
        made.switch(export)
    made.close()


def test_who_only_reads_a_run_leaves_its_exports_alone(one: StandIn, tmp_path: Path):
    params = load_params(one.model)
    trains = engine(one, tmp_path)
    trains.publish(params, 7)
    (tmp_path / "unnamed-8").mkdir()  # it is being written
    before = sorted(tmp_path.iterdir())
    evaluates = engine(one, tmp_path, temporary=True)
    for version in (0, 1):
        evaluates.publish(nudged(params, 0.1 * (version + 1)), version)
        (own,) = set(tmp_path.iterdir()) - set(before)
        assert [path.name for path in own.iterdir()] == [evaluates.served.label]
        assert sorted(tmp_path.iterdir()) == sorted([own, *before])
    evaluates.close()
    assert sorted(tmp_path.iterdir()) == before
    trains.close()
    assert sorted(tmp_path.iterdir()) == before


def test_a_switch_leaves_what_is_being_staged(
    one: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One thread computes the probe of what it has written while another switches."""
    params = load_params(one.model)
    made = engine(one, tmp_path)
    first = made.stage(params, 0)
    written, switched, probe = threading.Event(), threading.Event(), exports.make_probe

    def slow(*arguments: Any) -> Any:
        written.set()
        assert switched.wait(60)
        return probe(*arguments)

    monkeypatch.setattr(exports, "make_probe", slow)
    with ThreadPoolExecutor(1) as pool:
        staged = pool.submit(made.stage, nudged(params), 1)
        try:
            assert written.wait(60)
            made.switch(first)
        finally:
            switched.set()
        second = staged.result()
    assert second.path.is_dir()
    made.switch(second)
    assert made.served.label == second.label
    assert [path.name for path in tmp_path.iterdir()] == [second.label]
    made.close()


@pytest.mark.parametrize("adapter", [False, True], ids=["weights", "adapter"])
def test_a_full_disk_is_said(
    one: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: bool
):
    params = load_params(one.model)
    made = engine(one, tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("IoError(Os { message: No space left on device })")

    monkeypatch.setattr(lora if adapter else weights, "save", full)
    with pytest.raises(NoSpace, match=r"unnamed-1: cannot be written .*same command again"):
        made.stage(with_adapter(params, one.model, 0.1) if adapter else params, 1)
    made.close()


@pytest.mark.parametrize("status", [408, 429, 502, 503])
def test_a_server_that_is_busy_while_it_is_given_a_policy_is_waited_for(
    both: StandIn, tmp_path: Path, status: int
):
    params = load_params(both.model)
    made = engine(both, tmp_path)
    paths = ("/pause", "/resume", "/update_weight_version", "/weight_info", "/weight_checker")
    if both.kind == "sglang":
        paths = ("/pause_generation", "/continue_generation")
    loading = "/collective_rpc" if both.kind == "vllm" else "/update_weights_from_disk"
    both.busy = {path: [status] for path in paths} | {loading: [400, status]}  # 400 to the look
    made.publish(nudged(params), 1)
    assert made.report()["publish_gap"] < 1e-4
    assert not any(both.busy.values())
    assert not both.paused
    made.close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_while_it_is_given_an_adapter_is_waited_for(
    one: StandIn, tmp_path: Path, status: int
):
    params = load_params(one.model)
    made = engine(one, tmp_path)
    one.busy = {"/v1/load_lora_adapter": [200, status, status]}  # the first answers the look
    made.publish(with_adapter(params, one.model, 0.1), 1)
    assert made.served.model == made.served.label
    assert not any(one.busy.values())
    made.close()


def test_only_what_looks_like_ours_is_removed(one: StandIn, tmp_path: Path):
    params = load_params(one.model)
    for name in ("adapter", "12-final", "0-0123456789abcdef", "0-0123456789ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "SHA256SUMS").write_text("")
    made = engine(one, tmp_path)
    made.publish(params, 1)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"adapter", "12-final", "0-0123456789abcdef", made.served.label}
    made.close()


def test_a_policy_that_goes_is_no_advice(one: StandIn, tmp_path: Path):
    made = engine(one, tmp_path, engine="openai", temporary=True)
    with pytest.raises(SkillRLError, match="another policy") as refused:
        made.publish(nudged(load_params(one.model)), 1)
    assert str(tmp_path) not in str(refused.value)
    made.close()


def test_a_server_that_does_not_load_what_it_says_is_found_out(both: StandIn, tmp_path: Path):
    params = load_params(both.model)
    made = engine(both, tmp_path)
    made.publish(params, 0)
    both.lies = True
    with pytest.raises(SkillRLError, match=r"by its own checksums|does not have our policy"):
        made.publish(nudged(params), 1)
    made.close()


def test_weights_of_another_version_are_found_out_and_replaced(one: StandIn, tmp_path: Path):
    params = load_params(one.model)
    made = engine(one, tmp_path)
    made.publish(params, 0)
    expected = [a.ids for a in generate(made, asks(2), Sampling(max_tokens=5))]
    one.version = "of another run"
    found = generate(made, asks(2), Sampling(max_tokens=5))
    assert [a.ids for a in found] == expected
    assert one.version == made.served.label
    assert {s.version for a in found for s in a.versions} == {made.served.label}
    made.close()


def test_a_server_that_always_answers_with_others_is_given_up(both: StandIn, tmp_path: Path):
    made = engine(both, tmp_path, patience=0.5, retries=1)
    made.publish(load_params(both.model), 0)
    both.wrong = "9-other"
    with pytest.raises(SkillRLError, match="9-other"):
        generate(made, asks(1), Sampling(max_tokens=5))
    made.close()


@pytest.mark.parametrize("adapter", [False, True], ids=["weights", "adapter"])
def test_a_server_that_dies_and_returns_loses_no_request(
    both: StandIn, tmp_path: Path, adapter: bool
):
    """It dies with requests under way, and comes back with the policy that it was started with."""
    params = load_params(both.model)
    played = with_adapter(params, both.model, 0.3) if adapter else nudged(params)
    made = engine(both, tmp_path)
    made.publish(played, 5)
    expected = [a.ids for a in generate(made, asks(6), Sampling(max_tokens=5))]
    label = made.served.label
    both.slow = 1.0

    def kill() -> None:
        both.die()
        both.slow = 0.0
        threading.Timer(1.0, both.revive).start()

    threading.Timer(0.3, kill).start()
    found = generate(made, asks(6), Sampling(max_tokens=5))
    assert [a.ids for a in found] == expected
    assert made.served.label == label
    assert made.version == 5
    assert both.version == label if not adapter or both.kind == "sglang" else label in both.adapters
    made.close()


def test_another_process_repairs_a_server_whose_loss_the_first_does_not_notice(
    one: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    params = load_params(one.model)
    made = engine(one, tmp_path)
    made.publish(nudged(params), 1)
    expected = [a.ids for a in generate(made, asks(2), Sampling(max_tokens=5))]
    made.served = dataclasses.replace(made.served, seconds=0.1)
    one.die()
    threading.Timer(3.0, one.revive).start()  # later than the turn, which begins when it is back
    monkeypatch.setattr(processes, "index", lambda: 1)
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "is_first", lambda: False)
    monkeypatch.setattr(served, "TURN", 1.5)
    asked = len(one.requests)
    found = generate(made, asks(2), Sampling(max_tokens=5))
    assert [a.ids for a in found] == expected
    paths = [path for path, _ in one.requests[asked:]]
    assert paths.count("/collective_rpc") == 1
    looked = paths[: paths.index("/collective_rpc")]
    assert sum("generate" in path for path in looked) > 1  # at first it was the first one's turn
    made.close()


def test_a_server_that_stays_away_ends_the_run_with_what_to_do(one: StandIn, tmp_path: Path):
    made = engine(one, tmp_path, patience=0.5)
    made.publish(load_params(one.model), 0)
    one.die()
    with pytest.raises(SkillRLError, match=r"gone.*rollout.patience.*continues where it stopped"):
        generate(made, asks(2), Sampling(max_tokens=5))
    made.close()


def test_one_request_that_is_always_lost_is_unanswered(one: StandIn, tmp_path: Path):
    """A server that is well otherwise costs an episode, and does not end the run."""
    made = engine(one, tmp_path, retries=1, timeout=0.5)
    made._dialect.service._timeout = 30.0
    made.publish(load_params(one.model), 0)
    whole = made._dialect.generate

    def slow(ask: Any) -> Any:
        if ask.sampling.max_tokens > 1:
            one.slow, made._dialect.service._timeout = 1.5, 0.5
        try:
            return whole(ask)
        finally:
            one.slow, made._dialect.service._timeout = 0.0, 30.0

    made._dialect.generate = slow
    (key,) = made.submit({"a": asks(1)[0]}, Sampling(max_tokens=5))
    answers: dict[Any, Any] = {}
    while not answers:
        answers = made.step()
    assert isinstance(answers[key], Unanswered)
    assert "lost 2 times" in str(answers[key])
    assert not answers[key].rejected
    made.close()


def test_a_paused_server_of_a_killed_run_is_resumed(one: StandIn, tmp_path: Path):
    one.paused = True
    made = engine(one, tmp_path)
    made.publish(load_params(one.model), 0)
    assert not one.paused
    made.close()


def test_what_is_given_up_is_not_answered(one: StandIn, tmp_path: Path):
    made = engine(one, tmp_path)
    made.publish(load_params(one.model), 0)
    one.slow = 0.3
    assert made.submit(dict(enumerate(asks(6))), Sampling(max_tokens=5)) == [0, 1, 2, 3]
    made.reset()
    one.slow = 0.0
    assert len(generate(made, asks(2), Sampling(max_tokens=5))) == 2
    made.close()


def test_no_key_is_shown(one: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    key = "sk-12345678abcdef"
    rollout = RolloutConfig(engine="vllm", api_base=one.url, slots=1, served_model=key)
    settings = ModelConfig(policy_api_key=key, dtype="float32")
    made = make_served_engine(one.model, rollout, settings, directory=tmp_path, seed=0)
    told = made._dialect.service.get("/" + key)
    assert key not in told.text
    assert key not in repr(made)
    assert key not in caplog.text
    made.close()


def test_settings_that_do_not_go_together():
    for wrong, says in (
        ({"rollout": {"max_staleness": 1}}, "rollout.engine is local"),
        ({"rollout": {"engine": "vllm"}, "model": {"policy": "openai"}}, "model.policy=local"),
        (
            {
                "rollout": {"engine": "vllm", "weights": "int8"},
                "rl": {"old_logprobs": "recomputed"},
            },
            "rollout.weights=policy",
        ),
    ):
        with pytest.raises(SkillRLError, match=says):
            Config.from_dict(wrong)
    assert dataclasses.asdict(Config())["rl"]["importance"] == "token"
