"""Clients that a server must not trust, wait for, or cry over."""

from __future__ import annotations

import socket

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from skillrl.envs.serve.http import MAX_REQUEST
from tests.envs.serve.running import Process


def opened(url: str) -> socket.socket:
    port = int(url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def head(path: str, length: int, host: str = "localhost") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def rest(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    found = b""
    while piece := connection.recv(4096):
        found += piece
    return found


@pytest.mark.parametrize("dialect", ["agentgym-alfworld", "agentgym-webshop", "openenv"])
def test_half_a_request_is_not_waited_for(serve, dialect):
    server = serve(dialect, request_timeout=0.3)
    path = "/reset"
    for half in (b"", b"POST /res", head(path, 10)[:-2], head(path, 10), head(path, 10) + b'{"a"'):
        with opened(server.url) as connection:
            connection.sendall(half)
            answer = rest(connection)  # ends, since the server closes
        assert answer.startswith(b"HTTP/1.1 408 "), half
        assert b"not complete in time" in answer


def test_the_second_half_may_come_later_and_so_may_the_next_request(serve):
    server = serve("agentgym-webshop", request_timeout=2.0)
    with opened(server.url) as connection:
        whole = head("/create", 2) + b"{}"
        for _ in range(2):
            connection.sendall(whole[:30])
            connection.sendall(whole[30:])
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(whole[:30])  # half a request after whole ones: as at the beginning
        assert rest(connection).startswith(b"HTTP/1.1 408 ")


def test_a_request_at_work_is_waited_for_however_long_it_takes(serve):
    server = serve("openenv", request_timeout=0.2)
    with connect(server.url.replace("http", "ws") + "/ws", proxy=None) as connection:
        server.running.join(0.5)  # idle for longer than a request may take
        connection.send('{"type": "reset", "data": {}}')
        assert '"observation"' in connection.recv(timeout=20)


ALLOWED = ["localhost", "localhost:3000", "127.0.0.1:80", "[::1]:3000", "127.0.0.2", "LOCALHOST"]
REFUSED = ["evil.example", "localhost.evil.example", "10.0.0.1:3000", "[::2]", "127.0.0.1.nip.io"]


@pytest.mark.parametrize("host", ALLOWED + REFUSED)
def test_a_name_that_was_bent_to_this_machine_is_refused(serve, host):
    server = serve("agentgym-webshop")
    answer = httpx.get(server.url, headers={"Host": host}, trust_env=False)
    assert answer.status_code == (200 if host in ALLOWED else 403)
    assert ("pages of its machine" in answer.text) is (host in REFUSED)


def test_the_name_that_a_server_was_told_is_allowed_and_without_loopback_any(serve):
    for options in ({"host": "my-laptop"}, {"loopback": False}):
        server = serve("agentgym-webshop", **options)
        answer = httpx.get(server.url, headers={"Host": "my-laptop:3000"}, trust_env=False)
        assert answer.status_code == 200


def test_a_websocket_under_another_name_is_refused(serve):
    url = serve("openenv").url.replace("http", "ws") + "/ws"
    headers = {"Host": "evil.example"}
    with pytest.raises(InvalidStatus), connect(url, proxy=None, additional_headers=headers):
        pass


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 200),
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.x+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
@pytest.mark.parametrize("dialect", ["agentgym-alfworld", "agentgym-webshop", "openenv"])
def test_a_body_of_another_kind_is_refused(serve, dialect, kind, status):
    with httpx.Client(base_url=serve(dialect).url, trust_env=False) as client:
        headers = {"Content-Type": kind} if kind else {}
        body = b"{}"
        if dialect != "openenv":
            key = client.post("/create").json()
            key = key["id"] if isinstance(key, dict) else key
            name = "id" if dialect == "agentgym-alfworld" else "env_idx"
            body = f'{{"{name}": {key}}}'.encode()
        path = "/reset" if dialect == "openenv" else "/close"
        answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert ("application/json" in answer.text) is (status == 415)


def test_nobody_is_told_the_sessions_of_others_and_nobody_can_guess_them(serve):
    server = serve("agentgym-webshop")
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        keys = [client.post("/create").json() for _ in range(8)]
        assert client.get("/list_envs").json() == []
    assert len(set(keys)) == 8
    assert all(0 <= key < 2**53 for key in keys)  # what every JSON reader keeps exactly
    assert max(keys) > 2**45  # eight draws below it: once in 2**64


def test_clients_that_leave_are_no_traceback():
    """In the middle of a head, a body, an answer, a WebSocket, and after far too much."""
    for dialect in ("agentgym", "openenv"):
        with Process("--env=alfworld", f"--dialect={dialect}") as server:
            whole = head("/reset", 40) + b'{"id": 5, "game": 0, "world_type": "Text'
            for piece in (b"GET /ma", head("/reset", 40), whole[:-3], whole, b"\x16\x03\x01" * 50):
                with opened(server.url) as connection:
                    connection.sendall(piece)
            with opened(server.url) as connection:
                connection.sendall(head("/reset", 2 * MAX_REQUEST))
                connection.sendall(b"x" * 1000)
            if dialect == "openenv":
                with connect(server.url.replace("http", "ws") + "/ws", proxy=None) as leaving:
                    leaving.send('{"type": "reset", "data": {}}')
                    leaving.socket.close()
            health = "/health" if dialect == "openenv" else "/"
            assert httpx.get(server.url + health, trust_env=False).status_code == 200
            status, _, err = server.interrupt()
        assert status == 0
        assert "Traceback" not in err, err
        assert "rror in ASGI" not in err, err
