"""Holds what all dialects share: JSON bodies in and out, their limits, and their refusals."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skillrl.envs.serve.catalogue import TaskCatalogue

_JSON = "application/json"

MAX_REQUEST = 256 * 1024
"""Bytes of a request body or of one WebSocket message."""

Handler = Callable[[Request], Awaitable[Response]]


class BadRequest(Exception):
    """Says that a body or query does not have the promised shape.

    Attributes:
      errors: one {loc, msg, type} per field, as FastAPI's servers answer them.
    """

    def __init__(self, errors: list[dict[str, Any]]):
        super().__init__("; ".join(f"{'.'.join(e['loc'])}: {e['msg']}" for e in errors))
        self.errors = errors


class TooLarge(Exception):
    """The request body is longer than allowed."""


async def bad_request(_: Any, error: Exception) -> Response:
    """Answers a `BadRequest` as FastAPI's servers do."""
    return reply({"detail": getattr(error, "errors", str(error))}, 422)


class WrongType(Exception):
    """The request body is said to be something else than JSON."""


async def wrong_type(_: Any, error: Exception) -> Response:
    """Answers a body that is not JSON."""
    return reply({"error": str(error)}, 415)


async def gone(_: Any, __: Any) -> Response:
    """Stands for the answer to a client that has left while it was asking; nobody gets it."""
    return Response(status_code=400)


async def full(_: Any, error: Exception) -> Response:
    """Answers where no session is free."""
    return reply({"error": str(error)}, 503)


async def too_large(_: Any, __: Any) -> Response:
    """Answers a body that is too long; the connection ends, since its rest is unread."""
    answer = reply({"error": f"the request is longer than {MAX_REQUEST} bytes"}, 413)
    answer.headers["Connection"] = "close"
    return answer


def reply(value: Any, status: int = 200) -> JSONResponse:
    """Answers with `value` as JSON."""
    return JSONResponse(value, status_code=status)


async def read_object(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """Returns the JSON object in the body; with `optional` an empty body is an empty object.

    Raises:
      BadRequest: something else.
      WrongType: its header says that it is something else.
    """
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind != _JSON and not kind.endswith("+json"):
        raise WrongType(f"send JSON with 'Content-Type: {_JSON}', not {kind[:80]!r}")
    raw = await request.body()
    if optional and not raw.strip():
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest([_error(("body",), f"is not JSON: {error}", "json_invalid")]) from None
    if not isinstance(value, dict):
        raise BadRequest([_error(("body",), "must be a JSON object", "dict_type")])
    return value


def check(values: Any, /, where: str = "body", **kinds: type | tuple[type, ...]) -> list[Any]:
    """Returns the named fields of a mapping, each of its kind; a tuple with NoneType may be absent.

    Raises:
      BadRequest: names every field that is missing or of another kind.
    """
    errors, found = [], []
    for name, kind in kinds.items():
        allowed = kind if isinstance(kind, tuple) else (kind,)
        if name not in values and type(None) not in allowed:
            errors.append(_error((where, name), "Field required", "missing"))
            continue
        value = values.get(name)
        good = isinstance(value, allowed) and not (
            isinstance(value, bool) and bool not in allowed  # JSON's true is no number
        )
        if not good:
            wanted = " or ".join(_WORDS.get(k, k.__name__) for k in allowed)
            errors.append(_error((where, name), f"must be {wanted}", "type_error"))
        found.append(value)
    if errors:
        raise BadRequest(errors)
    return found


def query_int(request: Request, name: str) -> int:
    """Returns an integer of the query string; raises BadRequest."""
    text = request.query_params.get(name)
    if text is None:
        raise BadRequest([_error(("query", name), "Field required", "missing")])
    try:
        return int(text)
    except ValueError:
        raise BadRequest([_error(("query", name), "must be an integer", "int_parsing")]) from None


def manifest_handler(catalogue: TaskCatalogue) -> Handler:
    """Answers GET /manifest: what is served, and with ?split=NAME the tasks of a split."""
    one_at_a_time = asyncio.Lock()  # a world may be made for it

    async def manifest(request: Request) -> Response:
        split = request.query_params.get("split")
        if split is None:
            return reply(catalogue.header())
        try:
            async with one_at_a_time:
                return reply(await asyncio.to_thread(catalogue.entries, split))
        except LookupError as error:
            return reply({"error": str(error)}, 404)

    return manifest


class LimitRequests:
    """Refuses bodies over `MAX_REQUEST`, announced or not, before they fill the memory."""

    def __init__(self, app: ASGIApp, limit: int = MAX_REQUEST):
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, with its bytes counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limit:
            await (await too_large(None, None))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise TooLarge
            return message

        await self._app(scope, counted, send)


class RefuseForeignOrigins:
    """Refuses what a page of another host makes a person's browser ask of this machine.

    Such a page says so in ``Origin``; or it has a name that leads to this machine (DNS
    rebinding), and then this name stands in ``Host``.
    """

    def __init__(self, app: ASGIApp, host: str = ""):
        """Wraps `app`; `host` is a name that this server was told to listen on."""
        self._app, self._host = app, host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, unless ``Origin`` or ``Host`` is not of this machine."""
        headers = dict(scope.get("headers", ()))
        origin, host = headers.get(b"origin"), headers.get(b"host")
        if (origin is None or self._is_local(origin.decode("latin-1"))) and (
            host is None or self._is_local("//" + host.decode("latin-1"))
        ):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP 403
        else:
            answer = reply({"error": "this server answers programs and pages of its machine"}, 403)
            await answer(scope, receive, send)

    def _is_local(self, address: str) -> bool:
        try:
            name = urlsplit(address).hostname or ""
            known = name in ("localhost", self._host) and bool(name)
            return known or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


_WORDS = {int: "an integer", str: "a string", dict: "an object", type(None): "null"}


def _error(loc: tuple[str, ...], message: str, kind: str) -> dict[str, Any]:
    return {"loc": list(loc), "msg": message, "type": kind}
