"""Speaks OpenEnv's protocol for any environment: episodes over WebSocket, single calls over HTTP.

The messages, routes and error codes are those of openenv-core 0.3.0
(core/env_server/http_server.py, types.py), without MCP. An action is
``{"action": "go to desk 1"}``; an observation holds what an agent needs, since OpenEnv
does not send an observation's metadata.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from skillrl.envs.serve.catalogue import MANIFEST, TaskCatalogue
from skillrl.envs.serve.http import BadRequest, check, manifest_handler, read_object, reply
from skillrl.envs.serve.sessions import ClientSession, Sessions, SessionsFull
from skillrl.types import Task

_LOG = logging.getLogger(__name__)

_ACTION = {"action": str, "metadata": (dict, type(None))}
_MESSAGES: Mapping[str, tuple[str, ...]] = {
    "reset": ("type", "data"),
    "step": ("type", "data"),
    "state": ("type",),
    "close": ("type",),
}


def routes(sessions: Sessions, catalogue: TaskCatalogue, *, version: str) -> list[BaseRoute]:
    """Returns all routes of an OpenEnv server, and ours for the manifest."""
    suite = catalogue.suite

    async def health(_: Request) -> Response:
        return reply({"status": "healthy"})

    async def schema(_: Request) -> Response:
        return reply(_SCHEMAS)

    async def metadata(_: Request) -> Response:
        return reply(
            {
                "name": suite.name,
                "description": suite.role,
                "readme_content": None,
                "version": version,
                "author": None,
                "documentation_url": None,
            }
        )

    async def reset(request: Request) -> Response:
        body = await read_object(request, optional=True)
        task = _task(catalogue, _seed(body))
        return reply(await _alone(sessions, task, None))

    async def step(request: Request) -> Response:
        body = await read_object(request)
        (fields,) = check(body, action=dict)
        action = _action(fields)
        return reply(await _alone(sessions, _task(catalogue, _seed(body)), action))

    async def state(_: Request) -> Response:
        return reply({"episode_id": None, "step_count": 0})

    async def play(websocket: WebSocket) -> None:
        await _Connection(websocket, sessions, catalogue).serve()

    return [
        Route("/health", health),
        Route("/schema", schema),
        Route("/metadata", metadata),
        Route("/state", state),
        Route("/reset", reset, methods=["POST"]),
        Route("/step", step, methods=["POST"]),
        Route(MANIFEST, manifest_handler(catalogue)),
        WebSocketRoute("/ws", play),
    ]


class _Connection:
    """Serves one WebSocket, which is one session."""

    def __init__(self, websocket: WebSocket, sessions: Sessions, catalogue: TaskCatalogue):
        self._websocket, self._sessions, self._catalogue = websocket, sessions, catalogue
        self._episode: str | None = None
        self._resets = 0

    async def serve(self) -> None:
        """Opens the session, answers messages, closes the session."""
        try:
            await self._websocket.accept()
            session = await self._open()
            if session is not None:
                try:
                    await self._converse(session)
                finally:
                    await self._sessions.close(session.key)
            await self._websocket.close()
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client has left; RuntimeError: while it was being answered

    async def _open(self) -> ClientSession | None:
        """Returns the session of this connection; None, once the client was told, without one."""
        try:
            return await self._sessions.open(pinned=True)
        except SessionsFull as error:
            limit = self._sessions.limit
            counts = {"active_sessions": len(self._sessions), "max_sessions": limit}
            await self._fail("CAPACITY_REACHED", str(error), **counts)
        except Exception as error:
            _LOG.exception("no environment for a new session")
            name = self._catalogue.suite.name
            await self._fail("FACTORY_ERROR", _words(error), factory_name=name)
        return None

    async def _converse(self, session: ClientSession) -> None:
        """Answers messages until the client closes or stays idle for too long."""
        while True:
            try:
                text = await asyncio.wait_for(self._websocket.receive_text(), self._sessions.ttl)
            except TimeoutError:
                self._sessions.expired += 1
                await self._fail("SESSION_ERROR", f"idle for {self._sessions.ttl:g} s; closed")
                return
            except KeyError:
                await self._fail("SESSION_ERROR", "messages are text, not binary")
                return
            try:
                message = json.loads(text)
            except (ValueError, RecursionError) as error:
                await self._fail("INVALID_JSON", f"Invalid JSON: {error}")
                continue
            if not isinstance(message, dict):
                await self._fail("SESSION_ERROR", "a message is a JSON object")
                return
            kind = message.get("type", "")
            if not isinstance(kind, str) or kind not in _MESSAGES:
                await self._fail("UNKNOWN_TYPE", f"Unknown message type: {kind}")
                continue
            try:
                answer = await self._answer(session, kind, message)
            except BadRequest as error:
                await self._fail("VALIDATION_ERROR", "Invalid message", errors=error.errors)
                continue
            except Exception as error:
                await self._fail("EXECUTION_ERROR", _words(error))
                continue
            if answer is None:
                return
            await self._websocket.send_text(json.dumps(answer))

    async def _answer(
        self, session: ClientSession, kind: str, message: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Returns the answer to a message of a known type; None to close."""
        _refuse_extra(message, _MESSAGES[kind])
        if kind == "close":
            return None
        if kind == "state":
            playing = session.task.id if session.task else None
            data = {
                "episode_id": self._episode,
                "step_count": session.steps,
                "task_id": playing,
            }
            return {"type": "state", "data": data}
        if kind == "step":
            (data,) = check(message, data=dict)
            await self._sessions.step(session, _action(data))
        else:
            data = message.get("data", {})
            if not isinstance(data, dict):
                check(message, data=dict)
            seed = _seed(data)
            task = _task(self._catalogue, self._resets if seed is None else seed)
            (name,) = check(data, episode_id=(str, type(None)))
            await self._sessions.reset(session, task)
            self._resets += 1
            self._episode = name or str(uuid.uuid4())
        return {"type": "observation", "data": _observation(session)}

    async def _fail(self, code: str, message: str, **more: Any) -> None:
        data = {"message": message, "code": code, **more}
        await self._websocket.send_text(json.dumps({"type": "error", "data": data}))


async def _alone(sessions: Sessions, task: Task, action: str | None) -> dict[str, Any]:
    """Resets, and perhaps steps, an environment that lives for this call alone."""
    session = await sessions.open(pinned=True)
    try:
        await sessions.reset(session, task)
        if action is not None:
            await sessions.step(session, action)
        return _observation(session)
    finally:
        await sessions.close(session.key)


def _observation(session: ClientSession) -> dict[str, Any]:
    """Returns where the session stands, as reset and step answer it."""
    result, task = session.result, session.task
    return {
        "observation": {
            "text": session.observation.text,
            "admissible_commands": list(session.observation.admissible),
            "won": bool(result and result.won),
            "score": result.score if result else 0.0,
            "goal": task.goal if task else "",
            "category": task.category if task else "",
            "task_id": task.id if task else "",
        },
        "reward": result.reward if result else None,
        "done": bool(result and result.done),
    }


def _seed(data: Mapping[str, Any]) -> int | None:
    (seed,) = check(data, seed=(int, type(None)))
    if seed is not None and seed < 0:
        error = {"loc": ["seed"], "msg": "must be at least 0", "type": "greater_than_equal"}
        raise BadRequest([error])
    return seed


def _task(catalogue: TaskCatalogue, seed: int | None) -> Task:
    """Picks task number `seed`; larger seeds go round, since trainers draw them at random."""
    return catalogue.task((seed or 0) % len(catalogue))


def _action(data: Mapping[str, Any]) -> str:
    action, _ = check(data, **_ACTION)  # type: ignore[arg-type]
    _refuse_extra(data, tuple(_ACTION))
    return action


def _refuse_extra(data: Mapping[str, Any], known: tuple[str, ...]) -> None:
    extra = [name for name in data if name not in known]
    if extra:
        kind, words = "extra_forbidden", "Extra inputs are not permitted"
        raise BadRequest([{"loc": [name], "msg": words, "type": kind} for name in extra])


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _object(properties: Mapping[str, Any], required: list[str], *, extra: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": extra,
    }


_TEXT = {"type": "string"}
_SCHEMAS = {
    "action": _object({"action": _TEXT, "metadata": {"type": "object"}}, ["action"], extra=False),
    "observation": _object(
        {
            "text": _TEXT,
            "admissible_commands": {"type": "array", "items": _TEXT},
            "won": {"type": "boolean"},
            "score": {"type": "number"},
            "goal": _TEXT,
            "category": _TEXT,
            "task_id": _TEXT,
            "reward": {"type": ["number", "null"]},
            "done": {"type": "boolean"},
        },
        ["text"],
        extra=False,
    ),
    "state": _object(
        {"episode_id": {"type": ["string", "null"]}, "step_count": {"type": "integer"}},
        [],
        extra=True,
    ),
}
