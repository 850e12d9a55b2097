"""POST /retrieve: bodies in, answers out, whatever answers them."""

from __future__ import annotations

import httpx
import pytest

from skillrl.envs.serve.app import make_app
from skillrl.envs.serve.retrieve import retriever_answer
from skillrl.errors import SkillRLError
from tests.conftest import ToySuite
from tests.envs.serve.running import Thread


def stand_in(payload):
    """One passage that repeats the query; complains as the real one does."""
    if "broken" in payload:
        raise ConnectionError("no index")
    if "query" not in payload and "queries" not in payload:
        raise SkillRLError("the body needs 'query' or 'queries'")
    queries = payload.get("queries", [payload.get("query")])
    document = lambda query: {"id": "1", "contents": f'"{query}"\nis a word.'}  # noqa: E731
    return {"result": [[{"document": document(query), "score": 1.5}] for query in queries]}


@pytest.fixture
def url():
    def app():
        options = {"max_sessions": 1, "session_ttl": 9.0, "answer": stand_in}
        return make_app(ToySuite(None), "retrieve", **options)

    with Thread(app) as server:
        yield server.url + "/retrieve"


def test_single_and_batched(url):
    single = httpx.post(url, json={"query": "a", "topk": 1, "return_scores": True}).json()
    batched = httpx.post(url, json={"queries": ["a", "b"], "topk": 1}).json()
    assert single["result"][0][0]["document"]["contents"] == '"a"\nis a word.'
    assert batched["result"][0] == single["result"][0]
    assert len(batched["result"]) == 2


def test_bad_bodies_and_a_broken_index(url):
    answer = httpx.post(url, json={"question": "a"})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "the body needs 'query' or 'queries'",
    )
    assert httpx.post(url, content=b"{").status_code == 422
    broken = httpx.post(url, json={"broken": 1})
    assert (broken.status_code, "no index" in broken.text) == (502, True)  # clients try again
    assert httpx.get(url.replace("/retrieve", "/health")).json() == {"status": "healthy"}


def test_an_environment_without_a_retriever():
    with pytest.raises(SkillRLError, match="toy has no retriever"):
        retriever_answer(ToySuite(None))
