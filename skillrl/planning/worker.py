"""The process that compiles for a plan: a request on its input, progress and the plan as output.

    python -m skillrl.planning.worker < request.json

Lines of its output that begin with ``#`` are progress; the last one is the plan or what is wrong,
as JSON. `run.plan` starts it with as many virtual devices as the plan has devices.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from skillrl import extensions
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError


def main() -> None:
    """Answers one request."""
    request: dict[str, Any] = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"plan": _answer(request)}
    except SkillRLError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from skillrl.planning.kinds import find_kind
    from skillrl.planning.plan import make_plan

    config = Config.from_dict(request["config"])
    extensions.load(config.modules)
    plan = make_plan(
        config,
        kind=find_kind(request["kind"]),
        devices=request["devices"],
        tried=request["tried"],
        until=time.monotonic() + request["seconds"],
        say=lambda text: print(f"# {text}", flush=True),
    )
    return plan.to_json()


if __name__ == "__main__":
    main()
