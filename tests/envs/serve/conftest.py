"""Servers that several tests share."""

from __future__ import annotations

import pytest

from skillrl.config.settings import EnvConfig
from skillrl.envs import make_suite
from skillrl.envs.serve.app import make_app
from tests.envs.serve.running import Thread


def _serve(dialect: str, **options):
    suite = make_suite("alfworld", EnvConfig())
    timeout = options.pop("request_timeout", 30.0)
    limits = {"max_sessions": 8, "session_ttl": 60.0, "workers": 2} | options
    server = Thread(lambda: make_app(suite, dialect, **limits))
    server.request_timeout = timeout
    return server


@pytest.fixture
def serve():
    """A function that starts a server of ALFWorld in this process; stopped at the end."""
    started = []

    def start(dialect: str, **options) -> Thread:
        started.append(_serve(dialect, **options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()
