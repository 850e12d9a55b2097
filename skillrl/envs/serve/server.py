"""Runs the application: binds, says where, serves until Ctrl-C."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable

from skillrl.envs.base import Suite
from skillrl.errors import SkillRLError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_GRACE = 2  # seconds that open connections get when the server stops
_BACKLOG = 1024


def bind(host: str, port: int) -> socket.socket:
    """Returns a bound socket; port 0 picks a free one.

    Raises:
      SkillRLError: the address is taken, not allowed or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(address)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        raise SkillRLError(
            f"--host={host} --port={port}: cannot be bound ({error.strerror or error}). Another "
            "program may use the port: choose another, or --port=0 for any free one."
        ) from None
    return opened


def url_of(opened: socket.socket) -> str:
    """Returns where a bound socket is reached from this machine."""
    host, port = opened.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    suite: Suite,
    *,
    dialect: str,
    host: str,
    port: int,
    max_sessions: int,
    session_ttl: float,
    say: Callable[[str], None] = print,
) -> None:
    """Serves `suite` until the process is interrupted.

    Args:
      suite: what is served.
      dialect: one of `skillrl.envs.serve.DIALECTS`.
      host: name or address to listen on.
      port: port to listen on; 0 picks a free one.
      max_sessions: episodes at once.
      session_ttl: seconds after which an unused session is closed.
      say: gets one line when the server is ready.

    Raises:
      SkillRLError: the serve extra is not installed, the address cannot be bound, or the
        suite has nothing to serve in this dialect.
    """
    try:
        import uvicorn
        import websockets  # noqa: F401  (uvicorn needs it for the openenv dialect)

        from skillrl.envs.serve.app import make_app, spoken
    except ImportError as error:
        raise SkillRLError(
            f"serving an environment needs {error.name}: pip install 'skillrl[serve]'."
        ) from None
    from skillrl.envs.serve.http import MAX_REQUEST
    from skillrl.envs.serve.patience import REQUEST_TIMEOUT, protocol

    app = make_app(
        suite,
        dialect,
        max_sessions=max_sessions,
        session_ttl=session_ttl,
        workers=min(max_sessions, 4 * (os.cpu_count() or 1)),
        loopback=host in LOOPBACK,
        host=host,
    )
    opened = bind(host, port)

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                say(f"serving {suite.name} as {spoken(dialect, suite)} at {url_of(opened)}")

    if host not in LOOPBACK:
        logging.getLogger(__name__).warning(
            "--host=%s: whoever reaches this machine can play here; there is no password", host
        )
    config = uvicorn.Config(
        app,
        http=protocol(REQUEST_TIMEOUT),
        log_level="warning",
        access_log=False,
        ws_max_size=MAX_REQUEST,
        timeout_graceful_shutdown=_GRACE,
        backlog=_BACKLOG,
    )
    try:
        Announcing(config).run(sockets=[opened])
    except KeyboardInterrupt:
        pass  # Ctrl-C is how a server is stopped; uvicorn has closed everything by now
    finally:
        opened.close()
    say(f"stopped serving {suite.name}")
