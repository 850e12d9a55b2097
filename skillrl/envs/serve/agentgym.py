"""Serves any environment in AgentGym's two wire shapes.

The shapes are those of WooooDyy/AgentGym: agentenv-alfworld (server.py, env_wrapper.py)
and agentenv-webshop (server.py, model.py, environment.py). What differs: sessions are
bounded and expire, keys are random in both and told to whoever opened the session alone
(GET /list_envs is empty), and POST /close exists in both.
"""

from __future__ import annotations

import itertools
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from skillrl.envs.serve.catalogue import MANIFEST, TaskCatalogue
from skillrl.envs.serve.http import (
    BadRequest,
    Handler,
    TooLarge,
    WrongType,
    check,
    manifest_handler,
    query_int,
    read_object,
    reply,
)
from skillrl.envs.serve.sessions import ClientSession, EpisodeOver, Sessions, UnknownSession

WORLDS = ("Text", "Embody", "Hybrid")
TASK_LINE = "Your task is to: "
SEPARATOR = " [SEP] "


def alfworld_routes(sessions: Sessions, catalogue: TaskCatalogue) -> list[Route]:
    """Returns the routes of agentenv-alfworld: every failure is an HTTP 200 with {"error": ...}."""

    def guarded(handler: Handler) -> Handler:
        async def call(request: Request) -> Response:
            try:
                return await handler(request)
            except (BadRequest, TooLarge, WrongType, ClientDisconnect):
                raise  # refused before the environment's own code, there as well
            except Exception as error:
                return reply({"error": str(error) or type(error).__name__})

        return call

    async def hello(_: Request) -> Response:
        name = "AlfWorld" if catalogue.suite.name == "alfworld" else catalogue.suite.name
        return reply(f"This is environment {name}.")

    async def create(_: Request) -> Response:
        return reply({"id": (await sessions.open()).key})

    async def reset(request: Request) -> Response:
        body = await read_object(request)
        key, game, world = check(body, id=int, game=int, world_type=str)
        if world not in WORLDS:
            return reply({"error": 'world_type must be one of "Text", "Embody" and "Hybrid"'})
        session, task = sessions.get(key), catalogue.task(game)
        seen = await sessions.reset(session, task)
        return reply(
            {
                "id": key,
                "observation": f"{seen.text}\n{TASK_LINE}{task.goal}",
                "available_actions": list(seen.admissible),
                "task_type": f"{task.category}/{task.id}",
            }
        )

    async def step(request: Request) -> Response:
        key, action = check(await read_object(request), id=int, action=str)
        result = await sessions.step(sessions.get(key), action)
        return reply(
            {
                "observation": result.observation.text,
                "reward": float(result.won),
                "available_actions": list(result.observation.admissible),
                "done": result.done,
            }
        )

    async def observation(request: Request) -> Response:
        return reply(_text(sessions.get(query_int(request, "id"))))

    async def actions(request: Request) -> Response:
        session = sessions.get(query_int(request, "id"))
        return reply(list(session.observation.admissible))

    async def detail(request: Request) -> Response:
        session = sessions.get(query_int(request, "id"))
        won = session.result is not None and session.result.won
        return reply(
            {
                "world_type": "Text",
                "game": session.task.id if session.task else None,
                "observation": _text(session),
                "available_actions": list(session.observation.admissible),
                "done": session.done,
                "reward": float(won),
                "deleted": False,
            }
        )

    async def close(request: Request) -> Response:
        (key,) = check(await read_object(request), id=int)
        return reply({"closed": await sessions.close(key)})

    return [
        Route("/", guarded(hello)),
        Route(MANIFEST, manifest_handler(catalogue)),
        Route("/create", guarded(create), methods=["POST"]),
        Route("/reset", guarded(reset), methods=["POST"]),
        Route("/step", guarded(step), methods=["POST"]),
        Route("/observation", guarded(observation)),
        Route("/available_actions", guarded(actions)),
        Route("/detail", guarded(detail)),
        Route("/close", guarded(close), methods=["POST"]),
    ]


def webshop_routes(sessions: Sessions, catalogue: TaskCatalogue) -> list[Route]:
    """Returns the routes of agentenv-webshop: failures are HTTP errors, full is 503.

    A step without a running episode is a 200 with {"error": ...}; resets without a task number
    go through the tasks.
    """
    following = itertools.cycle(range(len(catalogue)))

    def guarded(handler: Handler) -> Handler:
        async def call(request: Request) -> Response:
            try:
                return await handler(request)
            except (UnknownSession, LookupError) as error:
                return reply({"error": str(error)}, 404)
            except EpisodeOver as error:
                return reply({"error": str(error)})

        return call

    async def hello(_: Request) -> Response:
        return reply("ok")

    async def list_envs(_: Request) -> Response:
        return reply([])  # a list, as the protocol has it; whoever knew a key could play with it

    async def create(_: Request) -> Response:
        return reply((await sessions.open()).key)

    async def reset(request: Request) -> Response:
        body = await read_object(request)
        key, number = check(body, env_idx=int, session_id=(int, type(None)))
        session = sessions.get(key)
        task = catalogue.task(next(following) if number is None else number)
        await sessions.reset(session, task)
        return reply([_page(session), None])

    async def step(request: Request) -> Response:
        key, action = check(await read_object(request), env_idx=int, action=str)
        session = sessions.get(key)
        result = await sessions.step(session, _wanted(action, session.observation.admissible))
        state = _page(session)
        reward = result.score if result.done else 0.0
        return reply({"state": state, "reward": reward, "done": result.done, "info": None})

    async def actions(request: Request) -> Response:
        return reply(_clickables(sessions.get(query_int(request, "env_idx"))))

    async def instruction(request: Request) -> Response:
        session = sessions.get(query_int(request, "env_idx"))
        return reply(f"Instruction: {session.task.goal if session.task else ''}")

    async def observation(request: Request) -> Response:
        return reply(_page(sessions.get(query_int(request, "env_idx"))))

    async def state(request: Request) -> Response:
        session = sessions.get(query_int(request, "env_idx"))
        goal = session.task.goal if session.task else ""
        return reply({"url": "", "html": _page(session), "instruction_text": goal})

    async def close(request: Request) -> Response:
        (key,) = check(await read_object(request), env_idx=int)
        return reply({"closed": await sessions.close(key)})

    return [
        Route("/", guarded(hello)),
        Route(MANIFEST, manifest_handler(catalogue)),
        Route("/list_envs", guarded(list_envs)),
        Route("/create", guarded(create), methods=["POST"]),
        Route("/reset", guarded(reset), methods=["POST"]),
        Route("/step", guarded(step), methods=["POST"]),
        Route("/available_actions", guarded(actions)),
        Route("/instruction_text", guarded(instruction)),
        Route("/observation", guarded(observation)),
        Route("/state", guarded(state)),
        Route("/close", guarded(close), methods=["POST"]),
    ]


def _text(session: ClientSession) -> str:
    """Returns the newest observation; right after a reset the task stands below it."""
    if session.task is not None and session.result is None:
        return f"{session.observation.text}\n{TASK_LINE}{session.task.goal}"
    return session.observation.text


def _page(session: ClientSession) -> str:
    """Returns the page with its instruction, which every page of WebShop but the last one shows."""
    text = session.observation.text
    if session.task is None or session.done or f"Instruction:{SEPARATOR}" in text:
        return text
    head = ["WebShop"] if session.result is None else []
    return SEPARATOR.join([*head, "Instruction:", session.task.goal, text])


def _clickables(session: ClientSession) -> dict[str, Any]:
    """Tells admissible actions as a search bar and clickables."""
    offers = session.observation.admissible
    searches = [offer for offer in offers if offer.startswith("search[")]
    rest = [offer for offer in offers if not offer.startswith("search[")]
    clickables = [o[6:-1] if o.startswith("click[") and o.endswith("]") else o for o in rest]
    return {"has_search_bar": bool(searches), "clickables": clickables}


def _wanted(action: str, offers: tuple[str, ...]) -> str:
    """Returns x for ``click[x]`` where x itself is on offer, as it is outside of WebShop."""
    inner = action[6:-1] if action.startswith("click[") and action.endswith("]") else action
    return inner if action not in offers and inner in offers else action
