import logging

import pytest

from skillrl.errors import SkillRLError
from skillrl.http import HTTPFailure, bearer, post_json, public_url
from tests.loopback import Reply, Server

KEY = "sk-very-secret-1234"


@pytest.fixture
def server():
    with Server(lambda path, body: {"echo": body}) as running:
        yield running


def post(server, waits, **options):
    options = {"retries": 2, "timeout": 5.0, "sleep": waits.append, "jitter": lambda: 0.5} | options
    return post_json(server.url + "/v1/x", {"a": 1}, headers=bearer(KEY), **options)


def test_answer_and_authorisation_header(server):
    assert post(server, []) == {"echo": {"a": 1}}
    assert server.requests[0][2]["Authorization"] == f"Bearer {KEY}"


def test_retry_after_in_seconds_is_honoured(server):
    server.faults += [Reply(429, headers={"Retry-After": "7"})]
    waits = []
    assert post(server, waits) == {"echo": {"a": 1}}
    assert waits == [7.0]


def test_a_huge_retry_after_is_capped(server):
    server.faults += [Reply(503, headers={"Retry-After": "86400"})]
    waits = []
    post(server, waits, max_wait=30.0)
    assert waits == [30.0]


def test_retry_after_as_a_date_in_the_past_or_nonsense_falls_back_to_backoff(server):
    server.faults += [
        Reply(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Reply(429, headers={"Retry-After": "soon"}),
    ]
    waits = []
    post(server, waits)
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500, "boom"),
        Reply(body="{not json"),
        Reply(body="[" * 100_000),
        Reply(body="1" * 5_000),
        Reply(body="no gzip", headers={"Content-Encoding": "gzip"}),
        Reply(body={"long": "x" * 30}, truncate=True),
        Reply(hang=0.4),
    ],
    ids=["500", "malformed", "deep", "huge", "gzip", "truncated", "hang"],
)
def test_a_passing_fault_is_retried(server, fault):
    server.faults += [fault]
    waits = []
    assert post(server, waits, timeout=0.15) == {"echo": {"a": 1}}
    assert len(waits) == 1
    assert len(server.requests) == 2


def test_final_failure_names_everything_but_the_key(server, caplog):
    server.faults += [Reply(500, f"key {KEY} broke it")] * 3
    waits = []
    with caplog.at_level(logging.DEBUG), pytest.raises(HTTPFailure) as caught:
        post(server, waits)
    assert (caught.value.status, caught.value.attempts) == (500, 3)
    assert server.url in str(caught.value)
    assert "status 500" in str(caught.value)
    assert "look at its log" in str(caught.value)
    assert KEY not in str(caught.value) + caplog.text
    assert waits == [0.5, 1.0]


def test_a_wrong_key_fails_at_once(server):
    server.faults += [Reply(401, "who?")]
    with pytest.raises(HTTPFailure, match="API key") as caught:
        post(server, [])
    assert caught.value.attempts == 1


def test_nobody_listens():
    with Server(lambda *_: {}) as gone:
        url = gone.url
    with pytest.raises(HTTPFailure, match="running and reachable") as caught:
        post_json(url, {}, retries=1, sleep=lambda _: None, timeout=1.0)
    assert caught.value.status is None


def test_not_an_address():
    with pytest.raises(SkillRLError, match="not an http"):
        post_json("localhost:8000", {})
    with pytest.raises(SkillRLError, match="not a usable address"):
        post_json("http://localhost:port/v1", {})


@pytest.mark.parametrize("key", ["sk-secret line", "sk-secrét", "sk-secret\nX: y"])
def test_a_key_that_fits_no_header_is_refused_without_being_quoted(key):
    with pytest.raises(SkillRLError, match="copy it again") as caught:
        bearer(key)
    assert "secr" not in str(caught.value)


def test_a_trailing_newline_of_a_key_file_is_dropped():
    assert bearer(" abc\n") == {"Authorization": "Bearer abc"}
    assert bearer("") == {}


def test_public_url_drops_credentials():
    assert public_url("https://me:pw@host:1/v1?key=secret#f") == "https://host:1/v1"
