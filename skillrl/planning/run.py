"""Plans a run from any process: the compiling is done by another, which has the devices it needs.

Neither needs weights, network, keys or a card.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

from skillrl.config.settings import Config, public_dict
from skillrl.errors import SkillRLError
from skillrl.planning.kinds import find_kind
from skillrl.planning.records import Plan
from skillrl.planning.targets import environment

TRIED = 3
"""Candidates that are compiled by default, the one that is asked for included."""

SECONDS = 480.0
"""Further candidates are begun only if they would end by then."""

MOST = 4096
"""Devices of a plan at most: as many virtual ones must exist at once."""


def plan(
    config: Config,
    *,
    devices: int,
    device_kind: str,
    tried: int = TRIED,
    seconds: float = SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Plans a run on devices that need not be here.

    Args:
      config: its settings.
      devices: how many.
      device_kind: a name of `kinds.KINDS`.
      tried: candidates of mesh, micro-batch and remat that are compiled at most.
      seconds: time for it; the first candidate is compiled in any case.
      say: told what is being done.

    Raises:
      SkillRLError: an unknown kind, sizes of a policy that are not known without the hub, a mesh
        that does not fit, or the compiling process died.
    """
    find_kind(device_kind)
    if not 1 <= devices <= MOST:
        raise SkillRLError(f"--devices={devices}: plan for 1 to {MOST}.")
    request = {
        "config": public_dict(config),
        "devices": devices,
        "kind": device_kind,
        "tried": tried,
        "seconds": seconds,
    }
    last = ""
    with subprocess.Popen(
        [sys.executable, "-m", "skillrl.planning.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(devices, dict(os.environ)),
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            for line in process.stdout:
                if line.startswith("# "):
                    say(line[2:].rstrip())
                else:
                    last = line
        except BrokenPipeError:
            pass  # it died while it read; its status says so
        except BaseException:
            process.kill()
            raise
    if process.returncode or not last:
        raise SkillRLError(
            f"plan: the process that compiles ended with status {process.returncode}; what it "
            "said stands above. It needs a few GB of memory: close other programs, or plan for "
            "fewer devices."
        )
    answer = json.loads(last)
    if "error" in answer:
        raise SkillRLError(answer["error"])
    return Plan.from_json(answer["plan"])
