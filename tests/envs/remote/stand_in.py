"""Stand-in servers of AgentGym, which is not on any package registry.

They follow the documented wire behaviour of its agentenv-alfworld and agentenv-webshop,
over our generated games: no /manifest, no /close in the ALFWorld one, session keys
counted from 0 there, and after a restart none of the old sessions.
"""

from __future__ import annotations

import itertools

from starlette.applications import Starlette

from skillrl.config.settings import EnvConfig, ServerConfig
from skillrl.envs import make_suite
from skillrl.envs.serve.app import make_app
from tests.envs.serve.running import Thread

LIMITS = {"max_sessions": 400, "session_ttl": 60.0, "workers": 4}
ABSENT = {"agentgym-alfworld": ("/manifest", "/close"), "agentgym-webshop": ("/manifest",)}


def stand_in(dialect: str) -> Starlette:
    """An application without what only our servers have."""
    app = make_app(make_suite("alfworld", EnvConfig()), dialect, **LIMITS)
    app.router.routes[:] = [r for r in app.routes if r.path not in ABSENT.get(dialect, ())]
    count = itertools.count()
    if dialect == "agentgym-alfworld":
        app.state.sessions.new_key = lambda: next(count)
    return app


def ours(dialect: str) -> Starlette:
    """Our own server."""
    return make_app(make_suite("alfworld", EnvConfig()), dialect, **LIMITS)


def client(env: str, server: Thread | str, **settings):
    """A suite that plays there and is quick to give up, but not for want of an answer."""
    url = server if isinstance(server, str) else server.url
    quick = {"timeout": 20.0, "retries": 3, "backoff": 0.01} | settings
    return make_suite(env, EnvConfig(name=env, server=ServerConfig(url=url, **quick)))
