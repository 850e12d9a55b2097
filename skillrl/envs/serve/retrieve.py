"""Serves POST /retrieve: passages for queries, batched (as Search-R1 asks) or single (as SkyRL)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from skillrl.envs.serve.http import read_object, reply
from skillrl.envs.serve.sessions import Sessions
from skillrl.errors import SkillRLError

_LOG = logging.getLogger(__name__)

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From the decoded body to the decoded answer; a SkillRLError says what is wrong with the body."""


def retrieve_routes(sessions: Sessions, answer: Answer) -> list[Route]:
    """Returns the route, answered on the threads of `sessions`."""

    async def retrieve(request: Request) -> Response:
        payload = await read_object(request)
        try:
            return reply(await sessions.run(answer, payload))
        except SkillRLError as error:
            return reply({"detail": str(error)}, 422)
        except Exception as error:
            _LOG.exception("the retriever failed")
            return reply({"detail": f"{type(error).__name__}: {error}"}, 502)  # worth a retry

    async def health(_: Request) -> Response:
        return reply({"status": "healthy"})

    return [Route("/retrieve", retrieve, methods=["POST"]), Route("/health", health)]


def retriever_answer(suite: Any) -> Answer:
    """Answers from the retriever of a suite.

    Raises:
      SkillRLError: this environment retrieves nothing.
    """
    if not hasattr(suite, "retriever"):
        raise SkillRLError(
            f"--dialect=retrieve: {suite.name} has no retriever to serve. Use --env=search, or "
            "another dialect (agentgym, openenv)."
        )
    from skillrl.envs.search.retrieve import answer

    retriever = suite.retriever()
    return lambda payload: answer(payload, retriever)
