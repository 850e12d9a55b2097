"""Holds the skill bank: what is in it, how it is searched, and how it grows.

`distill.distill` and `evolve.evolve` carry the name of their module; import them from there.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Addition": "proposals",
    "BankEvent": "history",
    "DistillReport": "distill",
    "Estimate": "utility",
    "EvolutionEvent": "evolve",
    "Merge": "proposals",
    "Refinement": "proposals",
    "Retirement": "proposals",
    "Retrieved": "retrieval",
    "SkillBank": "bank",
    "describe_bank": "describe",
    "estimates": "utility",
    "export_bank": "store",
    "get_retrieval": "retrieval",
    "load_bank": "store",
    "register_retrieval": "retrieval",
    "render_trajectory": "render",
    "retrieve": "retrieval",
    "rewrite_thoughts": "demonstrations",
    "save_bank": "store",
    "save_released": "released",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
