"""The command `skillrl plan`: settings and devices into a plan."""

from __future__ import annotations

import sys
from pathlib import Path

from skillrl.cli.flags import ParsedFlags
from skillrl.config import presets
from skillrl.errors import SkillRLError
from skillrl.io.atomic import atomic_write


def plan(parsed: ParsedFlags) -> str:
    """Returns what `skillrl plan` shows; progress goes to stderr."""
    from skillrl.planning import run
    from skillrl.planning.report import report

    values = parsed.values
    if values["devices"] is None or values["device_kind"] is None:
        raise SkillRLError(
            "plan needs --devices=N and --device_kind=NAME, such as --devices=8 --device_kind=h100."
        )
    config = presets.resolve(
        values["env"], mock=values["mock"], config_path=values["config"], overrides=values["set"]
    ).config
    found = run.plan(
        config,
        devices=values["devices"],
        device_kind=values["device_kind"],
        tried=values["tried"],
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    if values["output"]:
        atomic_write(Path(values["output"]), found.dumps())
    return report(found, config)
