"""OpenEnv's protocol, as a plain WebSocket client sees it."""

from __future__ import annotations

import contextlib
import json
import uuid

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.envs.serve.http import MAX_REQUEST


class Client:
    """Sends a message, returns the answer."""

    def __init__(self, server):
        self.opened = contextlib.ExitStack()
        url = server.url.replace("http", "ws") + "/ws"
        self.socket = self.opened.enter_context(connect(url, proxy=None))

    def __call__(self, kind, **data):
        message = {"type": kind, **({"data": data} if data or kind == "reset" else {})}
        return self.raw(json.dumps(message))

    def raw(self, text):
        self.socket.send(text)
        return self.read()

    def read(self):
        answer = json.loads(self.socket.recv(timeout=10))
        return answer["type"], answer["data"]


@pytest.fixture
def server(serve):
    return serve("openenv")


@pytest.fixture
def client(server):
    opened = Client(server)
    with opened.opened:
        yield opened


def test_an_episode(client):
    suite = make_suite("alfworld", EnvConfig())
    task = suite.tasks("train")[5]
    native, expert = suite.make(), suite.expert(task)
    seen = native.reset(task)
    fields = {"goal": task.goal, "category": task.category, "task_id": task.id}
    kind, data = client("reset", seed=5, episode_id="mine", difficulty="hard")
    assert kind == "observation"
    assert data == {
        "observation": {
            "text": seen.text,
            "admissible_commands": list(seen.admissible),
            "won": False,
            "score": 0.0,
            **fields,
        },
        "reward": None,
        "done": False,
    }
    steps = 0
    while not data["done"]:
        action = expert.act(seen).action
        result = native.step(action)
        seen, steps = result.observation, steps + 1
        kind, data = client("step", action=action)
        assert kind == "observation"
        assert data == {
            "observation": {
                "text": seen.text,
                "admissible_commands": list(seen.admissible),
                "won": result.won,
                "score": result.score,
                **fields,
            },
            "reward": result.reward,
            "done": result.done,
        }
    assert result.won
    assert client("state") == (
        "state",
        {"episode_id": "mine", "step_count": steps, "task_id": task.id},
    )


def test_resets_without_a_seed_go_through_the_tasks(client):
    assert client("reset")[1]["observation"]["task_id"] == "train/0000"
    assert client("reset")[1]["observation"]["task_id"] == "train/0001"
    assert client("reset", seed=2400 + 7)[1]["observation"]["task_id"] == "train/0007"
    uuid.UUID(client("state")[1]["episode_id"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "INVALID_JSON"),
        ("[" * 50_000, "INVALID_JSON"),
        ('{"type": "mcp", "data": {}}', "UNKNOWN_TYPE"),
        ('{"data": {}}', "UNKNOWN_TYPE"),
        ('{"type": 3}', "UNKNOWN_TYPE"),
        ('{"type": "step"}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": 3}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": "look", "speed": 2}}', "VALIDATION_ERROR"),
        ('{"type": "state", "data": {}}', "VALIDATION_ERROR"),
        ('{"type": "reset", "data": null}', "VALIDATION_ERROR"),
        ('{"type": "reset", "data": {"seed": "x"}}', "VALIDATION_ERROR"),
        ('{"type": "reset", "data": {"seed": -1}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"action": "look"}}', "EXECUTION_ERROR"),
    ],
)
def test_errors_have_codes_and_leave_the_session_open(client, text, code):
    kind, data = client.raw(text)
    assert (kind, data["code"]) == ("error", code)
    assert data["message"]
    if code == "VALIDATION_ERROR":
        assert all({"loc", "msg", "type"} <= set(error) for error in data["errors"])
    assert client("reset", seed=0)[0] == "observation"


def test_what_is_no_message_ends_the_session(server, client):
    assert client.raw("[1]")[1]["code"] == "SESSION_ERROR"
    with pytest.raises(ConnectionClosed):
        client("state")
    other = Client(server)
    assert other.raw(b"{}")[1]["code"] == "SESSION_ERROR"


def test_a_long_message_ends_the_connection(client):
    client.socket.send("x" * (MAX_REQUEST + 1))
    with pytest.raises(ConnectionClosed):
        client.read()


def test_close_and_capacity(serve):
    server = serve("openenv", max_sessions=1)
    first, second = Client(server), Client(server)
    first("reset", seed=0)
    kind, data = second.read()
    assert (kind, data["code"]) == ("error", "CAPACITY_REACHED")
    assert (data["active_sessions"], data["max_sessions"]) == (1, 1)
    with pytest.raises(ConnectionClosed):
        second.read()
    assert httpx.post(server.url + "/reset", json={}).status_code == 503
    first.socket.send('{"type": "close"}')
    with pytest.raises(ConnectionClosed):
        first.read()
    assert Client(server)("reset", seed=0)[0] == "observation"


def test_a_connection_that_breaks_gives_its_session_back(serve):
    server = serve("openenv", max_sessions=1)
    first = Client(server)
    first("reset", seed=0)
    first.socket.close()
    while len(server.app.state.sessions):
        server.running.join(0.01)


def test_an_idle_connection_is_closed(serve):
    client = Client(serve("openenv", session_ttl=0.1))
    assert client("reset", seed=0)[0] == "observation"
    kind, data = client.read()
    assert (kind, data["code"]) == ("error", "SESSION_ERROR")
    with pytest.raises(ConnectionClosed):
        client.read()


def test_http_calls_are_stateless(server):
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health").json() == {"status": "healthy"}
        metadata = client.get("/metadata").json()
        assert (metadata["name"], "description" in metadata) == ("alfworld", True)
        schema = client.get("/schema").json()
        assert schema["action"]["required"] == ["action"]
        assert client.get("/state").json() == {"episode_id": None, "step_count": 0}
        first = client.post("/reset").json()
        assert first == client.post("/reset", json={"seed": 0}).json()
        assert first["observation"]["task_id"] == "train/0000"
        action = {"action": first["observation"]["admissible_commands"][0]}
        step = client.post("/step", json={"action": action, "timeout_s": 5}).json()
        assert step == client.post("/step", json={"action": action}).json()  # each is the first
        assert (step["done"], step["reward"]) == (False, 0.0)
        for body in ({}, {"action": "look"}, {"action": {}}, {"action": {"action": "a", "b": 1}}):
            assert client.post("/step", json=body).status_code == 422
        assert client.post("/reset", json={"seed": -1}).status_code == 422
        assert len(server.app.state.sessions) == 0
