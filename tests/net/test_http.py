import base64
import gzip
import json
import logging
import zlib

import pytest

from skillrl.errors import SkillRLError
from skillrl.net.http import (
    Fault,
    HTTPFailure,
    bearer,
    get_json,
    is_too_long,
    post_json,
    public_url,
)
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


# Answers that never end, or are not what they should be.


def test_an_answer_that_drips_ends_at_the_deadline(server):
    server.faults += [Reply(body=b"[1, 2, 3, 4, 5, 6, 7, 8, 9]" * 200, drip=0.02)]
    with pytest.raises(HTTPFailure, match=r"not whole after 0\.2 s") as caught:
        post(server, [], timeout=5.0, deadline=0.2)
    assert caught.value.attempts == 1  # it would be no faster another time


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_answer_beyond_the_limit_is_not_read_to_its_end(server, packed):
    body = b"[" + b"1," * 500_000 + b"1]"
    headers = {"Content-Encoding": "gzip"} if packed else {}
    server.faults += [Reply(body=gzip.compress(body) if packed else body, headers=headers)] * 2
    with pytest.raises(HTTPFailure, match="more than 100,000 bytes") as caught:
        post(server, [], limit=100_000)
    assert caught.value.too_large
    assert len(post(server, [], limit=len(body))) == 500_001


def test_a_bomb_within_a_bomb_is_not_unpacked(server):
    twice = gzip.compress(gzip.compress(b" " * 10_000_000))
    server.faults += [Reply(body=twice, headers={"Content-Encoding": "gzip, gzip"})] * 3
    with pytest.raises(HTTPFailure, match="cannot be undone"):
        post(server, [])


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(b'{"a": 1}'), {"Content-Encoding": "gzip"}),
        (zlib.compress(b'{"a": 1}'), {"Content-Encoding": "deflate"}),
        (b'\xef\xbb\xbf{"a": 1}', {}),
        ('{"a": 1}'.encode("utf-16"), {}),
    ],
    ids=["gzip", "deflate", "bom", "utf-16"],
)
def test_other_forms_of_json(server, body, headers):
    server.faults += [Reply(body=body, headers=headers)]
    assert post(server, []) == {"a": 1}


def test_latin_1_is_read_where_the_server_says_so(server):
    body = '{"a": "caf\u00e9"}'.encode("latin-1")
    server.faults += [
        Reply(body=body, headers={"Content-Type": "application/json; charset=ISO-8859-1"}),
        *[Reply(body=body)] * 3,
    ]
    assert post(server, []) == {"a": "caf\u00e9"}
    with pytest.raises(HTTPFailure, match=r"not JSON \('utf-8' codec"):
        post(server, [])


def test_half_an_emoji_is_repaired_both_ways(server):
    server.faults += [Reply(body=b'{"a": "cut \\ud83d"}')]
    assert post(server, []) == {"a": "cut \ufffd"}
    assert post_json(server.url, {"q": "cut \ud83d"}) == {"echo": {"q": "cut \ufffd"}}


def test_a_stream_of_events_and_a_login_page_are_named(server):
    events = Reply(body="data: {}\n\n", headers={"Content-Type": "text/event-stream"})
    server.faults += [events]
    with pytest.raises(HTTPFailure, match="stream of events") as caught:
        post(server, [])
    assert caught.value.attempts == 1
    server.faults += [Reply(body="<html>Sign\x1b[2J in</html>")] * 3
    with pytest.raises(HTTPFailure, match=r"not JSON: <html>Sign\\x1b\[2J in</html>"):
        post(server, [])


def test_a_redirect_is_not_followed_but_shown_without_its_secrets(server):
    location = "https://me:pw@other.example/v1?key=abc"
    server.faults += [Reply(307, "", headers={"Location": location})]
    with pytest.raises(
        HTTPFailure, match=r"307, to https://other\.example/v1\..*redirects"
    ) as caught:
        post(server, [])
    assert "pw" not in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["9" * 400, "-5", "1e9", "\u0663", "", "Fri, 31 Dec 9999 23:59:59 GMT", "0x10"]
)
def test_absurd_pauses_are_neither_waited_for_nor_fatal(server, value):
    server.faults += [Reply(503, headers={"Retry-After": value.encode().decode("latin-1")})]
    waits = []
    assert post(server, waits, max_wait=3.0) == {"echo": {"a": 1}}
    assert 0 < waits[0] <= 3.0


def test_an_error_page_of_any_size_is_quoted_shortly(server):
    server.faults += [Reply(400, "no " * 3_000_000)]
    with pytest.raises(HTTPFailure, match="no no no") as caught:
        post(server, [], limit=1_000_000)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("code", "tries"), [(429, 3), (502, 3), (400, 1), (None, 1)], ids=["429", "502", "400", "none"]
)
def test_an_error_stated_in_a_good_answer_counts_by_its_code(server, code, tries):
    def fault(answer):
        return Fault(answer["error"], code) if "error" in answer else None

    server.faults += [Reply(body={"error": f"overloaded, key {KEY}"})] * 3
    with pytest.raises(HTTPFailure, match=r"status 200, with an error.*overloaded") as caught:
        post(server, [], fault=fault)
    assert (caught.value.attempts, caught.value.status) == (tries, code or 200)
    assert KEY not in str(caught.value) + caught.value.body
    server.faults[:] = [Reply(body={"error": "once"})]
    if code in (429, 502):
        assert post(server, [], fault=fault) == {"echo": {"a": 1}}


@pytest.mark.parametrize(
    "echo", [KEY, KEY[3:], KEY[:14], base64.b64encode(f"Bearer {KEY}".encode()).decode()]
)
def test_an_echo_in_another_form_reaches_neither_message_nor_log(server, caplog, echo):
    filler = "x" * 290  # so that the message is cut within the echo
    server.faults += [Reply(500, f"{filler} {echo}"), Reply(403, f"{filler} {echo}")]
    with caplog.at_level(logging.DEBUG), pytest.raises(HTTPFailure) as caught:
        post(server, [])
    said = str(caught.value) + caught.value.body + caplog.text
    echo = echo.removeprefix("QmVhcmVyI")  # "Bearer " is no secret
    assert not any(echo[i : i + 8] in said for i in range(len(echo) - 7))


@pytest.mark.parametrize(
    ("status", "text", "answer"),
    [
        (413, "", True),
        (400, "This model's maximum context length is 400 tokens.", True),
        (400, '{"code": "context_length_exceeded"}', True),
        (400, "the request exceeds the available context size", True),
        (422, "Input validation error: `inputs` must have less than 512 tokens", True),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", True),
        (400, "model not found", False),
        (400, "temperature must be at most 2", False),
        (None, "maximum context length", False),
    ],
)
def test_refusals_for_length(status, text, answer):
    assert is_too_long(status, text) is answer


def test_a_refusal_for_length_says_what_to_shorten(server):
    server.faults += [Reply(400, {"message": "maximum context length is 400 tokens"})]
    with pytest.raises(HTTPFailure, match=r"rl\.max_prompt_length") as caught:
        post(server, [])
    assert caught.value.too_long


def test_get_follows_the_same_rules(server):
    server.faults += [Reply(503), Reply(body=b"[1]")]
    assert get_json(server.url, sleep=lambda _: None) == [1]
    assert json.dumps(public_url("http://[half")) == '"http://[half"'
