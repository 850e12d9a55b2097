"""At connect a client sees what it is talking to, and says what to do about it."""

from __future__ import annotations

import json

import pytest

from skillrl.config.settings import EnvConfig, ServerConfig
from skillrl.envs import make_suite
from skillrl.errors import SkillRLError
from skillrl.net.clients import is_loopback
from tests.envs.remote.stand_in import client, ours, stand_in
from tests.envs.serve.running import Thread, free_port

ENVS = ["agentgym_alfworld", "agentgym_webshop", "openenv"]
REMEDY = "--set env.server.url=http://HOST:PORT, or start one: python launchers/serve_env.py"


def answering(body: bytes, status: int = 200, kind: bytes = b"text/html"):
    """A server that answers everything alike."""

    async def app(scope, receive, send):
        if scope["type"] == "http":
            headers = [(b"content-type", kind)]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return Thread(lambda: app)


@pytest.mark.parametrize("env", ENVS)
def test_nobody_listens(env):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SkillRLError) as refused:
        client(env, url)
    assert url in str(refused.value)
    assert REMEDY in str(refused.value)


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>Grafana</html>", 200), (b"", 302), (b'{"ok": true}', 200), (b"no", 404), (b"3", 200)],
)
def test_something_else_answers(env, body, status):
    with answering(body, status) as server, pytest.raises(SkillRLError) as refused:
        client(env, server)
    message = str(refused.value)
    assert server.url in message
    assert REMEDY in message
    assert (body.decode() or "(nothing)") in message


def test_a_silent_server_is_not_waited_for_three_times():
    with answering(b"") as server:
        server.faults["/"] = ["hang", "hang"]
        with pytest.raises(SkillRLError, match="Timeout"):
            client("agentgym_alfworld", server, timeout=0.1)
        assert server.requests == ["/"]


def test_agentgyms_servers_are_told_apart():
    with Thread(lambda: stand_in("agentgym-webshop")) as server:
        with pytest.raises(SkillRLError, match="as AgentGym's WebShop server does"):
            client("agentgym_alfworld", server)
        with pytest.raises(SkillRLError, match="is not an OpenEnv server"):
            client("openenv", server)
    another = pytest.raises(SkillRLError, match="as another of AgentGym's servers does")
    with Thread(lambda: stand_in("agentgym-alfworld")) as server, another:
        client("agentgym_webshop", server)
    with answering(b'"This is environment SciWorld."') as server, another:
        client("agentgym_alfworld", server)


def test_defaults_are_the_documented_addresses():
    from skillrl.envs.remote import AgentGymAlfworldSuite, AgentGymWebshopSuite, OpenEnvSuite

    assert AgentGymAlfworldSuite.default_url == "http://localhost:3000"
    assert AgentGymWebshopSuite.default_url == "http://localhost:3001"
    assert OpenEnvSuite.default_url == "http://localhost:8000"


def test_a_slash_at_the_end_is_no_other_server():
    with Thread(lambda: ours("agentgym")) as server:
        assert client("agentgym_alfworld", server.url + "/").connection.url == server.url


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.2:1", True),
        ("http://[::1]:3000", True),
        ("http://10.0.0.1:3000", False),
        ("https://example.org", False),
    ],
)
def test_loopback(url, answer):
    assert is_loopback(url) is answer


def openenv_with(action):
    """An OpenEnv server by its /health and /schema."""

    async def app(scope, receive, send):
        if scope["type"] == "http":
            schema = {"action": {"properties": action, "required": list(action)[:1]}}
            body = {"status": "healthy"} if scope["path"] == "/health" else schema
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    return Thread(lambda: app)


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def test_the_field_that_takes_the_action():
    with openenv_with({"metadata": {"type": "object"}, "message": TEXT}) as server:
        assert client("openenv", server)._action_field == "message"
    with openenv_with({"code": TEXT, "language": TEXT}) as server:
        assert client("openenv", server)._action_field == "code"  # the required one
        suite = client("openenv", server, action_field="language")
        assert suite._action_field == "language"
    unclear = pytest.raises(SkillRLError, match=r"has the fields move.*env.server.action_field")
    with openenv_with({"move": NUMBER}) as server, unclear:
        client("openenv", server)


def test_settings_are_checked():
    with pytest.raises(SkillRLError, match="not an http"):
        make_suite("agentgym_alfworld", EnvConfig(server=ServerConfig(url="localhost:3000")))
