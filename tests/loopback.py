"""A real HTTP server on the loopback interface, with faults on request.

    with Server(lambda path, body: {"echo": body}) as server:
        server.faults += [Reply(429, headers={"Retry-After": "2"}), Reply(hang=1.0)]
        ...

Each request takes the first fault of the list, if any; else `answer` makes the reply.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclasses.dataclass(frozen=True)
class Reply:
    """One scripted answer: `truncate` announces more bytes than are sent; `hang` in seconds.

    A `body` of bytes or text is sent as it is. With `drip`, it comes a byte at a time, so many
    seconds apart.
    """

    status: int = 200
    body: Any = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hang: float = 0.0
    truncate: bool = False
    drip: float = 0.0

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


class Server:
    """Threaded server; `requests` holds (path, JSON body, headers) of every call."""

    def __init__(self, answer: Callable[[str, Any], Any]) -> None:
        self.answer = answer
        self.faults: list[Reply] = []
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.handle(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", 0))
        body = json.loads(request.rfile.read(length) or b"null")
        with self.lock:
            self.requests.append((request.path, body, dict(request.headers)))
            reply = self.faults.pop(0) if self.faults else None
        if reply is None:
            made = self.answer(request.path, body)
            reply = made if isinstance(made, Reply) else Reply(body=made)
        if reply.hang:
            time.sleep(reply.hang)
        data = reply.encoded()
        try:
            request.send_response(reply.status)
            for name, value in reply.headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(data) + (50 if reply.truncate else 0)))
            request.end_headers()
            if not reply.drip:
                request.wfile.write(data)
                return
            for byte in data:
                request.wfile.write(bytes([byte]))
                time.sleep(reply.drip)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client stopped waiting, as a test asked it to

    def __enter__(self) -> Server:
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def chat(text: str, logprobs: list[float] | None = None) -> dict[str, Any]:
    """The body of a chat completion."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    if logprobs is not None:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": p} for p in logprobs]}
    return {"id": "c", "object": "chat.completion", "choices": [choice]}
