"""Any JSON that a server of environments may answer: what it should be, or a lost session."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.sync.server import serve

from skillrl.config.settings import EnvConfig, ServerConfig
from skillrl.envs import make_suite
from skillrl.envs.answers import problem_of_observation, problem_of_result
from skillrl.envs.remote.agentgym import KeyedWire
from skillrl.envs.remote.alfworld import AlfworldWire
from skillrl.envs.remote.connection import Connection
from skillrl.envs.remote.environment import SessionLost
from skillrl.envs.remote.manifest import Header, read_header, read_split
from skillrl.envs.remote.openenv import OpenEnvWire, _action_field
from skillrl.envs.remote.webshop import WebshopWire
from skillrl.envs.search.documents import Hit, RetrievalError
from skillrl.envs.search.retrieve import read_reply
from skillrl.errors import SkillRLError
from skillrl.types import Task
from tests.loopback import Reply, Server

NAMES = (
    "observation", "available_actions", "reward", "done", "task_type", "state", "clickables",
    "has_search_bar", "type", "data", "won", "score", "text", "goal", "code", "message",
)  # fmt: skip
TEXTS = st.sampled_from(
    ["You see. Your task is to: win", "Instruction: [SEP] buy [SEP] page", "observation", "error"]
) | st.text(st.characters(), max_size=4)
SCALARS = st.none() | st.booleans() | TEXTS | st.floats() | st.sampled_from([1, 10**400, -5])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=8,
)
SEEN = st.fixed_dictionaries(
    {
        "observation": TEXTS, "available_actions": st.lists(TEXTS), "reward": st.floats() | VALUES,
        "done": st.booleans(), "state": TEXTS, "clickables": st.lists(TEXTS),
        "has_search_bar": st.booleans(),
    },
    optional={"task_type": VALUES},
)  # fmt: skip
FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def sent(value) -> Reply:
    return Reply(body=json.dumps(value).encode())


def play(wire) -> None:
    """One start and one action: answers that the agent can read, or a lost session."""
    with contextlib.suppress(SessionLost):
        start = wire.start(3)
        assert not problem_of_observation(start.observation)
        assert isinstance(start.goal, str)
        result = wire.act("look")
        assert not problem_of_result(result)
        repr(result).encode()


@pytest.mark.parametrize("make", [AlfworldWire, WebshopWire])
@FEW
@given(VALUES | SEEN | TEXTS.map(lambda text: [text]), VALUES | SEEN)
@example(
    ["Instruction: [SEP] buy [SEP] page"],
    {"state": "page", "reward": 2.0, "done": True, "has_search_bar": False, "clickables": []},
)
def test_any_answer_of_an_agentgym_server(make, first, then):
    def answer(path, body):
        if path == "/create":
            return 0
        return sent(first if path in ("/reset", "/available_actions") else then)

    with Server(answer) as server:
        wire: KeyedWire = make(Connection(ServerConfig(url=server.url), ""))
        play(wire)


@pytest.fixture
def ws():
    """A WebSocket server that sends what is put into the list."""
    texts: list[str] = []

    def handler(socket):
        for _ in socket:
            socket.send(texts[0])

    with serve(handler, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield texts, f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()


@FEW
@given(
    VALUES
    | st.fixed_dictionaries({"type": st.just("observation"), "data": VALUES | SEEN})
    | st.fixed_dictionaries(
        {
            "type": st.just("observation"),
            "data": st.fixed_dictionaries(
                {"observation": st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5)},
                optional={"reward": VALUES, "done": st.booleans()},
            ),
        }
    )
)
def test_any_answer_of_an_openenv_server(ws, value):
    texts, url = ws
    texts[:] = [json.dumps(value)]
    wire = OpenEnvWire(Connection(ServerConfig(url=url), ""), "action")
    play(wire)
    wire.drop()


HEADER = {
    "environment": "alfworld", "role": "You act.", "categories": {"a": "A"}, "simulated": "",
    "max_steps": 5, "tags": ["action"], "instruction": "Act.", "splits": {"train": [0, 9]},
}  # fmt: skip


@FEW
@given(VALUES | st.fixed_dictionaries({name: st.just(HEADER[name]) | VALUES for name in HEADER}))
def test_any_manifest(value):
    with contextlib.suppress(SkillRLError):
        found = read_header(value)
        assert found is None or isinstance(found, Header)
        if found:
            assert found.max_steps > 0
            assert all(isinstance(tag, str) for tag in found.tags)
    with contextlib.suppress(SkillRLError):
        read_split(value, "train", where="there")


def test_a_manifest_says_what_is_wrong_with_it():
    assert read_header(HEADER).splits == {"train": (0, 9)}
    assert read_header({"hello": 1}) is None
    for name, bad in [("tags", "action"), ("max_steps", "5"), ("splits", {"train": 9})]:
        with pytest.raises(SkillRLError, match=f"there: the manifest is not readable: {name} is"):
            read_header({**HEADER, name: bad}, where="there")
    rows = {"tasks": [[0, "train/0", "a", "win"]]}
    assert read_split(rows, "train", where="there") == (
        Task(id="train/0", split="train", category="a", goal="win", payload={"number": 0}),
    )
    for bad in ([0.5, "x", "a", "win"], [0, "x", "a", None], [0, "x"], 5, [True, "x", "a", "w"]):
        with pytest.raises(SkillRLError, match="a number and three texts"):
            read_split({"tasks": [bad]}, "train", where="there")


@FEW
@given(VALUES)
def test_any_schema_of_an_action(value):
    with contextlib.suppress(SkillRLError):
        _action_field({"properties": value, "required": value}, "there")


@FEW
@given(
    VALUES
    | st.fixed_dictionaries(
        {
            "result": VALUES
            | st.lists(
                st.lists(
                    st.fixed_dictionaries(
                        {"document": st.fixed_dictionaries({"contents": TEXTS | VALUES})},
                        optional={"score": SCALARS},
                    )
                ),
                min_size=1,
                max_size=1,
            )
        }
    )
)
def test_any_reply_of_a_retriever(value):
    try:
        found = read_reply(value)
    except RetrievalError:
        return
    assert all(isinstance(hit, Hit) and hit.score == hit.score for hit in found)


def test_a_game_that_is_shown_wrongly_is_errored_and_stops_no_listing():
    """The server is there; one of its games is broken, whatever the manner."""

    def answer(path, body):
        if path == "/":
            return sent("This is environment AlfWorld.")
        if path == "/create":
            return {"id": 0}
        if body and body.get("game") == 0:
            return {"observation": None}
        return {
            "observation": f"A room.\nYour task is to: win {body['game']}.",
            "available_actions": ["look"],
            "task_type": "pick_and_place_simple-x",
        }

    def serving(path, body):
        return Reply(404) if path.startswith("/manifest") else answer(path, body)

    with Server(serving) as server:
        settings = ServerConfig(url=server.url, retries=1, backoff=0.0)
        suite = make_suite(
            "agentgym_alfworld", EnvConfig(name="agentgym_alfworld", server=settings)
        )
        bad, good = suite.tasks("train")[:2]
    assert "something else than AgentGym" in bad.payload["unreadable"]
    assert good.goal == "win 1"


def test_an_answer_of_a_megabyte_is_read_and_one_of_fifty_is_not():
    text = "x" * 2**20
    seen = {"observation": f"{text} Your task is to: win", "available_actions": []}
    with Server(lambda path, body: 0 if path == "/create" else seen) as server:
        wire = AlfworldWire(Connection(ServerConfig(url=server.url), ""))
        assert len(wire.start(0).observation.text) == 2**20
        seen["observation"] = "y" * (50 * 2**20)
        with pytest.raises(SessionLost, match="more than 33,554,432 bytes"):
            wire.act("look")
