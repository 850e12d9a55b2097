"""AgentGym's two wire shapes, as a plain HTTP client sees them."""

from __future__ import annotations

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.envs.serve.http import MAX_REQUEST


@pytest.fixture
def alfworld(serve):
    with httpx.Client(base_url=serve("agentgym").url) as client:
        yield client


@pytest.fixture
def webshop(serve):
    with httpx.Client(base_url=serve("agentgym-webshop").url) as client:
        yield client


def create(client) -> int:
    return client.post("/create").json()["id"]


def ask(client, path, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_alfworld_episode(alfworld):
    assert alfworld.get("/").json() == "This is environment AlfWorld."
    key = create(alfworld)
    suite = make_suite("alfworld", EnvConfig())
    task = suite.tasks("train")[5]
    native, expert = suite.make(), suite.expert(task)
    seen = native.reset(task)
    first = ask(alfworld, "/reset", id=key, game=5, world_type="Text")
    assert first == {
        "id": key,
        "observation": f"{seen.text}\nYour task is to: {task.goal}",
        "available_actions": list(seen.admissible),
        "task_type": "pick_two_obj_and_place/train/0005",
    }
    assert alfworld.get("/observation", params={"id": key}).json() == first["observation"]
    done = False
    while not done:
        action = expert.act(seen).action
        result = native.step(action)
        seen, done = result.observation, result.done
        assert ask(alfworld, "/step", id=key, action=action) == {
            "observation": seen.text,
            "reward": float(result.won),
            "available_actions": list(seen.admissible),
            "done": done,
        }
        actions = alfworld.get("/available_actions", params={"id": key}).json()
        assert actions == list(seen.admissible)
    assert result.won
    detail = alfworld.get("/detail", params={"id": key}).json()
    assert (detail["done"], detail["reward"], detail["deleted"]) == (True, 1.0, False)
    assert "has finished" in ask(alfworld, "/step", id=key, action="look")["error"]
    assert ask(alfworld, "/close", id=key) == {"closed": True}
    assert "not open" in ask(alfworld, "/step", id=key, action="look")["error"]


def test_a_failure_of_the_alfworld_shape_is_a_200_with_an_error(alfworld):
    key = create(alfworld)
    for path, body, word in [
        ("/step", {"id": 1, "action": "look"}, "not open"),
        ("/step", {"id": key, "action": "look"}, "not started"),
        ("/reset", {"id": key, "game": 2400, "world_type": "Text"}, "from 0 to 2399"),
        ("/reset", {"id": key, "game": -1, "world_type": "Text"}, "from 0 to 2399"),
        ("/reset", {"id": key, "game": 0, "world_type": "Sound"}, "Hybrid"),
    ]:
        assert word in ask(alfworld, path, **body)["error"]
    for path in ("observation", "available_actions", "detail"):
        assert "error" in alfworld.get(f"/{path}?id=1").json()


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"[1]", ["body"]),
        (b"[" * 100_000, ["body"]),
        (b'{"id": 1}', ["body", "action"]),
        (b'{"id": "1", "action": "look"}', ["body", "id"]),
        (b'{"id": true, "action": "look"}', ["body", "id"]),
        (b'{"id": 1, "action": null}', ["body", "action"]),
    ],
)
def test_a_malformed_request_is_refused(alfworld, body, where):
    answer = alfworld.post("/step", content=body)
    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["detail"]] == [where]


def test_queries_are_checked(alfworld):
    assert alfworld.get("/observation").status_code == 422
    assert alfworld.get("/observation?id=x").status_code == 422


@pytest.mark.parametrize("announced", [True, False])
def test_a_long_request_is_refused(alfworld, announced):
    body = b'{"id": 1, "action": "' + b"x" * MAX_REQUEST + b'"}'
    parts = (body[i : i + 9999] for i in range(0, len(body), 9999))
    try:
        answer = alfworld.post("/step", content=body if announced else parts)
    except httpx.WriteError:
        return  # the server did not wait for the rest
    assert answer.status_code == 413
    assert alfworld.get("/").status_code == 200


def test_a_full_server_says_so(alfworld, webshop):
    for _ in range(8):
        create(alfworld)
        webshop.post("/create").raise_for_status()
    assert "--max_sessions" in alfworld.post("/create").json()["error"]
    full = webshop.post("/create")
    assert (full.status_code, "--max_sessions" in full.text) == (503, True)


def test_an_idle_session_is_closed_without_anybody_asking(serve):
    server = serve("agentgym", session_ttl=0.1)
    with httpx.Client(base_url=server.url) as client:
        key = create(client)
        sessions = server.app.state.sessions
        while len(sessions):
            server.running.join(0.02)
        assert sessions.expired == 1
        assert "idle for 0.1 s" in ask(client, "/step", id=key, action="look")["error"]


def test_a_webshop_episode(webshop):
    assert webshop.get("/").json() == "ok"
    key = webshop.post("/create").json()
    assert isinstance(key, int)
    assert webshop.get("/list_envs").json() == []  # nobody else learns the key
    suite = make_suite("alfworld", EnvConfig())
    task = suite.tasks("train")[5]
    native, expert = suite.make(), suite.expert(task)
    seen = native.reset(task)
    page = f"WebShop [SEP] Instruction: [SEP] {task.goal} [SEP] {seen.text}"
    assert ask(webshop, "/reset", env_idx=key, session_id=5) == [page, None]
    query = {"env_idx": key}
    assert webshop.get("/observation", params=query).json() == page
    assert webshop.get("/instruction_text", params=query).json() == f"Instruction: {task.goal}"
    state = webshop.get("/state", params=query).json()
    assert state == {"url": "", "html": page, "instruction_text": task.goal}
    done = False
    while not done:
        offers = webshop.get("/available_actions", params=query).json()
        assert offers == {"has_search_bar": False, "clickables": list(seen.admissible)}
        action = expert.act(seen).action
        result = native.step(action)
        seen, done = result.observation, result.done
        answer = ask(webshop, "/step", env_idx=key, action=f"click[{action}]")
        head = "" if done else f"Instruction: [SEP] {task.goal} [SEP] "
        assert answer == {
            "state": head + seen.text,
            "reward": float(result.won),
            "done": done,
            "info": None,
        }
    assert result.won
    assert ask(webshop, "/close", env_idx=key) == {"closed": True}
    assert ask(webshop, "/close", env_idx=key) == {"closed": False}
    assert webshop.post("/step", json={"env_idx": key, "action": "x"}).status_code == 404


def test_webshop_sessions_of_null_go_through_the_tasks(webshop):
    key = webshop.post("/create").json()
    assert "was not started; reset it" in ask(webshop, "/step", env_idx=key, action="x")["error"]
    for task in make_suite("alfworld", EnvConfig()).tasks("train")[:3]:
        (page, _) = ask(webshop, "/reset", env_idx=key, session_id=None)
        assert task.goal in page
    assert webshop.post("/reset", json={"env_idx": key, "session_id": 2400}).status_code == 404


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 200),
        ("http://127.0.0.1", 200),
        ("http://[::1]:3000", 200),
        ("https://example.org", 403),
        ("http://localhost.example.org", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_hosts_are_refused(webshop, origin, status):
    assert webshop.post("/create", headers={"Origin": origin}).status_code == status


def test_a_websocket_of_another_hosts_page_is_refused(serve):
    url = serve("openenv").url.replace("http", "ws") + "/ws"
    with connect(url, proxy=None, origin="http://localhost"):
        pass
    with pytest.raises(InvalidStatus), connect(url, proxy=None, origin="https://example.org"):
        pass


def test_the_manifest(alfworld):
    header = alfworld.get("/manifest").json()
    assert header["environment"] == "alfworld"
    assert header["splits"] == {
        "train": [0, 2160],
        "valid_seen": [2160, 120],
        "valid_unseen": [2280, 120],
    }
    suite = make_suite("alfworld", EnvConfig())
    listed = alfworld.get("/manifest?split=valid_unseen").json()["tasks"]
    assert listed == [
        [2280 + at, task.id, task.category, task.goal]
        for at, task in enumerate(suite.tasks("valid_unseen"))
    ]
    assert alfworld.get("/manifest?split=test").status_code == 404
