"""Both dialects over a real server on the loopback interface, with and without faults."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.controls.search import play
from skillrl.config.settings import EnvConfig, SearchConfig
from skillrl.envs import make_suite
from skillrl.envs.search.bm25 import BM25Retriever
from skillrl.envs.search.documents import Document, Hit, RetrievalError
from skillrl.envs.search.remote import RemoteRetriever
from skillrl.envs.search.retrieve import MAX_QUERIES, answer, read_reply
from skillrl.envs.search.suite import open_retriever
from skillrl.errors import SkillRLError
from tests.loopback import Reply, Server

LOCAL = BM25Retriever.over(
    [Document("a", '"Emma"\nA novel.'), Document("b", '"Emma"\nA film.'), Document("c", "x")]
)
HITS = LOCAL.search("emma novel", 3)


@pytest.fixture
def server():
    with Server(lambda path, body: answer(body, LOCAL)) as running:
        yield running


def remote(server, dialect="single", **options):
    options = {"timeout": 5.0, "retries": 2, "sleep": lambda seconds: None} | options
    return RemoteRetriever(server.url, dialect=dialect, **options)


# The server's side.


def test_both_dialects_are_answered():
    single = answer({"query": "emma novel", "topk": 1, "return_scores": True}, LOCAL)
    document = {"id": "a", "contents": '"Emma"\nA novel.'}
    assert single == {"result": [[{"document": document, "score": HITS[0].score}]]}
    assert answer({"query": "emma novel", "topk": 1}, LOCAL) == {"result": [[document]]}
    batched = answer({"queries": ["emma novel", "", "film"], "topk": 2}, LOCAL)["result"]
    assert [[entry["id"] for entry in found] for found in batched] == [["a", "b"], [], ["b"]]
    assert len(answer({"query": "emma"}, LOCAL)["result"][0]) == 2
    assert answer({"queries": []}, LOCAL) == {"result": []}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "emma",
        {},
        {"query": "a", "queries": ["a"]},
        {"query": 3},
        {"query": ["a"]},
        {"queries": "a"},
        {"queries": ["a", None]},
        {"queries": ["a"] * (MAX_QUERIES + 1)},
        {"query": "a", "topk": 0},
        {"query": "a", "topk": 101},
        {"query": "a", "topk": True},
        {"query": "a", "topk": "3"},
        {"query": "a", "return_scores": "yes"},
    ],
)
def test_a_body_in_neither_dialect_is_refused(body):
    with pytest.raises(SkillRLError):
        answer(body, LOCAL)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
bodies = st.dictionaries(
    st.sampled_from(["query", "queries", "topk", "return_scores"]), json_values
)


@given(bodies | json_values)
def test_any_body_is_answered_or_refused(body):
    with contextlib.suppress(SkillRLError):
        assert isinstance(answer(body, LOCAL)["result"], list)


@given(json_values | st.fixed_dictionaries({"result": json_values}))
def test_any_reply_is_read_or_fails_one_search(reply):
    with contextlib.suppress(RetrievalError):
        assert all(isinstance(hit, Hit) for hit in read_reply(reply))


# The client's side.


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("single", {"query": "emma novel", "topk": 3, "return_scores": True}),
        ("batched", {"queries": ["emma novel"], "topk": 3, "return_scores": True}),
    ],
)
def test_a_server_is_asked_in_its_dialect(server, dialect, body):
    assert remote(server, dialect).search("emma novel", 3) == HITS
    assert [(path, sent) for path, sent, _ in server.requests] == [("/retrieve", body)]


def test_the_path_of_an_address_is_kept(server):
    RemoteRetriever(server.url + "/search/retrieve/", dialect="single").search("emma", 3)
    RemoteRetriever(server.url + "/v1", dialect="single").search("emma", 3)
    assert [path for path, *_ in server.requests] == ["/search/retrieve", "/v1/retrieve"]


def test_bare_documents_and_too_many_are_understood(server):
    documents = [{"id": i, "contents": str(i)} for i in range(5)]
    server.answer = lambda path, body: {"result": [documents]}
    assert remote(server).search("q", 2) == [
        Hit(Document("0", "0"), 0.0),
        Hit(Document("1", "1"), 0.0),
    ]


def test_an_empty_query_is_not_sent(server):
    assert remote(server).search(" ", 3) == []
    assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500),
        Reply(503),
        Reply(429),
        Reply(hang=1.0),
        Reply(truncate=True),
        Reply(body="<html>"),
    ],
)
def test_a_passing_fault_is_waited_out(server, fault):
    retriever = remote(server, timeout=0.2)
    server.faults += [fault, fault]
    assert retriever.search("emma novel", 3) == HITS
    assert len(server.requests) == 3


FAULTS = [
    Reply(500),
    Reply(422),
    Reply(body="<html>"),
    Reply(hang=1.0),
    Reply(body={}),
    Reply(body=[]),
    Reply(body={"result": []}),
    Reply(body={"result": [[], []]}),
    Reply(body={"result": [["text"]]}),
    Reply(body={"result": [[{"document": {"id": 1}}]]}),
    Reply(body={"result": [[{"document": {"contents": None}}]]}),
    Reply(body={"error": "index is loading"}),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_fails_that_search_alone(server, fault):
    retriever = remote(server, timeout=0.1)
    assert retriever.search("emma novel", 3) == HITS
    server.faults += [fault] * 3
    with pytest.raises(RetrievalError) as raised:
        retriever.search("emma novel", 3)
    assert not isinstance(raised.value, SkillRLError)
    server.faults.clear()
    assert retriever.search("emma novel", 3) == HITS


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_never_answered_is_a_mistake_of_set_up(server, fault):
    server.faults += [fault] * 3
    with pytest.raises(SkillRLError, match=r"env\.search\.urls.*'single'.*env\.search\.dialect"):
        remote(server, timeout=0.1).search("emma", 3)


def test_a_query_that_is_too_long_fails_alone_even_as_the_first(server):
    server.faults += [Reply(413)]
    with pytest.raises(RetrievalError, match="status 413"):
        remote(server).search("emma " * 9999, 3)
    assert remote(server).search("emma novel", 3) == HITS


@pytest.mark.parametrize("score", [float("nan"), "0.5", 1e400, True])
def test_a_score_that_is_no_number_fails_that_search(server, score):
    retriever = remote(server, retries=0)
    assert retriever.search("emma novel", 3) == HITS
    found = {"result": [[{"document": {"contents": "text"}, "score": score}]]}
    server.faults += [Reply(body=found)]
    with pytest.raises(RetrievalError, match="not a finite number"):
        retriever.search("emma novel", 3)


def test_nobody_at_the_address():
    with Server(lambda path, body: {}) as gone:
        pass
    with pytest.raises(SkillRLError, match=r"after 1 attempt.*Is the server running"):
        RemoteRetriever(gone.url, dialect="single", retries=0).search("emma", 3)


# The suite over servers.


def suite_over(*urls, dialect="single", **search):
    config = SearchConfig(retriever="http", urls=urls, dialect=dialect, **search)
    return make_suite("search", EnvConfig(name="search", max_steps=4, search=config))


@pytest.mark.parametrize("dialect", ["single", "batched"])
def test_episodes_over_a_server_are_those_over_the_local_index(dialect):
    with Server(lambda path, body: answer(body, open_retriever())) as server:
        suite = suite_over(server.url, dialect=dialect)
        for task in suite.tasks("valid_unseen")[:12]:
            expert = suite.expert(task)
            assert play(suite.make(), task, lambda o, e=expert: e.act(o).action)[0]
        assert len(server.requests) > 12


def test_servers_are_dealt_out_in_turn():
    suite = suite_over("http://a", "http://b/", "http://c/retrieve")
    urls = [suite.make()._retriever.url for _ in range(4)]
    assert urls == ["http://a/retrieve", "http://b/retrieve", "http://c/retrieve", urls[0]]


def test_a_server_that_dies_ends_the_episode_and_not_the_run():
    with Server(lambda path, body: answer(body, open_retriever())) as server:
        suite = suite_over(server.url, retries=0)
        environment, (task, *_) = suite.make(), suite.tasks("train")
        environment.reset(task)
        environment.step("<search>Old Dale</search>")
        server.faults.append(Reply(500))
        with pytest.raises(RetrievalError):
            environment.step("<search>Old Dale</search>")
        environment.reset(task)
        assert not environment.step("<search>Old Dale</search>").done
