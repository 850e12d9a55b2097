import json
import logging
import types

import numpy as np
import pytest

from skillrl.errors import SkillRLError
from skillrl.teacher import registry
from skillrl.teacher.ask import ask_json
from skillrl.teacher.base import TeacherError
from skillrl.teacher.openai import OpenAIEmbedder, OpenAITeacher
from skillrl.teacher.simulated import SimulatedTeacher
from tests.loopback import Reply, Server, chat

KEY = "sk-secret-abcdef"
ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("SKILLRL_TEACHER_API_KEY", "SKILLRL_EMBEDDING_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def make(server, folder=None, cls=OpenAITeacher, **options):
    options = {"sleep": lambda _: None, "retries": 2, "timeout": 2.0} | options
    return cls(server.url + "/v1/", "m", KEY, cache_dir=folder, **options)


def test_a_resumed_run_asks_nothing_twice_and_no_key_is_written(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG), Server(lambda *_: chat("hi")) as server:
        server.faults += [Reply(500, f"bad {KEY}")]
        first = make(server, tmp_path, options={"temperature": 0})
        assert first.complete(ASK, purpose="evolve") == "hi"
        again = make(server, tmp_path, options={"temperature": 0})
        assert again.complete(ASK, purpose="evolve") == "hi"
        assert (first.requests_sent, again.requests_sent, len(server.requests)) == (1, 0, 2)
        assert server.requests[0][0] == "/v1/chat/completions"
        assert server.requests[0][1] == {"model": "m", "messages": ASK, "temperature": 0}
        assert server.requests[0][2]["Authorization"] == f"Bearer {KEY}"
        make(server, tmp_path).complete(ASK, purpose="evolve")  # another request: other options
        assert len(server.requests) == 3
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert len(list(tmp_path.iterdir())) == 2
    assert KEY.encode() not in written
    assert KEY not in caplog.text + repr(first) + str(vars(first).keys())


def test_a_broken_stored_answer_is_named(tmp_path):
    with Server(lambda *_: chat("hi")) as server:
        make(server, tmp_path).complete(ASK, purpose="x")
        (stored,) = tmp_path.iterdir()
        stored.write_text("{")
        with pytest.raises(SkillRLError, match="Delete the file"):
            make(server, tmp_path).complete(ASK, purpose="x")


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, [], {"choices": [{"message": {"content": 3}}]}]
)
def test_wrong_schema_is_a_teacher_error_and_is_not_stored(tmp_path, body):
    with Server(lambda *_: body) as server, pytest.raises(TeacherError, match="OpenAI-compatible"):
        make(server, tmp_path).complete(ASK, purpose="x")
    assert not list(tmp_path.iterdir())


def test_an_empty_answer_is_not_stored(tmp_path):
    with Server(lambda *_: chat(None)) as server:
        assert make(server, tmp_path).complete(ASK, purpose="x") == ""
    assert not list(tmp_path.iterdir())


def test_a_dead_teacher_is_a_teacher_error_without_the_key():
    with (
        Server(lambda *_: Reply(401, f"wrong key {KEY}")) as server,
        pytest.raises(TeacherError, match="401") as caught,
    ):
        make(server).complete(ASK, purpose="x")
    assert KEY not in str(caught.value)


def test_keys_from_the_environment_reach_only_their_own_server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "openai-own-key")
    with Server(lambda *_: chat("hi")) as server:
        OpenAITeacher(server.url, "m").complete(ASK, purpose="x")
        assert "Authorization" not in server.requests[0][2]
        monkeypatch.setenv("SKILLRL_TEACHER_API_KEY", "teacher-key")
        OpenAITeacher(server.url, "m").complete(ASK, purpose="x")
        assert server.requests[1][2]["Authorization"] == "Bearer teacher-key"


def test_embeddings_are_normalised_in_order_and_stored_per_text(tmp_path):
    table = {"a": [3.0, 4.0], "b": [0.0, 2.0], "c": [1.0, 0.0]}

    def answer(path, body):
        rows = [{"index": i, "embedding": table[t]} for i, t in enumerate(body["input"])]
        return {"data": rows[::-1]}

    with Server(answer) as server:
        first = make(server, tmp_path, OpenAIEmbedder, batch=2)
        found = first.embed(["a", "b", "a"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [[0.6, 0.8], [0, 1], [0.6, 0.8]], rtol=1e-6)
        make(server, tmp_path, OpenAIEmbedder).embed(["b", "c"])
        assert [body["input"] for _, body, _ in server.requests] == [["a", "b"], ["c"]]
        assert first.embed([]).shape[0] == 0


@pytest.mark.parametrize("rows", [[], [{"index": 0, "embedding": []}], [{"index": 0}], 5])
def test_wrong_embeddings(rows):
    with Server(lambda *_: {"data": rows}) as server, pytest.raises(TeacherError):
        make(server, None, OpenAIEmbedder).embed(["a"])


def test_malformed_answers_are_asked_again_with_the_error_then_skipped():
    answers = ["no json", '{"n": -1}', 'Sure [1]: ```json\n{"n": 5}\n```']

    def answer(path, body):
        return chat(answers[len(body["messages"]) // 2])

    def check(value):
        if value["n"] < 0:
            raise ValueError("n must not be negative")
        return value["n"]

    with Server(answer) as server:
        value, counts = ask_json(make(server), ASK, check, purpose="x")
        assert (value, counts.asked, counts.malformed, counts.skipped) == (5, 3, 2, 0)
        last = server.requests[-1][1]["messages"]
        assert "no JSON" in last[2]["content"]
        assert "n must not be negative" in last[4]["content"]
        value, counts = ask_json(make(server), ASK, check, purpose="x", max_tries=2)
        assert (value, counts.asked, counts.malformed, counts.skipped) == (None, 2, 2, 1)


def test_registry():
    config = types.SimpleNamespace(
        teacher="simulated", embedder="openai", embedding_api_base="http://h/v1",
        embedding_model_id="e", embedding_api_key=KEY,
    )  # fmt: skip
    assert isinstance(registry.make_teacher(config, None), SimulatedTeacher)
    embedder = registry.make_embedder(config, None)
    assert (embedder.model_id, embedder.api_base) == ("e", "http://h/v1")
    config.teacher = "oracle"
    with pytest.raises(SkillRLError, match="openai, simulated"):
        registry.make_teacher(config, None)
    config.embedder = "word2vec"
    with pytest.raises(SkillRLError, match="hashing, openai"):
        registry.make_embedder(config, None)


def test_the_stored_file_holds_the_request(tmp_path):
    with Server(lambda *_: chat("hi")) as server:
        make(server, tmp_path).complete(ASK, purpose="x")
        (stored,) = tmp_path.iterdir()
        record = json.loads(stored.read_text())
        assert record["request"]["messages"] == ASK
        assert set(record) == {"format", "request", "answer", "checksum"}
