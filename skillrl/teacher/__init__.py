"""Holds teachers, which write skills, and embedders, which compare them.

`make_teacher` and `make_embedder` build what a config names; a new one is a factory
decorated with `register_teacher` or `register_embedder`.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Embedder": "base",
    "HashingEmbedder": "hashing_embedder",
    "OpenAIEmbedder": "openai",
    "OpenAITeacher": "openai",
    "SimulatedTeacher": "simulated",
    "Teacher": "base",
    "TeacherError": "base",
    "ask_json": "ask",
    "make_embedder": "registry",
    "make_teacher": "registry",
    "register_embedder": "registry",
    "register_teacher": "registry",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
