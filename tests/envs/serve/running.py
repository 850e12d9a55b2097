"""Servers for tests: a real process, or one in this process with faults on request."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import uvicorn

from skillrl.envs.serve.http import MAX_REQUEST
from skillrl.envs.serve.patience import protocol
from skillrl.envs.serve.server import bind, url_of

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """`skillrl serve` with these arguments, on a free port of the loopback interface."""

    def __init__(self, *arguments: str):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "skillrl", "serve", "--port=0", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.line = self.process.stdout.readline().strip()
        found = re.search(r"http://\S+", self.line)
        if not found:
            raise AssertionError(self.line + self.process.communicate()[1])
        self.url = found[0]

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C; exit status, rest of stdout, stderr."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


class Thread:
    """An application served by a thread of this process; may be stopped and started again.

    `faults` maps a path to the faults of its next requests, in order ("" is none). For
    ``/ws`` they are those of its next answers.
    """

    request_timeout = 30.0

    def __init__(self, make_app):
        self.make_app = make_app
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.requests: list[str] = []
        self.port = 0

    def __enter__(self) -> Thread:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serves a fresh application, on the port of the last one."""
        self.app = self.make_app()
        self.socket = bind("127.0.0.1", self.port)
        self.port = self.socket.getsockname()[1]
        self.url = url_of(self.socket)
        config = uvicorn.Config(
            self.faulty,
            interface="asgi3",
            http=protocol(self.request_timeout),
            log_level="critical",
            access_log=False,
            ws_max_size=MAX_REQUEST,
            timeout_graceful_shutdown=0,
        )
        self.server = uvicorn.Server(config)
        self.server.install_signal_handlers = lambda: None
        self.running = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )
        self.running.start()
        while not self.server.started:
            self.running.join(0.005)
            assert self.running.is_alive()

    def stop(self) -> None:
        """All sessions are gone."""
        if self.running.is_alive():
            self.server.should_exit = self.server.force_exit = True
            self.running.join()
            self.socket.close()

    def restart(self) -> None:
        """Stops and starts again."""
        self.stop()
        self.start()

    async def faulty(self, scope, receive, send) -> None:
        """The application, with what `faults` says done to it."""
        if scope["type"] == "http":
            self.requests.append(scope["path"])
            fault = self.take(scope["path"])
            if fault:
                await FAULTS[fault](self.app, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, self.talk(send))
        else:
            await self.app(scope, receive, send)

    def take(self, path: str) -> str:
        """The next fault of a path."""
        return self.faults[path].pop(0) if self.faults[path] else ""

    def talk(self, send):
        """`send` of a WebSocket, with faults."""

        async def faulty(message) -> None:
            if message["type"] != "websocket.send":
                await send(message)
                return
            self.requests.append("/ws")
            fault = self.take("/ws")
            if fault == "close":
                await send({"type": "websocket.close", "code": 1011})
                raise RuntimeError("closed by a fault")
            if fault in WS_TEXTS:
                await send({"type": "websocket.send", "text": WS_TEXTS[fault]})
            elif fault != "hang":
                await send(message)

        return faulty


WS_TEXTS = {
    "malformed": '{"type": "observation", "data": {',
    "wrong": '{"type": "observation", "data": {"observation": "text"}}',
    "list": "[]",
    "error": '{"type": "error", "data": {"message": "boom", "code": "EXECUTION_ERROR"}}',
}


async def _say(send, status: int, body: bytes, kind: bytes = b"application/json", more: int = 0):
    length = str(len(body) + more).encode()
    headers = [(b"content-type", kind), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": bool(more)})


async def _hang(*_: object) -> None:
    await asyncio.sleep(30)


async def _lost(app, scope, receive, send) -> None:
    """Carried out, but the answer never arrives."""

    async def nowhere(_) -> None:
        pass

    await app(scope, receive, nowhere)
    await asyncio.sleep(30)


async def _cut(app, scope, receive, send) -> None:
    await _say(send, 200, b'{"observation": "You', more=100)
    raise ConnectionResetError


def _answer(status: int, body: bytes, kind: bytes = b"application/json"):
    async def answer(app, scope, receive, send) -> None:
        await _say(send, status, body, kind)

    return answer


FAULTS = {
    "error": _answer(200, b'{"error": "boom"}'),
    "malformed": _answer(200, b'{"observation": "You'),
    "wrong": _answer(200, b'{"observation": 5, "state": 5, "id": "x"}'),
    "html": _answer(200, b"<html>Sign in</html>", b"text/html"),
    "500": _answer(500, b"Internal Server Error", b"text/plain"),
    "503": _answer(503, b'{"error": "full"}'),
    "hang": _hang,
    "lost": _lost,
    "cut": _cut,
}


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]
