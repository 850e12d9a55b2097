import threading

import pytest

from skillrl.errors import SkillRLError
from skillrl.inference.openai import ChatRequest, OpenAIEngine
from tests.loopback import Reply, Server, chat


def requests(*texts):
    return [
        ChatRequest([{"role": "user", "content": t}], 16, 0.5, seed=i) for i, t in enumerate(texts)
    ]


def test_order_seed_and_logprobs():
    def answer(path, body):
        return chat(body["messages"][0]["content"].upper(), [-0.5, -1.0])

    with (
        Server(answer) as server,
        OpenAIEngine(server.url, "m", "key-1234", logprobs=True) as engine,
    ):
        found = engine.generate(requests("a", "b", "c"))
        assert [c.text for c in found] == ["A", "B", "C"]
        assert found[0].token_logprobs == (-0.5, -1.0)
        assert found[0].finished
        sent = sorted(
            (body["messages"][0]["content"], body["seed"]) for _, body, _ in server.requests
        )
        assert sent == [("a", 0), ("b", 1), ("c", 2)]
        assert all(body["max_tokens"] == 16 for _, body, _ in server.requests)
        assert "key-1234" not in repr(engine)
        assert engine.generate([]) == []


def test_requests_run_at_the_same_time():
    together = threading.Barrier(3, timeout=5)  # breaks unless three requests are in flight

    def answer(path, body):
        together.wait()
        return chat("ok")

    with Server(answer) as server, OpenAIEngine(server.url, "m", concurrency=3) as engine:
        assert len(engine.generate(requests("a", "b", "c"))) == 3


def test_missing_logprobs_and_cut_off():
    reply = chat("long")
    reply["choices"][0]["finish_reason"] = "length"
    with Server(lambda *_: reply) as server, OpenAIEngine(server.url, "m") as engine:
        (found,) = engine.generate(requests("a"))
        assert found.token_logprobs is None
        assert not found.finished


def test_faults_are_retried_and_wrong_schema_is_named():
    with Server(lambda *_: {"hello": 1}) as server:
        server.faults += [Reply(500), Reply(body=chat("ok"))]
        with OpenAIEngine(server.url, "m", sleep=lambda _: None) as engine:
            assert engine.generate(requests("a"))[0].text == "ok"
            with pytest.raises(SkillRLError, match="not a chat completion"):
                engine.generate(requests("a"))
