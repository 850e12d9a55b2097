import base64
import dataclasses
import json
import logging

import numpy as np
import pytest

from skillrl.config.settings import ModelConfig
from skillrl.errors import SkillRLError
from skillrl.teacher import registry
from skillrl.teacher.ask import ask_json
from skillrl.teacher.base import TeacherError, Unusable
from skillrl.teacher.openai import OpenAIEmbedder, OpenAITeacher
from skillrl.teacher.simulated import SimulatedTeacher
from tests.loopback import Reply, Server, chat

KEY = "sk-secret-abcdef"
ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("SKILLRL_TEACHER_API_KEY", "SKILLRL_EMBEDDING_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def make(server, folder=None, cls=OpenAITeacher, key=KEY, **options):
    options = {"retries": 2, "timeout": 2.0, "sleep": lambda _: None, **options}
    return cls(server.url + "/v1/", "m", key, cache_dir=folder, **options)


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
    empty = pytest.raises(Unusable, match=r"empty \(finish_reason=stop\)")
    with Server(lambda *_: chat(None)) as server, empty:
        make(server, tmp_path).complete(ASK, purpose="x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("message", "finish", "why"),
    [
        ({"content": None, "refusal": "I must not"}, "stop", "refused: 'I must not'"),
        ({"content": '[{"title": "cut'}, "length", "cut off by the token limit after 15"),
        ({"content": None}, "content_filter", "stopped by a filter"),
    ],
)
def test_what_is_no_whole_answer_is_named_and_never_stored(tmp_path, message, finish, why):
    body = {"choices": [{"message": message, "finish_reason": finish}]}
    with Server(lambda *_: body) as server:
        with pytest.raises(Unusable, match=why) as caught:
            make(server, tmp_path).complete(ASK, purpose="x")
        assert caught.value.question
        value, counts = ask_json(make(server, tmp_path), ASK, list, purpose="x")
    assert (value, counts.malformed, counts.skipped) == (None, 3, 1)
    assert why in counts.reasons[0]
    assert not list(tmp_path.iterdir())


def test_an_answer_that_could_not_be_used_is_asked_again_by_the_next_session(tmp_path):
    answers = ["[1", "{}", '"x"', "[2]"]
    with Server(lambda *_: chat(answers[min(len(server.requests), 4) - 1])) as server:

        def check(value):
            if not isinstance(value, list):
                raise ValueError("expected a list")
            return value

        assert ask_json(make(server, tmp_path), ASK, check, purpose="x")[0] is None
        assert not list(tmp_path.iterdir())
        value, counts = ask_json(make(server, tmp_path), ASK, check, purpose="x")
        assert (value, counts.asked) == ([2], 1)
        assert ask_json(make(server, tmp_path), ASK, check, purpose="x")[0] == [2]
        assert len(server.requests) == 4


def test_a_malformed_answer_of_an_older_version_locks_nothing(tmp_path):
    """Such versions kept every answer; each of them is dropped when it is met."""
    with Server(lambda *_: chat("no JSON")) as server:
        make(server, tmp_path).complete(ASK, purpose="x")
    assert len(list(tmp_path.iterdir())) == 1
    (stored,) = tmp_path.iterdir()
    record = json.loads(stored.read_text())
    del record["checksum"]
    stored.write_text(json.dumps(record).replace("no JSON", "cut \\ud83d"))
    with Server(lambda *_: chat("[1]")) as other:
        teacher = make(server, tmp_path)
        assert teacher.complete(ASK, purpose="x") == "cut \ufffd"
        teacher.forget(ASK)
        assert ask_json(make(other, tmp_path), ASK, list, purpose="x")[0] == [1]


@pytest.mark.parametrize(
    ("status", "body", "question", "too_long"),
    [
        (400, {"message": "maximum context length is 400 tokens"}, True, True),
        (413, "", True, True),
        (422, {"detail": "no"}, True, False),
        (200, {"error": {"message": "provider error"}}, True, False),
        (200, {"choices": None}, True, False),
        (401, "", False, False),
        (500, "", False, False),
    ],
)
def test_whose_failure_it_is(status, body, question, too_long):
    with Server(lambda *_: Reply(status, body)) as server, pytest.raises(TeacherError) as caught:
        make(server, retries=0).complete(ASK, purpose="x")
    assert (caught.value.question, caught.value.too_long) == (question, too_long)


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
        make(server, key="").complete(ASK, purpose="x")
        assert "Authorization" not in server.requests[0][2]
        monkeypatch.setenv("SKILLRL_TEACHER_API_KEY", "teacher-key")
        make(server, key="").complete(ASK, purpose="x")
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


GOOD = {"index": 0, "embedding": [1.0, 2.0]}


def row(embedding, index=0):
    return [{"index": index, "embedding": embedding}]


@pytest.mark.parametrize(
    "rows",
    [
        [], row([]), [{"index": 0}], 5, [5], [GOOD, GOOD], row([[1.0, 2.0]]), row(["1", "2"]),
        row(None), row([1.0, None]), row([float("nan"), 1.0]), row([1e400, 1.0]), row([10**400]),
        row([True, False]), row([0.0, 0.0]), row("not base64!"), row("AAA="), row({"a": 1}),
        row([1.0], index=1), row([1.0], index="0"), row([1.0], index=True),
    ],
)  # fmt: skip
def test_wrong_embeddings_are_refused_and_not_stored(tmp_path, rows):
    wrong = pytest.raises(TeacherError, match="cannot be used")
    with Server(lambda *_: {"data": rows}) as server, wrong:
        make(server, tmp_path, OpenAIEmbedder).embed(["a"])
    assert not list(tmp_path.iterdir())


def test_two_rows_of_one_index_are_not_put_in_some_order():
    rows = [{"index": 0, "embedding": [1.0, 0.0]}, {"index": 0, "embedding": [0.0, 1.0]}]
    wrong = pytest.raises(TeacherError, match="indices")
    with Server(lambda *_: {"data": rows}) as server, wrong:
        make(server, None, OpenAIEmbedder).embed(["a", "b"])


def test_base64_and_rows_without_index_are_read_as_others_read_them():
    packed = base64.b64encode(np.asarray([3, 4], "<f4").tobytes()).decode()
    rows = [{"embedding": packed}, {"embedding": [0, 1e200]}]
    with Server(lambda *_: {"data": rows}) as server:
        found = make(server, None, OpenAIEmbedder).embed(["a", "b"])
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("most", "status", "says"),
    [
        (10, 400, "Value error, batch size is invalid, it should not be larger than 10."),
        (32, 413, "batch size 64 > maximum allowed batch size 32"),
        (1, 422, "too many inputs"),
    ],
)
def test_a_server_that_takes_fewer_texts_at_once(most, status, says, caplog):
    def answer(path, body):
        if len(body["input"]) > most:
            return Reply(status, {"error": {"message": says}})
        rows = [{"index": i, "embedding": [len(t), 1.0]} for i, t in enumerate(body["input"])]
        return {"data": rows}

    with Server(answer) as server, caplog.at_level(logging.WARNING):
        embedder = make(server, None, OpenAIEmbedder)
        found = embedder.embed([("x" * (i + 1)) for i in range(70)])
        assert found[:, 0] == pytest.approx([n / np.hypot(n, 1) for n in range(1, 71)])
        sizes = [len(body["input"]) for _, body, _ in server.requests]
        assert max(sizes[-3:]) <= most  # remembered, not tried each time
        assert "model.embedding_batch_size" in caplog.text
        asked = len(sizes)
        embedder.embed(["once more"])
        assert len(server.requests) == asked + 1


def test_a_text_beyond_the_embedders_context_is_compared_by_its_beginning(tmp_path, caplog):
    def answer(path, body):
        if any(len(text) > 600 for text in body["input"]):
            return Reply(413, {"error": "inputs must have less than 512 tokens. Given: 900"})
        rows = [{"index": i, "embedding": [len(t), 1.0]} for i, t in enumerate(body["input"])]
        return {"data": rows}

    with Server(answer) as server:
        found = make(server, tmp_path, OpenAIEmbedder).embed(["a", "b" * 2000, "c"])
        assert found[:, 1] / found[:, 0] == pytest.approx([1, 1 / 500, 1])
        asked = len(server.requests)
        again = make(server, tmp_path, OpenAIEmbedder).embed(["b" * 2000])
        assert len(server.requests) == asked
        assert again[0] == pytest.approx(found[1])
        server.faults += [Reply(413)] * 9
        with pytest.raises(TeacherError, match="too long for the server"):
            make(server, None, OpenAIEmbedder).embed(["b" * 2000])
    assert "a text of 2000 characters is too long" in caplog.text


def test_another_refusal_is_not_taken_for_one_of_the_batch():
    with Server(lambda *_: Reply(400, {"error": "no such model"})) as server:
        with pytest.raises(TeacherError, match="no such model"):
            make(server, None, OpenAIEmbedder).embed(["a", "b"])
        assert len(server.requests) == 1


def test_vectors_of_another_model_are_not_mixed_with_those_on_disk(tmp_path):
    size = 2

    def answer(path, body):
        return {
            "data": [{"index": i, "embedding": [1.0] * size} for i, _ in enumerate(body["input"])]
        }

    with Server(answer) as server:
        make(server, tmp_path, OpenAIEmbedder).embed(["a"])
        size = 3
        for _ in range(2):
            with pytest.raises(TeacherError, match="of 2 and of 3 numbers"):
                make(server, tmp_path, OpenAIEmbedder).embed(["a", "b"])
        assert len(list(tmp_path.iterdir())) == 1


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
    config = ModelConfig(
        teacher="simulated", embedder="openai", embedding_api_base="http://h/v1",
        embedding_model_id="e", embedding_api_key=KEY, embedding_batch_size=7,
    )  # fmt: skip
    assert isinstance(registry.make_teacher(config, None), SimulatedTeacher)
    embedder = registry.make_embedder(config, None)
    assert (embedder.model_id, embedder.client.api_base) == ("e", "http://h/v1")
    assert embedder._batch == 7
    config = dataclasses.replace(config, teacher="oracle", embedder="word2vec")
    with pytest.raises(SkillRLError, match=r"no such teacher.*openai.*simulated"):
        registry.make_teacher(config, None)
    with pytest.raises(SkillRLError, match="hashing, openai"):
        registry.make_embedder(config, None)


def test_the_stored_file_holds_the_request(tmp_path):
    with Server(lambda *_: chat("hi")) as server:
        make(server, tmp_path).complete(ASK, purpose="x")
        (stored,) = tmp_path.iterdir()
        record = json.loads(stored.read_text())
        assert record["request"]["messages"] == ASK
        assert set(record) == {"format", "request", "answer", "checksum"}


def test_the_longest_answer_is_a_setting_that_any_server_takes(tmp_path):
    """OpenAI's o-series knows it by another name; the answer is kept under the same request."""

    def answer(path, body):
        if "max_tokens" in body:
            error = {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "param": "max_tokens",
            }
            return Reply(400, {"error": error})
        return chat(f"[{body['max_completion_tokens']}]")

    with Server(answer) as server:
        config = ModelConfig(
            teacher_api_base=server.url, teacher_max_tokens=77, teacher_retries=0, teacher="openai"
        )
        for _ in range(2):
            assert registry.make_teacher(config, tmp_path).complete(ASK, purpose="x") == "[77]"
        assert len(server.requests) == 2
