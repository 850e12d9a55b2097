import json
import logging
import subprocess
import sys
import threading

import pytest

from skillrl.errors import SkillRLError
from skillrl.inference.base import Unanswered
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


def test_an_interrupted_command_does_not_wait_for_a_silent_server():
    """Ctrl-C while 60 s of silence have hardly begun: the process ends all the same."""
    silent = Server(lambda *_: Reply(hang=60.0))
    script = (
        "import os, signal, sys, threading\n"
        "from skillrl.inference.openai import ChatRequest, OpenAIEngine\n"
        "engine = OpenAIEngine(sys.argv[1], 'm', timeout=60.0)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "engine.generate([ChatRequest([{'role': 'user', 'content': 'x'}], 1)])\n"
    )
    with silent as server:
        command = [sys.executable, "-c", script, server.url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert "KeyboardInterrupt" in ended.stderr


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


def refusing(names, status=400):
    """An answer of a server that refuses these options, one at a time, as OpenAI's does."""

    def answer(path, body):
        for name in names:
            if name in body:
                instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                error = {
                    "message": f"Unsupported parameter: '{name}' is not supported.{instead}",
                    "param": name,
                }
                return Reply(status, {"error": error})
        return chat(json.dumps(sorted(body)))

    return answer


def test_a_model_that_wants_other_options_is_asked_its_own_way_and_the_log_says_so(caplog):
    with (
        caplog.at_level(logging.INFO),
        Server(refusing(["max_tokens", "temperature"])) as server,
        OpenAIEngine(server.url, "o9", concurrency=4) as engine,
    ):
        for found in engine.generate(requests("a")) + engine.generate(requests("b", "c", "d")):
            sent = json.loads(found.text)
            assert sent == ["max_completion_tokens", "messages", "model", "seed"]
        assert len(server.requests) == 3 + 3  # twice refused, and remembered
        assert server.requests[-1][1]["max_completion_tokens"] == 16
    assert caplog.text.count("o9 refuses temperature=0.5") == 1
    assert "not those of temperature 0.5" in caplog.text


def test_a_server_that_forbids_extra_fields(caplog):
    detail = [
        {
            "type": "extra_forbidden",
            "loc": ["body", "seed"],
            "msg": "Extra inputs are not permitted",
        }
    ]

    def answer(path, body):
        return Reply(422, {"message": {"detail": detail}}) if "seed" in body else chat("ok")

    with Server(answer) as server, OpenAIEngine(server.url, "mistral") as engine:
        assert engine.generate(requests("a", "b"))[1].text == "ok"
    assert caplog.text.count("mistral refuses seed=") == 1


@pytest.mark.parametrize(
    "message",
    [
        "temperature must be at most 0.1",
        "max_tokens is too large: 16. This model supports at most 8 completion tokens",
        "maximum context length is 4 tokens; max_tokens is not supported beyond",
        "unknown model",
    ],
)
def test_a_value_that_is_refused_is_not_left_out(message):
    reply = Reply(400, {"error": {"message": message}})
    with Server(lambda *_: reply) as server, OpenAIEngine(server.url, "m") as engine:
        with pytest.raises(SkillRLError, match="status 400"):
            engine.generate(requests("a"))
        assert len(server.requests) == 1


def test_an_option_refused_by_both_names_ends_it():
    names = ["max_tokens", "max_completion_tokens"]
    with Server(refusing(names)) as server, OpenAIEngine(server.url, "m") as engine:
        with pytest.raises(SkillRLError, match="max_completion_tokens"):
            engine.generate(requests("a"))
        assert len(server.requests) == 2


def test_content_parts_are_joined():
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "<action>look</action>"},
    ]
    with Server(lambda *_: chat(parts)) as server, OpenAIEngine(server.url, "m") as engine:
        assert engine.generate(requests("a"))[0].text == "<action>look</action>"


def test_answers_without_text_are_counted_and_named(caplog):
    reply = chat(None)
    reply["choices"][0]["finish_reason"] = "length"
    with Server(lambda *_: reply) as server, OpenAIEngine(server.url, "m") as engine:
        found = engine.generate(requests(*"abcdefghijk"))
    assert {c.text for c in found} == {""}
    assert not any(c.finished for c in found)
    assert [r.getMessage().split(" answer")[0] for r in caplog.records] == ["m: 1", "m: 10"]
    assert "finish_reason=length" in caplog.text


FAULTS = {
    "context": (Reply(400, {"message": "maximum context length is 400 tokens"}), True),
    "schema": (Reply(body={"choices": None}), False),
    "stated": (Reply(body={"error": {"message": "provider", "code": 502}}), False),
    "stated, no code": (Reply(body={"error": "moderated"}), True),
    "500": (Reply(500), False),
    "not JSON": (Reply(body="<html>"), False),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_one_request_fails_of_is_no_matter_of_the_others(kind):
    reply, rejected = FAULTS[kind]

    def answer(path, body):
        return reply if body["messages"][0]["content"] == "b" else chat("ok")

    with (
        Server(answer) as server,
        OpenAIEngine(server.url, "m", retries=1, sleep=lambda _: None) as engine,
    ):
        first, second, third = engine.answers(requests("a", "b", "c"))
    assert first.text == third.text == "ok"
    assert isinstance(second, Unanswered)
    assert second.rejected is rejected


@pytest.mark.parametrize("status", [401, 403, 404, 429, 307])
def test_what_no_request_could_pass_ends_all_of_them(status):
    with (
        Server(lambda *_: Reply(status)) as server,
        OpenAIEngine(server.url, "m", retries=0) as engine,
        pytest.raises(SkillRLError, match=f"status {status}"),
    ):
        engine.answers(requests("a", "b"))


def test_a_server_that_dies_ends_all_of_them():
    with Server(lambda *_: chat("ok")) as server:
        engine = OpenAIEngine(server.url, "m", retries=1, sleep=lambda _: None)
        assert engine.generate(requests("a"))
    with engine, pytest.raises(SkillRLError, match="Is the server running"):
        engine.answers(requests("a", "b"))
