"""Evaluation: fixed manifests, the same numbers at any concurrency, nothing fed back."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from skillrl import pipeline
from skillrl.evaluation.evaluate import summarise
from skillrl.evaluation.intervals import wilson
from skillrl.io.files import read_json
from skillrl.models.config import TransformerConfig
from skillrl.phases.build import make_player, publish
from skillrl.phases.held_out import evaluate_split
from skillrl.phases.stages import load_stage
from skillrl.rollouts import store
from tests import loopback
from tests.pipeline import tiny

TASKS = tiny.SETTINGS["evaluation"]["max_tasks"]


@pytest.fixture(scope="module")
def trained(whole):
    """A session on the finished run, with its final policy published."""
    with tiny.opened(whole.path) as (run, model, player):
        policy, bank = load_stage(run, model, "rl")
        publish(run.config, player, params=policy, version=0)
        yield run, model, player, bank


@pytest.fixture
def evaluated(trained):
    run, _, player, bank = trained

    def play(**how):
        return evaluate_split(run, player, bank=bank, split="valid_unseen", label="test", **how)

    return play


@pytest.mark.slow
def test_concurrency_and_workers_change_no_bit(trained):
    run, _, player, bank = trained

    def play(concurrency, workers, temperature=1.0):
        return evaluate_split(
            run,
            dataclasses.replace(player, workers=workers),
            bank=bank,
            split="valid_unseen",
            label="test",
            limit=12,
            temperature=temperature,
            concurrency=concurrency,
        )

    first = play(1, 0)
    assert first[0]["n"] == 12
    for concurrency, workers in ((16, 1), (64, 0), (64, 8)):
        assert play(concurrency, workers) == first


def test_greedy_success_is_the_same_with_other_slots(trained):
    run, model, player, bank = trained
    policy, _ = load_stage(run, model, "rl")
    rollout = dataclasses.replace(run.config.rollout, slots=9)
    config = dataclasses.replace(run.config, rollout=rollout)
    other = make_player(config, run.suite, model=model, retriever=player.retriever, seed=run.seed)
    publish(config, other, params=policy, version=0)
    few, many = (
        evaluate_split(run, who, bank=bank, split="valid_unseen", label="test", limit=12)[1]
        for who in (player, other)
    )
    assert [t.won for t in many] == [t.won for t in few]
    assert [[s.action for s in t.steps] for t in many] == [[s.action for s in t.steps] for t in few]


def test_each_task_once_in_manifest_order(trained, evaluated):
    run, *_ = trained
    _, played = evaluated()
    assert [t.task for t in played] == list(run.suite.tasks("valid_unseen")[:TASKS])


def test_repeats_are_other_draws_of_the_same_tasks(evaluated):
    _, once = evaluated(temperature=1.0)
    result, twice = evaluated(temperature=1.0, repeats=2, concurrency=3)
    assert result["n"] == 2 * TASKS
    assert [(t.task.id, t.repeat) for t in twice] == [
        (t.task.id, repeat) for t in once for repeat in (0, 1)
    ]
    assert twice[::2] == once
    for first, second in zip(twice[::2], twice[1::2], strict=True):
        assert first.steps[0].response_ids != second.steps[0].response_ids


def test_greedy_repeats_are_equal(evaluated):
    _, twice = evaluated(repeats=2)
    for first, second in zip(twice[::2], twice[1::2], strict=True):
        assert first.steps == second.steps


def test_a_limit_takes_the_first_tasks(evaluated):
    _, all_ = evaluated()
    _, two = evaluated(limit=2)
    assert two == all_[:2]


def test_numbers_are_hand_countable(evaluated):
    _, played = evaluated(temperature=1.0, repeats=2)
    broken = dataclasses.replace(played[5], steps=(), error="RuntimeError: gone")
    played = [dataclasses.replace(t, won=i < 2) for i, t in enumerate(played[:5])] + [broken]
    first = played[0].task.category
    categories = dict.fromkeys(["empty", *(t.task.category for t in played)], "x")
    result = summarise(played, categories)
    assert (result["n"], result["errored"], result["success"]) == (5, 1, 0.4)
    assert (result["low"], result["high"]) == wilson(2, 5)
    assert result["by_category"][first] == dict(
        zip(("success", "n", "low", "high"), (1.0, 2, *wilson(2, 2)), strict=True)
    )
    none_left = {"success": None, "n": 0, "low": None, "high": None}
    assert result["by_category"]["empty"] == none_left


def test_evaluation_leaves_the_run_and_the_bank_alone(whole, trained, evaluated):
    run, model, _, bank = trained
    before, skills = tiny.contents(whole.path), bank.skills
    evaluated()
    assert bank.skills is skills
    assert load_stage(run, model, "rl")[1] == bank
    assert tiny.contents(whole.path) == before


@pytest.mark.parametrize("stage", ["base", "sft", "rl"])
def test_a_stage_evaluated_alone_gives_the_number_of_the_run(whole, stage, tmp_path):
    before = tiny.contents(whole.path)
    output = tmp_path / "result.json"
    status, out, err = tiny.run(
        "evaluate",
        f"--workdir={whole.path}",
        f"--checkpoint={stage}",
        "--concurrency=2",
        f"--output={output}",
    )
    assert status == 0, err
    assert f"{stage} valid_unseen" in out
    found = read_json(output)["eval"]["valid_unseen"]
    recorded = read_json(whole.path / "evaluation" / f"{stage}-valid_unseen.json")
    assert found.items() <= recorded.items()
    assert found["skills"] == 0 if stage == "base" else found["skills"] > 0
    played = list(store.read(output.with_suffix(".valid_unseen.jsonl")))
    assert [bool(t.skills) for t in played] == [stage != "base"] * TASKS
    assert tiny.contents(whole.path) == before


def test_arms_are_played_side_by_side_and_compared_with_none(whole, tmp_path):
    before = tiny.contents(whole.path)
    output, bank = tmp_path / "result.json", whole.path / "distill" / "bank.json"
    asked = ["own", "initial", "neutral", "shuffled", f"neutral:{bank}"]
    status, out, err = tiny.run(
        "evaluate",
        f"--workdir={whole.path}",
        f"--bank={','.join(asked)}",
        "--repeats=2",
        "--temperature=1",
        f"--output={output}",
    )
    assert status == 0, err
    found = read_json(output)
    results = {arm: splits["valid_unseen"] for arm, splits in found["arms"].items()}
    assert list(results) == [*asked, "none"]
    assert found["eval"] == found["arms"]["own"]
    assert "none was not asked for" in out
    assert all(f"rl {arm} valid_unseen" in out for arm in results)
    recorded = read_json(whole.path / "evaluation" / "rl-valid_unseen.json")
    assert {r["manifest"] for r in results.values()} == {recorded["manifest"]}
    assert results["none"]["skill_tokens"] == results["none"]["skills_per_task"] == 0
    assert "against_none" not in results["none"]
    for arm in asked:
        one, pairs = results[arm], results[arm]["against_none"]
        gain = one["success"] - results["none"]["success"]
        assert pairs["difference"] == pytest.approx(gain)
        assert pairs["recovery"] - pairs["regression"] == pytest.approx(gain)
        assert pairs["low"] <= gain <= pairs["high"]
        assert pairs["tasks"] == one["pass_at"]["2"]["tasks"] == TASKS
        assert one["skills_per_task"] > 0
        assert one["prompt_tokens"] > results["none"]["prompt_tokens"]
    own, neutral, shuffled = results["own"], results["neutral"], results["shuffled"]
    assert neutral["skills_per_task"] == own["skills_per_task"] >= shuffled["skills_per_task"]
    assert abs(neutral["skill_tokens"] - own["skill_tokens"]) <= own["skills_per_task"]
    played = {
        arm: list(store.read(path))
        for arm in ("none", "neutral", "shuffled")
        if (path := output.with_suffix(f".valid_unseen.{arm}.jsonl"))
    }
    first = list(store.read(output.with_suffix(".valid_unseen.jsonl")))
    assert [t.skills for t in played["neutral"]] == [t.skills for t in first]
    assert not any(t.skills for t in played["none"])
    skills = {
        skill["id"]: skill["category"]
        for skill in read_json(whole.path / "distill" / "bank.json")["skills"]
    }
    for trajectory in played["shuffled"]:
        theirs = {skills.get(name, "evolved") for name in trajectory.skills}
        assert not theirs & {"general", trajectory.task.category}
    assert tiny.contents(whole.path) == before


def test_none_alone_has_nothing_to_be_compared_with(whole, tmp_path):
    output = tmp_path / "result.json"
    arguments = [f"--workdir={whole.path}", "--bank=none", f"--output={output}"]
    status, out, err = tiny.run("evaluate", *arguments)
    assert status == 0, err
    found = read_json(output)
    assert list(found["arms"]) == ["none"]
    assert found["eval"]["valid_unseen"]["skills"] == 0
    assert "against_none" not in found["eval"]["valid_unseen"]
    assert "not asked for" not in out


def test_the_protocol_that_a_config_names_is_held_against_it(whole):
    asked = ["evaluate", f"--workdir={whole.path}", "--bank=none"]
    named = "--set=evaluation.protocol"
    status, _, err = tiny.run(*asked, f"{named}=alfworld_ahead")
    assert status == 0
    assert "warning: evaluate: this is not the protocol alfworld_ahead" in err
    assert "valid_unseen has other games (Pick 20, there 24;" in err
    status, out, _ = tiny.run(*asked, f"{named}=alfworld_ahead", "--dry_run")
    assert status == 0
    assert "note: this is not the protocol" in out
    status, _, err = tiny.run(*asked, f"{named}=x")
    assert status == 2
    assert "no such protocol" in err


def test_a_directory_is_evaluated_with_the_newest_bank(whole, evaluated, tmp_path):
    output = tmp_path / "result.json"
    arguments = [f"--checkpoint={whole.path / 'policy'}", f"--output={output}"]
    status, _, err = tiny.run("evaluate", f"--workdir={whole.path}", *arguments)
    assert status == 0, err
    assert list(store.read(output.with_suffix(".valid_unseen.jsonl"))) == evaluated()[1]


def test_a_directory_brings_its_own_sizes_and_tokenizer(whole, tmp_path, monkeypatch):
    sizes = TransformerConfig(
        hidden_size=24, intermediate_size=48, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=12
    )
    other = tiny.make_policy(tmp_path / "other", sizes, vocab_size=512)
    seen = []

    def look(run, player, *, arms, **how):  # compiling the other sizes takes long
        tokenizer, (arm,) = player.agent._tokenizer, arms.played
        seen.append((player.engine._config.hidden_size, tokenizer.vocab_size, len(arm.bank) > 0))

    monkeypatch.setattr(pipeline, "evaluate_command", look)
    status, _, err = tiny.run("evaluate", f"--workdir={whole.path}", f"--checkpoint={other}")
    assert status == 0, err
    assert seen == [(24, 512, True)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--checkpoint=rl"], ["--checkpoint=rl", "no such checkpoint yet", "--checkpoint=base"]),
        (["--checkpoint=sft"], ["--checkpoint=sft", "no such checkpoint yet", "--workdir"]),
        (["--checkpoint=nowhere"], ["nowhere", "neither base, sft or rl nor"]),
        (["--checkpoint=base", "--split=test"], ["'test'", "valid_unseen"]),
        (["--checkpoint=base", "--bank=mine"], ["--bank=mine", "none, own, initial or the file"]),
        (["--checkpoint=base", "--bank=own"], ["no bank of its own", "--bank=initial"]),
        (["--checkpoint=base", "--bank=none,neutral"], ["neutral", "--bank=neutral:initial"]),
        (["--checkpoint=base", "--bank=initial"], ["distilled no bank yet", "distill there"]),
    ],
)
def test_what_is_not_there_is_said(flags, tmp_path, arguments, words):
    status, _, err = tiny.run("evaluate", *flags(tmp_path / "new"), *arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------- a policy behind a server


def obedient(path: str, body: dict) -> dict:
    """Takes the first admissible action of the prompt; one in three answers is malformed."""
    prompt = body["messages"][-1]["content"]
    action = re.search(r"Admissible actions:\n(.+)", prompt)[1]
    if "go to" not in action:
        return loopback.chat(f"just {action}")
    return loopback.chat(f"<think>why not</think><action>{action}</action>")


@pytest.fixture
def server():
    with loopback.Server(obedient) as server:
        yield server


@pytest.fixture
def remote(server, flags):
    def make(workdir):
        model = {"policy": "openai", "policy_api_base": f"{server.url}/v1", "policy_path": ""}
        return flags(workdir, model={**model, "policy_api_key": "sk-of-the-policy"})

    return make


def test_a_server_is_evaluated_like_a_local_policy(server, remote, tmp_path):
    output = tmp_path / "result.json"
    status, out, err = tiny.run("evaluate", *remote(tmp_path / "run"), f"--output={output}")
    assert status == 0, err
    assert "policy (Qwen/Qwen2.5-7B-Instruct at http://127.0.0.1" in out.splitlines()[0]
    result = read_json(output)["eval"]["valid_unseen"]
    assert result["n"] == TASKS
    played = list(store.read(output.with_suffix(".valid_unseen.jsonl")))
    assert [t.task.id for t in played] == [f"valid_unseen/{i:04d}" for i in range(TASKS)]
    steps = [step for t in played for step in t.steps]
    assert len(steps) == len(server.requests) == TASKS * tiny.SETTINGS["env"]["max_steps"]
    assert all(step.action in step.admissible for step in steps if not step.invalid)
    assert any(not step.invalid for step in steps)
    path, body, headers = server.requests[0]
    assert path == "/v1/chat/completions"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "Task: " in body["messages"][1]["content"]
    assert body["temperature"] == 0
    assert headers["Authorization"] == "Bearer sk-of-the-policy"
    assert len({body["seed"] for _, body, _ in server.requests}) == len(server.requests)
    assert "sk-of" not in out + err


def test_a_server_can_collect_and_what_it_did_can_be_distilled(server, remote, tmp_path):
    run = tmp_path / "run"
    status, _, err = tiny.run("collect", *remote(run), "--episodes=4")
    assert status == 0, err
    played = list(store.read(run / "collect" / "trajectories.jsonl"))
    assert [t.source for t in played].count("policy") == 4
    for trajectory in played[:4]:
        assert trajectory.task.split == "train"
        assert all(step.response and not step.response_ids for step in trajectory.steps)
    status, _, err = tiny.run("distill", *remote(run))
    assert status == 0, err
    assert not any(b"sk-of" in content for content in tiny.contents(run).values())


def test_a_prompt_beyond_the_servers_context_costs_its_episode_alone(server, remote, tmp_path):
    refused = []

    def narrow(path, body):
        task = re.search(r"Task: .+", body["messages"][1]["content"])[0]
        refused.append(task) if not refused else None
        if task == refused[0]:
            message = {"message": "This model's maximum context length is 400 tokens."}
            return loopback.Reply(400, {"error": message})
        return obedient(path, body)

    server.answer = narrow
    output = tmp_path / "result.json"
    status, _, err = tiny.run("evaluate", *remote(tmp_path / "run"), f"--output={output}")
    assert status == 0, err
    result = read_json(output)["eval"]["valid_unseen"]
    assert result["errored"] == TASKS - result["n"] >= 1
    assert result["n"] >= 1
    played = list(store.read(output.with_suffix(".valid_unseen.jsonl")))
    errors = [t.error for t in played if t.error]
    assert all("rl.max_prompt_length" in error for error in errors)
    assert len(errors) == result["errored"]
    server.answer = lambda *_: loopback.Reply(
        400, {"error": {"message": "context_length_exceeded"}}
    )
    status, _, err = tiny.run("evaluate", *remote(tmp_path / "other"))
    assert status == 2
    assert f"all {TASKS} episodes ended with an error" in err


def test_a_teacher_that_says_nothing_makes_no_bank_and_is_asked_again(remote, flags, tmp_path):
    run = tmp_path / "run"
    assert tiny.run("collect", *remote(run), "--episodes=4")[0] == 0
    played = run / "collect" / "trajectories.jsonl"
    skill = {"title": "Look \\ud83d", "principle": "Look first.", "where_it_failed": "a"}
    skill |= {"what_was_wrong": "b", "what_to_do_instead": "c"}
    silent = loopback.chat(None)
    silent["choices"][0]["message"]["refusal"] = "I would rather not"
    answers = [silent, loopback.chat(json.dumps([skill]).replace("\\\\", "\\"))]
    with loopback.Server(lambda *_: answers[0]) as teacher:
        model = {"teacher": "openai", "teacher_api_base": teacher.url, "teacher_retries": 0}
        made = tmp_path / "made"
        arguments = ["distill", *flags(made, model=model), f"--trajectories={played}"]
        status, _, err = tiny.run(*arguments)
        assert status == 2
        assert "I would rather not" in err.splitlines()[-1]
        assert not (made / "distill" / "bank.json").exists()
        asked = len(teacher.requests)
        answers.pop(0)
        status, _, err = tiny.run(*arguments)
        assert status == 0, err
        assert len(teacher.requests) > asked
        bank = read_json(made / "distill" / "bank.json")
    assert "Look \ufffd" in json.dumps(bank, ensure_ascii=False)


@pytest.mark.parametrize("command", ["train", "sft", "rl"])
def test_a_server_cannot_be_trained(remote, tmp_path, command):
    status, _, err = tiny.run(command, *remote(tmp_path / "run"))
    assert status == 2
    assert "weights behind http://127.0.0.1" in err
    assert "model.policy=local" in err
    assert not (tmp_path / "run").exists()
