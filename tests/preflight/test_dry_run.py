"""``--dry_run``: asks what the start would refuse, says all of it, and never hangs."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from skillrl.cli import main
from skillrl.config import presets
from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.errors import SkillRLError
from skillrl.preflight import probes
from skillrl.skills.bank import SkillBank
from skillrl.skills.store import save_bank
from skillrl.types import Skill
from tests import loopback

SHIPPED = presets.resolve_path("asset:tiny_qwen2_alfworld")


@pytest.fixture
def here(tmp_path, monkeypatch, toy_env):
    monkeypatch.chdir(tmp_path)
    Path("policy").symlink_to(SHIPPED)
    return ["--dry_run", f"--env={toy_env}", "--set=model.policy_path=policy"]


@pytest.fixture
def nobody():
    """The address of a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def refused(capsys, *arguments: str) -> list[str]:
    """The problems that a dry run lists."""
    assert main.main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert "Nothing is missing" not in captured.out
    lines = captured.err.splitlines()
    assert all(line.startswith("skillrl train: error: ") for line in lines)
    return [line.removeprefix("skillrl train: error: ") for line in lines]


def test_what_is_there_is_not_missing(here, capsys):
    assert main.main(["train", *here]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("Nothing is missing")
    assert "would run in runs/toy-seed0:" in out
    assert "teacher calls" in out
    assert "memory" in out
    assert '"rl": {' not in out  # the config is behind --show_config
    assert not Path("runs").exists()


def test_everything_that_is_missing_is_listed(here, nobody, capsys):
    Path("policy").unlink()
    Path("policy").mkdir()
    Path("full").write_text("")
    problems = refused(
        capsys,
        *here,
        "--workdir=full/run",
        "--set=mesh.fsdp=64",
        "--set=rl.advantage=gripo",
        "--set=model.teacher=openai",
        "--set=model.embedder=openai",
        f"--set=model.embedding_api_base={nobody}",
    )
    words = [
        ["--workdir=full/run", "cannot be used"],
        ["gripo"],
        ["--workdir=full/run", "full is not a directory"],
        ["mesh.fsdp=64", "needs 64 devices"],
        ["policy", "no config.json"],
        ["teacher: https://api.openai.com/v1 needs an API key", "SKILLRL_TEACHER_API_KEY"],
        ["embedding: http://127.0.0.1", "does not answer", "model.embedding_api_base"],
    ]
    assert len(problems) == len(words), "\n".join(problems)
    for problem, wanted in zip(problems, words, strict=True):
        assert all(word in problem for word in wanted), problem


def test_attention_that_needs_another_device(here, capsys):
    (problem,) = refused(capsys, *here, "--set=model.attention=splash")
    assert "needs a TPU" in problem


def copied(**files: str | None) -> None:
    """The policy as a directory of its own, some files with other content, or gone."""
    Path("policy").unlink()
    shutil.copytree(SHIPPED, "policy")
    for name, content in files.items():
        path = Path("policy", f"{name}.json" if name == "tokenizer" else f"{name}.safetensors")
        path.unlink()
        if content is not None:
            path.write_text(content)


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"tokenizer": None}, "tokenizer"),
        ({"model": None}, "does not exist"),
        ({"model": "cut short"}, "damaged or cut short"),
    ],
)
def test_a_policy_that_is_not_whole(here, capsys, files, word):
    copied(**files)
    (problem,) = refused(capsys, *here)
    assert word in problem


def served(server: loopback.Server) -> list[str]:
    names = ("model.teacher=openai", "model.teacher_model_id=t1")
    return [f"--set={name}" for name in (*names, f"model.teacher_api_base={server.url}/v1")]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (loopback.Reply(401), ["refuses the API key (status 401)", "SKILLRL_TEACHER_API_KEY"]),
        (loopback.Reply(403), ["refuses the API key (status 403)"]),
        (loopback.Reply(500), ["is in trouble (status 500)"]),
    ],
)
def test_a_server_that_would_not_serve(here, capsys, monkeypatch, reply, words):
    monkeypatch.setenv("SKILLRL_TEACHER_API_KEY", "sk-wrong-key")
    with loopback.Server(lambda path, body: reply) as server:
        (problem,) = refused(capsys, *here, *served(server))
        assert all(word in problem for word in words), problem
        assert "sk-wrong" not in problem
        (path, _, headers) = server.requests[0]
    assert path == "/v1/models"
    assert headers["Authorization"] == "Bearer sk-wrong-key"


@pytest.mark.parametrize(
    "reply",
    [
        loopback.Reply(404),
        loopback.Reply(body="<html>"),
        loopback.Reply(body={"data": [{"id": "t1"}]}),
    ],
)
def test_a_server_need_not_list_its_models(here, capsys, reply):
    with loopback.Server(lambda path, body: reply) as server:
        assert main.main(["train", *here, *served(server)]) == 0
    assert "note:" not in capsys.readouterr().out


def test_a_model_that_is_not_in_the_list_is_noted(here, capsys):
    listed = {"data": [{"id": "t2"}, {"id": "t3"}]}
    with loopback.Server(lambda path, body: listed) as server:
        assert main.main(["train", *here, *served(server)]) == 0
    assert "does not list 't1', but t2, t3" in capsys.readouterr().out


def test_a_server_that_never_answers_does_not_hold_it_up(here, capsys, monkeypatch):
    monkeypatch.setattr(probes, "TIME_LIMIT", 0.1)
    with loopback.Server(lambda path, body: loopback.Reply(hang=1.0)) as server:
        (problem,) = refused(capsys, *here, *served(server))
    assert "does not answer" in problem


def test_only_the_servers_that_a_command_asks_are_asked(here, capsys):
    with loopback.Server(lambda path, body: loopback.Reply(500)) as server:
        assert main.main(["collect", *here, *served(server)]) == 0
        assert server.requests == []


def test_a_question_has_a_time_limit():
    import threading

    with pytest.raises(SkillRLError, match=r"nobody says anything \(0\.05 s\)"):
        probes.in_time(threading.Event().wait, 0.05, "nobody says anything")
    with pytest.raises(ZeroDivisionError):
        probes.in_time(lambda: 1 / 0, 5.0, "late")
    assert probes.in_time(lambda: 3, 5.0, "late") == 3


def test_retrievers_are_asked_a_question(tmp_path, monkeypatch, capsys, nobody):
    monkeypatch.chdir(tmp_path)
    found = {"result": [[{"document": {"id": "1", "contents": '"A"\nb'}, "score": 1.0}]]}
    with loopback.Server(lambda path, body: found) as server:
        flags = ["--dry_run", "--env=search", "--set=env.search.retriever=http"]
        urls = f'--set=env.search.urls=["{server.url}/retrieve"]'
        assert main.main(["train", *flags, urls]) == 0
        assert server.requests[-1][1]["query"]
        capsys.readouterr()
        urls = f'--set=env.search.urls=["{server.url}/retrieve", "{nobody}"]'
        (problem,) = refused(capsys, *flags, urls)
    assert "env.search.urls" in problem
    assert nobody in problem


def test_environment_servers_are_asked(tmp_path, monkeypatch, capsys, nobody):
    monkeypatch.chdir(tmp_path)
    flags = ["--env=agentgym_alfworld", f"--set=env.server.url={nobody}"]
    (problem,) = refused(capsys, "--dry_run", *flags)
    assert nobody in problem


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_to(here, capsys):
    Path("closed").mkdir(mode=0o500)
    (problem,) = refused(capsys, *here, "--workdir=closed/run")
    assert "closed cannot be written to" in problem


def test_an_output_below_a_file(here, capsys):
    Path("file").write_text("")
    assert main.main(["collect", *here, "--output=file/t.jsonl"]) == 2
    assert "--output=file: " in capsys.readouterr().err


def test_a_policy_on_the_hub_is_looked_up_and_not_fetched(here, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    config = (SHIPPED / "config.json").read_text()
    flags = [*here[:2], "--set=model.policy_path=", "--set=model.policy_model_id=me/mine"]
    with loopback.Server(lambda path, body: loopback.Reply(body=config)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert main.main(["train", *flags]) == 0
        assert [path for path, *_ in server.requests] == ["/me/mine/resolve/main/config.json"]
        assert "me/mine will be downloaded" in capsys.readouterr().out
        server.faults.append(loopback.Reply(404))
        (problem,) = refused(capsys, *flags)
        assert "answers 404" in problem
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        (problem,) = refused(capsys, *flags)
        assert "HF_HUB_OFFLINE" in problem


def test_an_adapter_that_is_none(here, capsys):
    Path("adapter").mkdir()
    (problem,) = refused(capsys, *here, "--set=model.adapter_path=adapter")
    assert "no LoRA adapter" in problem


@pytest.mark.parametrize("more", [[], ["--dry_run"]])
def test_demonstrations_without_an_expert(here, capsys, monkeypatch, more):
    toy = type(make_suite("toy", EnvConfig()))
    monkeypatch.setattr(toy, "expert", lambda self, task: None)
    (problem,) = refused(capsys, *here[1:], *more)
    assert "has no expert for collect.expert_episodes=36: set it to 0" in problem
    assert main.main(["train", *here, "--set=collect.expert_episodes=0"]) == 0


def test_a_bank_that_does_not_fit_is_refused_with_settings_that_fit(here, capsys):
    skills = [
        Skill(id=f"gen_{i:03d}", title=f"Rule {i}", principle="look at every shelf " * 150)
        for i in range(3)
    ]
    save_bank(SkillBank(tuple(skills)), Path("bank.json"))
    flags = [*here, "--skill_bank=bank.json"]
    assert main.main(["rl", *flags]) == 2
    said = capsys.readouterr().err
    assert "prompts have up to" in said
    assert "rollout.prefix_buckets=[" in said
    assert main.main(["rl", *flags, "--set=skill_retrieval.general_top_k=0"]) == 0
    assert not Path("runs").exists()


@pytest.mark.parametrize("checkpoint", ["sft", "rl"])
def test_an_evaluation_of_nothing(here, capsys, checkpoint):
    assert main.main(["evaluate", *here, f"--checkpoint={checkpoint}"]) == 2
    assert "has no such checkpoint yet" in capsys.readouterr().err
    assert main.main(["evaluate", *here, "--checkpoint=base"]) == 0
