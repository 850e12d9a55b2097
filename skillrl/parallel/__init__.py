"""Where arrays live: the device mesh, sharding rules and addressed randomness."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "AXES": "mesh",
    "make_mesh": "mesh",
    "start": "mesh",
    "RULES": "rules",
    "replicated": "rules",
    "sharding": "rules",
    "spec": "rules",
    "tree_shardings": "rules",
    "COLLECT": "addresses",
    "EVAL": "addresses",
    "RL": "addresses",
    "SFT": "addresses",
    "fold": "addresses",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
