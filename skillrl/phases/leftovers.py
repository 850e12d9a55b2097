"""Removes what killed sessions left in a run directory, when the next session opens it.

Only what is certainly a copy that was being written, or that was being removed, goes; what
looks like a checkpoint, a policy or somebody's file stays.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from skillrl.io.atomic import is_running, remove_temporaries

_COPY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.(?P<kind>tmp|old)")
_CHECKPOINT = re.compile(r"\d+\.(deleted|orbax-checkpoint-tmp.*)")


def remove_leftovers(path: Path) -> None:
    """Cleans the run directory `path`, whose lock the caller holds.

    What another living process is writing (the number of the process is in the name) stays.
    A policy that was set aside while its successor took its place, which never came, is put
    back.
    """
    remove_temporaries(path)
    for copy in list(path.rglob(".*")):
        found = _COPY.fullmatch(copy.name)
        if not found or not copy.is_dir() or is_running(int(found["process"])):
            continue
        place = copy.with_name(found["name"])
        if found["kind"] == "old" and not place.exists():
            copy.rename(place)
        else:
            shutil.rmtree(copy)
    for part in path.glob("checkpoints/*/*"):
        if _CHECKPOINT.fullmatch(part.name) and part.is_dir():
            shutil.rmtree(part)
