"""`skillrl serve` as a process: ready line, refusals, Ctrl-C."""

from __future__ import annotations

import contextlib
import socket

import httpx
import pytest

from skillrl.cli import main
from skillrl.envs.serve import DIALECTS
from skillrl.envs.serve.server import bind, url_of
from skillrl.errors import SkillRLError
from tests.envs.serve.running import Process


def test_ready_line_play_and_ctrl_c():
    with Process("--max_sessions=3", "--session_ttl=60") as server:
        assert server.line.startswith("serving alfworld as agentgym-alfworld at http://127.0.0.1:")
        with httpx.Client(base_url=server.url) as client:
            key = client.post("/create").json()["id"]
            reset = {"id": key, "game": 0, "world_type": "Text"}
            assert "Your task is to" in client.post("/reset", json=reset).json()["observation"]
            status, out, err = server.interrupt()
    assert (status, out, err) == (0, "stopped serving alfworld\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dialect=gym"], ["--dialect=gym", *DIALECTS]),
        (["--env=nowhere"], ["nowhere"]),
        (["--dialect=retrieve"], ["alfworld has no retriever", "--env=search"]),
        (["--port=70000"], ["70000", "65535"]),
        (["--host=256.0.0.1", "--port=0"], ["--host=256.0.0.1"]),
        (["--max_sessions=0"], ["max_sessions"]),
        (["--session_ttl=0"], ["session_ttl"]),
        (["--set=env.max_steps=0"], ["env.max_steps is 0"]),
    ],
)
def test_refusals(arguments, words, capsys):
    assert main.main(["serve", *arguments]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


def test_a_port_in_use():
    with contextlib.closing(bind("127.0.0.1", 0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SkillRLError, match=f"--port={port}.*--port=0"):
            bind("127.0.0.1", port)


def test_addresses_that_a_person_can_use():
    with contextlib.closing(bind("0.0.0.0", 0)) as opened:
        assert url_of(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}"
    if socket.has_ipv6:
        with contextlib.suppress(SkillRLError), contextlib.closing(bind("::1", 0)) as opened:
            assert url_of(opened).startswith("http://[::1]:")
