"""A server that fails in every way: the episode goes on, or is errored; never a wrong answer."""

from __future__ import annotations

import dataclasses
import logging
import threading

import pytest

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.envs.remote.environment import EpisodeStart, RemoteEnvironment, SessionLost, pause
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.types import Observation, StepResult, Task
from tests.envs.remote.stand_in import client, ours, stand_in
from tests.envs.serve.running import FAULTS, WS_TEXTS, Thread

SILENT = ("hang", "lost")
IMPATIENT = {"timeout": 0.4, "retries": 6}
ENVS = {"agentgym_alfworld": "agentgym-alfworld", "agentgym_webshop": "agentgym-webshop"}


@pytest.fixture(params=ENVS)
def served(request):
    """A plain server of AgentGym's kind, and a suite that plays there."""
    with Thread(lambda: stand_in(ENVS[request.param])) as server:
        yield server, client(request.param, server)


@pytest.fixture
def ws():
    with Thread(lambda: ours("openenv")) as server:
        yield server, client("openenv", server)


def expected(count: int, number: int = 5):
    """What the environment itself answers: [reset, steps...], and the actions."""
    suite = make_suite("alfworld", EnvConfig())
    task = suite.tasks("train")[number]
    native, expert = suite.make(), suite.expert(task)
    texts, actions = [native.reset(task)], []
    for _ in range(count):
        actions.append(expert.act(texts[-1]).action)
        texts.append(native.step(actions[-1]).observation)
    return [seen.text for seen in texts], actions


def numbered(number: int = 5) -> Task:
    """A training task, without asking the server for its goal."""
    there = make_suite("alfworld", EnvConfig()).tasks("train")[number]
    return dataclasses.replace(there, payload={"number": number})


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["/create", "/reset", "/step"])
def test_one_fault_is_played_over(served, path, fault):
    server, suite = served
    if fault in SILENT:
        suite = client(suite.name, server, **IMPATIENT)
    texts, actions = expected(4)
    environment, task = suite.make(), numbered()
    server.faults[path] = [fault] if path != "/step" else ["", "", fault]
    assert environment.reset(task).text == texts[0]
    assert [environment.step(action).observation.text for action in actions] == texts[1:]
    if fault not in SILENT:  # else a slow machine may have made more of them
        # Two were played, the third failed: all three once more, and the fourth.
        steps = 3 + 3 + 1 if path == "/step" else 4
        assert server.requests.count("/step") == steps
    environment.close()


@pytest.mark.parametrize("fault", [*WS_TEXTS, "close", "hang"])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_one_fault_of_a_websocket_is_played_over(ws, at, fault):
    server, suite = ws
    if fault in SILENT:
        suite = client(suite.name, server, **IMPATIENT)
    texts, actions = expected(4)
    environment = suite.make()
    server.faults["/ws"] = [""] * at + [fault]
    assert environment.reset(numbered()).text == texts[0]
    assert [environment.step(action).observation.text for action in actions] == texts[1:]
    environment.close()
    while len(server.app.state.sessions):
        server.running.join(0.01)


def test_clickables_that_fail_are_played_over():
    with Thread(lambda: stand_in("agentgym-webshop")) as server:
        suite = client("agentgym_webshop", server)
        texts, actions = expected(3)
        environment = suite.make()
        server.faults["/available_actions"] = ["", "", "malformed", "wrong"]
        assert environment.reset(numbered()).text == texts[0]
        assert [environment.step(action).observation.text for action in actions] == texts[1:]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_the_episode_and_only_that(served, fault, caplog):
    server, other = served
    timeout = 0.3 if fault in SILENT else 20.0
    suite = client(other.name, server, timeout=timeout, retries=2)
    environment, task = suite.make(), numbered()
    while True:  # a slow machine may need another try
        try:
            environment.reset(task)
            break
        except EnvironmentLost:
            assert fault in SILENT
    if fault == "error":
        return  # an answer: see the test of rejected actions
    server.faults["/step"] = [fault] * 3
    with pytest.raises(EnvironmentLost) as lost, caplog.at_level(logging.WARNING):
        environment.step("look")
    assert not isinstance(lost.value, SkillRLError)
    assert "given up at step 0 after 3 session(s)" in str(lost.value)
    assert task.id in str(lost.value)
    assert server.url in str(lost.value)
    assert "(2 of 2)" in caplog.text
    with pytest.raises(SkillRLError, match="call reset"):
        environment.step("look")
    environment.close()
    assert suite.make().reset(task).text == expected(0)[0][0]


def test_replays_are_counted_over_the_whole_episode(served):
    server, suite = served
    environment = suite.make()
    environment.reset(numbered())
    for _ in range(3):
        server.faults["/step"] = ["500"]
        environment.step("look")
    server.faults["/step"] = ["500"]
    with pytest.raises(EnvironmentLost, match="at step 3 after 4 session"):
        environment.step("look")
    server.faults["/step"] = []
    environment.reset(numbered())  # a new episode has its own
    server.faults["/step"] = ["500"]
    environment.step("look")


@pytest.mark.parametrize("env", [*ENVS, "openenv"])
def test_a_restarted_server(env):
    dialect = {**ENVS, "openenv": "openenv"}[env]
    with Thread(lambda: stand_in(dialect)) as server:
        suite = client(env, server)
        texts, actions = expected(4)
        environment = suite.make()
        got = [environment.reset(numbered()).text]
        for number, action in enumerate(actions):
            if number == 2:
                server.restart()
            got.append(environment.step(action).observation.text)
        assert got == texts


@pytest.mark.parametrize("env", [*ENVS, "openenv"])
def test_a_server_that_is_dead_for_a_while_and_one_that_stays_dead(env):
    dialect = {**ENVS, "openenv": "openenv"}[env]
    with Thread(lambda: stand_in(dialect)) as server:
        suite = client(env, server)
        texts, actions = expected(2)
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 2:
                server.start()

        environment = RemoteEnvironment(
            suite.wire(), max_steps=50, retries=3, backoff=0.5, sleep=sleep
        )
        assert environment.reset(numbered()).text == texts[0]
        server.stop()
        assert environment.step(actions[0]).observation.text == texts[1]
        assert pauses == [0.5, 1.0]
        server.stop()
        with pytest.raises(EnvironmentLost):
            environment.step(actions[1])
        environment.close()


def test_sessions_of_a_restarted_server_are_not_mixed_up():
    """AgentGym's keys count from 0, so a new session gets the key of an old one."""
    with Thread(lambda: stand_in("agentgym-alfworld")) as server:
        suite = client("agentgym_alfworld", server)
        first, second = suite.make(), suite.make()
        expected_first, actions = expected(3)
        first.reset(numbered(5))  # key 0
        second.reset(numbered(6))  # key 1
        first.step(actions[0])
        server.restart()
        # The second handle notices, and is given key 0, which the first one still holds.
        second.step("look")
        assert server.app.state.sessions.keys() == [0]
        assert first.step(actions[1]).observation.text == expected_first[2]
        assert first.step(actions[2]).observation.text == expected_first[3]
        texts_second, actions_second = expected(1, number=6)
        assert second.step(actions_second[0]).observation.text == texts_second[1]


def test_an_expired_session_is_played_again():
    with Thread(lambda: stand_in("agentgym-webshop")) as server:
        suite = client("agentgym_webshop", server)
        texts, actions = expected(2)
        environment = suite.make()
        environment.reset(numbered())
        environment.step(actions[0])
        sessions = server.app.state.sessions
        sessions._open.clear()
        assert environment.step(actions[1]).observation.text == texts[2]


def test_a_server_that_serves_other_tasks_than_before(served):
    _, suite = served
    task = dataclasses.replace(numbered(), goal="put a lamp in the bin")
    with pytest.raises(EnvironmentLost, match=r"put a lamp in the bin.*other tasks than before"):
        suite.make().reset(task)


class Unsteady:
    """A wire whose second session answers otherwise; `lose` names the actions that are lost."""

    def __init__(self, *, start="room", lose=()):
        self.starts, self.lose, self.text = 0, list(lose), start

    def start(self, number):
        self.starts += 1
        return EpisodeStart(Observation(self.text), "win")

    def act(self, action):
        if action in self.lose:
            self.lose.remove(action)
            raise SessionLost("gone")
        return StepResult(
            observation=Observation(f"{action} in session {self.starts}"), done=False, won=False
        )

    def drop(self):
        pass


def test_a_replay_that_differs_is_an_error_and_not_retried():
    environment = RemoteEnvironment(
        Unsteady(lose=["b"]), max_steps=9, retries=3, backoff=0.0, sleep=lambda _: None
    )
    environment.reset(
        Task(id="t7", split="train", category="pick", goal="win.", payload={"number": 7})
    )
    environment.step("a")
    with pytest.raises(EnvironmentLost, match=r"t7 was replayed.*action 1 is another one") as lost:
        environment.step("b")
    assert "a in session 2" in str(lost.value)
    assert "a in session 1" in str(lost.value)


@pytest.mark.parametrize("env", [*ENVS, "openenv"])
def test_an_action_that_is_rejected_again_is_given_up_at_once(env):
    with Thread(lambda: stand_in({**ENVS, "openenv": "openenv"}[env])) as server:
        pauses, suite = [], client(env, server)
        environment = RemoteEnvironment(
            suite.wire(), max_steps=50, retries=6, backoff=0.5, sleep=pauses.append
        )
        environment.reset(numbered())
        path = "/ws" if env == "openenv" else "/step"
        server.faults[path] = ["error", "", "error"] if env == "openenv" else ["error"] * 2
        with pytest.raises(EnvironmentLost, match="'look' was rejected on two sessions") as lost:
            environment.step("look")
        assert lost.value.rejected
        assert pauses == [0.5]
        environment.reset(numbered())
        assert environment.step("look").observation.text


def test_pauses_double_up_to_a_limit():
    waits = []
    for attempt in range(1, 10):
        pause(attempt, 0.5, waits.append)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_many_handles_on_a_failing_server(served):
    """Every tenth step fails somehow; all episodes still are as they should be."""
    server, suite = served
    texts, actions = expected(6)
    kinds = ["error", "500", "malformed", "cut", "wrong"]
    server.faults["/step"] = [kinds[i // 10 % 5] if i % 10 == 9 else "" for i in range(200)]
    found: dict[int, list[str]] = {}

    def play(number):
        environment = suite.make()
        got = [environment.reset(numbered()).text]
        got += [environment.step(action).observation.text for action in actions]
        found[number] = got
        environment.close()

    threads = [threading.Thread(target=play, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(6), texts)
