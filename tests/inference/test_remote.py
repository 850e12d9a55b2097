import pytest

from skillrl.errors import SkillRLError
from skillrl.inference.base import Generate, Sampling, Unanswered, generate
from skillrl.inference.openai import OpenAIEngine
from skillrl.inference.remote import RemoteEngine
from tests.loopback import Reply, Server, chat


def asks(*steps):
    return [
        Generate((), (), (1, 0, 7, 0, 0, s), ("You act.", "Task. ", f"Step {s}.")) for s in steps
    ]


def test_texts_go_out_and_come_back():
    with (
        Server(lambda _, body: chat(body["messages"][1]["content"])) as server,
        OpenAIEngine(server.url, "m") as client,
    ):
        engine = RemoteEngine(client, slots=2)
        assert engine.submit(dict(enumerate(asks(0, 1, 2))), Sampling()) == [0, 1]
        engine.reset()
        found = generate(engine, asks(0, 1), Sampling(temperature=0.5, max_tokens=9))
        assert [a.text for a in found] == ["Task. Step 0.", "Task. Step 1."]
        assert all(a.ids == () and a.logprobs == () and a.finished for a in found)
        generate(engine, asks(1), Sampling())
        generate(RemoteEngine(client, slots=2, seed=1), asks(1), Sampling())
    bodies = {b["messages"][1]["content"]: b for _, b, _ in server.requests[:2]}
    one, other = bodies["Task. Step 0."], bodies["Task. Step 1."]
    assert one["messages"][0] == {"role": "system", "content": "You act."}
    assert (one["temperature"], one["max_tokens"]) == (0.5, 9)
    assert one["seed"] != other["seed"]  # an address of its own
    assert server.requests[2][1]["seed"] == other["seed"]  # the same whenever it is asked
    assert server.requests[3][1]["seed"] != other["seed"]  # and another run draws otherwise


@pytest.mark.parametrize("sampling", [Sampling(top_k=5), Sampling(top_p=0.9)])
def test_restricted_sampling_is_refused_not_ignored(sampling):
    with (
        OpenAIEngine("http://127.0.0.1:9", "m") as client,
        pytest.raises(SkillRLError, match="top_k"),
    ):
        generate(RemoteEngine(client, slots=1), asks(0), sampling)


def test_a_request_that_failed_alone_comes_back_as_such():
    def answer(path, body):
        if "Step 1" in body["messages"][1]["content"]:
            return Reply(400, {"message": "maximum context length is 4 tokens"})
        return chat("ok")

    with (
        Server(answer) as server,
        OpenAIEngine(server.url, "m") as client,
    ):
        engine = RemoteEngine(client, slots=3)
        engine.submit(dict(enumerate(asks(0, 1, 2))), Sampling())
        found = engine.step()
        assert [found[0].text, found[2].text] == ["ok", "ok"]
        assert isinstance(found[1], Unanswered)
        with pytest.raises(SkillRLError, match="too long for the server"):
            generate(engine, asks(1), Sampling())
