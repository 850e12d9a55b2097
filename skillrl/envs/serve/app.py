"""Makes an ASGI application of a suite and a dialect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from skillrl.envs.base import Suite
from skillrl.envs.serve import agentgym, openenv
from skillrl.envs.serve.catalogue import TaskCatalogue
from skillrl.envs.serve.http import (
    BadRequest,
    LimitRequests,
    RefuseForeignOrigins,
    TooLarge,
    WrongType,
    bad_request,
    full,
    gone,
    too_large,
    wrong_type,
)
from skillrl.envs.serve.retrieve import Answer, retrieve_routes, retriever_answer
from skillrl.envs.serve.sessions import Sessions, SessionsFull
from skillrl.version import VERSION


def spoken(dialect: str, suite: Suite) -> str:
    """Resolves ``agentgym`` to the one of its two shapes that fits the environment."""
    if dialect != "agentgym":
        return dialect
    return "agentgym-webshop" if suite.name == "webshop" else "agentgym-alfworld"


def make_app(
    suite: Suite,
    dialect: str,
    *,
    max_sessions: int,
    session_ttl: float,
    workers: int = 8,
    answer: Answer | None = None,
    loopback: bool = True,
    host: str = "",
) -> Starlette:
    """Makes an application that serves `suite`.

    Args:
      suite: what is served.
      dialect: one of `skillrl.envs.serve.DIALECTS`.
      max_sessions: episodes at once.
      session_ttl: seconds after which an unused session is closed.
      workers: threads on which environments step.
      answer: for ``retrieve``; None takes the suite's own retriever.
      loopback: bound to this machine alone, so that pages of other hosts are refused.
      host: the name by which it was told to listen, which is then allowed as well.

    Raises:
      SkillRLError: nothing of the kind to serve in this suite.
    """
    sessions = Sessions(suite, limit=max_sessions, ttl=session_ttl, workers=workers)
    routes: list[BaseRoute]
    if dialect == "retrieve":
        routes = [*retrieve_routes(sessions, answer or retriever_answer(suite))]
    elif dialect == "openenv":
        routes = openenv.routes(sessions, TaskCatalogue(suite), version=VERSION)
    else:
        shape = spoken(dialect, suite)
        make = {
            "agentgym-alfworld": agentgym.alfworld_routes,
            "agentgym-webshop": agentgym.webshop_routes,
        }[shape]
        routes = [*make(sessions, TaskCatalogue(suite))]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sessions.keep_sweeping())
        try:
            yield
        finally:
            sweeping.cancel()
            await sessions.shutdown()

    origins = [Middleware(RefuseForeignOrigins, host=host)] if loopback else []
    app = Starlette(
        routes=routes,
        middleware=[*origins, Middleware(LimitRequests)],
        exception_handlers={
            BadRequest: bad_request,
            TooLarge: too_large,
            WrongType: wrong_type,
            SessionsFull: full,
            ClientDisconnect: gone,
        },
        lifespan=lifespan,
    )
    app.state.sessions = sessions
    return app
