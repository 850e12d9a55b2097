"""Our clients play whole episodes, in every dialect, as the environment itself would."""

from __future__ import annotations

import concurrent.futures

import pytest

from skillrl.config.settings import EnvConfig
from skillrl.envs import SPLITS, make_suite
from skillrl.envs.replay import find_task
from skillrl.envs.serve.app import make_app
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.types import Task
from tests.envs.remote.stand_in import LIMITS, client, ours, stand_in
from tests.envs.serve.running import Process, Thread

DIALECTS = {
    "agentgym_alfworld": "agentgym",
    "agentgym_webshop": "agentgym-webshop",
    "openenv": "openenv",
}


@pytest.fixture(scope="module", params=DIALECTS)
def remote(request):
    """The suite of a client, with a real server process behind it."""
    with Process(f"--dialect={DIALECTS[request.param]}") as server:
        yield client(request.param, server.url, timeout=20.0)


@pytest.fixture(scope="module")
def native():
    return make_suite("alfworld", EnvConfig())


def walk(suite, task, expert, *, environment=None):
    """The expert's walk: [Observation, (action, StepResult), ...]."""
    environment = environment or suite.make()
    observation = environment.reset(task)
    entries: list = [observation]
    while not isinstance(entries[-1], tuple) or not entries[-1][1].done:
        action = expert.act(observation).action
        result = environment.step(action)
        observation = result.observation
        entries.append((action, result))
    return entries


def test_the_manifest_is_the_servers_own(remote, native):
    for split in SPLITS:
        mine = [(t.id, t.split, t.category, t.goal) for t in remote.tasks(split)]
        assert mine == [(t.id, t.split, t.category, t.goal) for t in native.tasks(split)]
    assert remote.categories == native.categories
    assert remote.role == native.role
    assert remote.simulated.startswith("generated games on http://127.0.0.1:")
    with pytest.raises(SkillRLError, match="split 'test'"):
        remote.tasks("test")


def test_full_episodes_are_won(remote, native):
    environment = remote.make()
    for number, task in enumerate(remote.tasks("valid_unseen")[:6]):  # one of each category
        inner = native.make()
        observation, seen = (
            environment.reset(task),
            inner.reset(native.tasks("valid_unseen")[number]),
        )
        expert = remote.expert(task)
        while True:
            action = expert.act(seen).action
            result, expected = environment.step(action), inner.step(action)
            seen = expected.observation
            if remote.name == "agentgym_webshop":  # the shape has no room for the rest
                assert result.observation.text == seen.text
                assert (result.done, result.won) == (expected.done, expected.won)
            else:
                assert result == expected
            if result.done:
                break
        assert result.won
        assert observation.text
    environment.close()
    environment.close()
    with pytest.raises(SkillRLError, match="call reset"):
        environment.step("look")


def test_the_step_limit_of_the_run_holds(remote):
    suite = remote
    environment = suite.make()
    environment._max_steps = 3
    environment.reset(suite.tasks("train")[0])
    assert [environment.step("look").done for _ in range(3)] == [False, False, True]
    environment.close()


def test_what_a_plain_agentgym_server_does_not_say_is_read_from_its_resets(native):
    with Thread(lambda: stand_in("agentgym-alfworld")) as server:
        suite = client("agentgym_alfworld", server, num_tasks=30)
        assert suite.header is None
        assert suite.simulated == ""
        counts = [len(suite.tasks(split)) for split in SPLITS]
        assert counts == [30, 121, 200]
        numbers = [[*suite.numbers(split)] for split in SPLITS]
        assert sorted(n for split in numbers for n in split) == [*range(2620)]
        assert server.requests.count("/reset") == 0  # nothing is asked before it is needed
        task = suite.tasks("train")[20]
        there = native.tasks("train")[21]  # number 19 is in valid_seen
        expected = Task(
            id="train/00021",
            split="train",
            category=there.category,
            goal=there.goal,
            payload={"number": 21},
        )
        assert task == suite.tasks("train")[20] == expected
        assert server.requests.count("/reset") == 1
        assert [t.id for t in suite.tasks("valid_seen")[:2]] == [
            "valid_seen/00019",
            "valid_seen/00039",
        ]
        assert walk(suite, task, suite.expert(task))[-1][1].won
        broken = suite.tasks("valid_unseen")[0]  # our games are fewer than AgentGym's
        assert (broken.id, broken.goal) == ("valid_unseen/02420", "(unknown)")
        assert broken.category in suite.categories
        with pytest.raises(EnvironmentLost, match=r"valid_unseen/02420 .*from 0 to 2399"):
            suite.make().reset(broken)
        server.stop()  # what a person can repair still stops the run
        with pytest.raises(SkillRLError, match=r"task 2421 .*same command again"):
            suite.tasks("valid_unseen")[1]


def test_one_task_is_found_without_asking_for_the_others():
    with Thread(lambda: stand_in("agentgym-alfworld")) as server:
        suite = client("agentgym_alfworld", server)
        assert find_task(suite).id == "train/00000"
        assert find_task(suite, split="valid_seen").id == "valid_seen/00019"
        assert server.requests.count("/reset") == 2
        assert find_task(suite, "train/00777").payload == {"number": 777}
        assert find_task(suite, "valid_seen/00039", "valid_seen").id == "valid_seen/00039"
        assert server.requests.count("/reset") == 4
        with pytest.raises(SkillRLError, match=r"the nearest of 2620 is train/0"):
            find_task(suite, "train/0021")
        assert server.requests.count("/reset") == 4


def test_a_plain_webshop_server(native):
    with Thread(lambda: stand_in("agentgym-webshop")) as server:
        suite = client("agentgym_webshop", server)
        assert [len(suite.tasks(split)) for split in SPLITS] == [5410, 1000, 500]
        task = suite.tasks("valid_unseen")[7]
        assert (task.id, task.goal) == ("valid_unseen/00007", native.tasks("train")[7].goal)
        assert suite.expert(task) is None
        environment = suite.make()
        observation = environment.reset(task)
        assert task.goal not in observation.text  # the prompt states it
        assert all(action.startswith("click[") for action in observation.admissible)
        assert environment.step(observation.admissible[0]).observation.text
        environment.close()
        assert len(server.app.state.sessions) == 1  # of the reader of goals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "name", "dialect", "max_steps"),
    [("webshop", "agentgym_webshop", "agentgym", 15), ("search", "openenv", "openenv", 4)],
)
def test_a_served_environment_has_its_demonstrator(env, name, dialect, max_steps):
    served = make_suite(env, EnvConfig(name=env, max_steps=max_steps))
    with Thread(lambda: make_app(served, dialect, **LIMITS)) as server:
        suite = client(name, server, timeout=300.0)  # 3,143 shops are made first
        won = [
            walk(suite, task, suite.expert(task))[-1][1].won for task in suite.tasks("train")[:12]
        ]
        assert any(won)
        assert not all(won)  # a stranger there: no text tells customs


def test_a_manifest_is_waited_for():
    with Thread(lambda: ours("agentgym")) as server:
        server.faults["/manifest"] = ["503", "", "500", "malformed", "cut", ""]
        suite = client("agentgym_alfworld", server)
        assert len(suite.tasks("valid_seen")) == 120
        server.faults["/manifest"] = ["503"] * 4
        with pytest.raises(SkillRLError, match="same command again"):
            suite.tasks("train")
        assert len(suite.tasks("train")) == 2160


@pytest.mark.parametrize(
    ("goal", "category"),
    [
        ("i need a wedding dress, and price lower than 60.00 dollars", "apparel"),
        ("find me running shoes in size 8", "footwear"),
        ("i want a string of fairy lights", "other"),  # neither a ring nor an earring
        ("a wheel for my bike", "other"),
        ("two curtains for the bedroom", "home_decor"),
        ("a phone charger with a usb cable", "electronics"),
        ("silver rings", "accessories"),
        ("hair conditioner", "beauty_health"),
    ],
)
def test_categories_of_shopping_goals(goal, category):
    from skillrl.envs.remote.webshop import AgentGymWebshopSuite

    assert AgentGymWebshopSuite.categorise(None, goal, "") == category


def test_a_plain_openenv_server():
    with Thread(lambda: ours("openenv")) as server:
        server.app.router.routes[:] = [r for r in server.app.routes if r.path != "/manifest"]
        suite = client("openenv", server, num_tasks=10)
        assert [[*suite.numbers(split)][::9][:2] for split in SPLITS] == [
            [400, 409],
            [200, 209],
            [0, 9],
        ]
        task = suite.tasks("train")[3]
        assert (task.id, task.category) == ("train/00403", "task")
        environment = suite.make()
        assert environment.reset(task).admissible
        environment.close()


def test_200_sessions_at_once_lose_nothing(native):
    with Process("--max_sessions=200") as server:
        suite = client("agentgym_alfworld", server.url, timeout=60.0, retries=0)
        tasks = suite.tasks("train")[:200]
        handles = [suite.make() for _ in tasks]
        experts = [suite.expert(task) for task in tasks]
        inner = [native.make() for _ in tasks]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            seen = list(pool.map(lambda h, t: h.reset(t), handles, tasks))
            assert seen == [e.reset(t) for e, t in zip(inner, native.tasks("train"), strict=False)]
            for _ in range(3):
                actions = [e.act(o).action for e, o in zip(experts, seen, strict=True)]
                results = list(pool.map(lambda h, a: h.step(a), handles, actions))
                assert results == [e.step(a) for e, a in zip(inner, actions, strict=True)]
                left = [i for i, result in enumerate(results) if not result.done]
                handles, experts, inner = (
                    [things[i] for i in left] for things in (handles, experts, inner)
                )
                seen = [results[i].observation for i in left]
        assert len(left) > 150
        with pytest.raises(Exception, match="all 200 sessions"):
            suite.make().reset(tasks[0])
