"""SkyRL-gym's own search environment, played over our retriever; runs where it is installed."""

import json
import re

import pytest

from skillrl.envs.search.customs import right_about
from skillrl.envs.search.documents import Document, Hit, information
from skillrl.envs.search.expert import QuestionExpert
from skillrl.envs.search.questions import CUSTOM, load_tasks
from skillrl.envs.search.retrieve import answer
from skillrl.envs.search.suite import open_retriever
from skillrl.types import Observation
from tests.loopback import Server

skyrl_gym = pytest.importorskip("skyrl_gym")


@pytest.fixture(scope="module")
def server():
    with Server(lambda path, body: answer(body, open_retriever())) as running:
        yield running


def make(server, task):
    from skyrl_gym.envs.search.env import SearchEnvConfig

    return skyrl_gym.make(
        "search",
        env_config=SearchEnvConfig(search_url=f"{server.url}/retrieve"),
        extras={
            "reward_spec": {"ground_truth": {"target": list(task.payload["answers"])}},
            "max_turns": 4,
        },
    )


def read(content):
    """Our form of an observation of theirs: {"result": 'Doc 1: "T"\\ntext\\n...'}."""
    block = re.fullmatch(r"\n<information>(.*)</information>\n", content, re.DOTALL)
    text = json.loads(block[1])["result"]
    contents = [part.strip() for part in re.split(r"(?m)^Doc \d+: ", text)[1:]]
    return information([Hit(Document("", part)) for part in contents])


@pytest.mark.parametrize("task", load_tasks()["valid_unseen"][:12], ids=lambda task: task.id)
def test_whole_episodes_are_won(server, task):
    environment, expert = make(server, task), QuestionExpert(task.goal, right_about(CUSTOM))
    environment.init([{"role": "user", "content": task.goal}])
    text = ""
    while True:
        action = expert.act(Observation(text)).action
        result = environment.step(action)
        if result["done"]:
            break
        text = read(result["observations"][0]["content"])
        query = action.removeprefix("<search>").removesuffix("</search>")
        assert text == information(open_retriever().search(query, 3))
    assert result["reward"] == 1.0


def test_a_wrong_answer_earns_nothing(server):
    task = load_tasks()["train"][0]
    environment = make(server, task)
    environment.init([{"role": "user", "content": task.goal}])
    result = environment.step("<answer>nobody</answer>")
    assert (result["done"], result["reward"]) == (True, 0.0)
