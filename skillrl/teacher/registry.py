"""Registers teachers and embedders by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from skillrl import extensions
from skillrl.errors import SkillRLError
from skillrl.teacher.base import Embedder, Teacher
from skillrl.teacher.hashing_embedder import HashingEmbedder
from skillrl.teacher.openai import OpenAIEmbedder, OpenAITeacher
from skillrl.teacher.simulated import SimulatedTeacher

Folder = str | os.PathLike[str] | None

_TEACHERS: dict[str, Callable[[Any, Folder], Teacher]] = {}
_EMBEDDERS: dict[str, Callable[[Any, Folder], Embedder]] = {}


def register_teacher(name: str) -> Callable[[Callable[[Any, Folder], Teacher]], Any]:
    """Registers a factory ``(config, cache_dir) -> Teacher`` under `name`."""
    return _adder(_TEACHERS, "teacher", name)


def register_embedder(name: str) -> Callable[[Callable[[Any, Folder], Embedder]], Any]:
    """Registers a factory ``(config, cache_dir) -> Embedder`` under `name`."""
    return _adder(_EMBEDDERS, "embedder", name)


def make_teacher(config: Any, cache_dir: Folder = None) -> Teacher:
    """Returns the teacher that ``config.teacher`` names; answers are kept in `cache_dir`.

    Raises:
      SkillRLError: no such teacher; the message lists those there are.
    """
    return _find(_TEACHERS, "teacher", config.teacher)(config, cache_dir)


def make_embedder(config: Any, cache_dir: Folder = None) -> Embedder:
    """Returns the embedder that ``config.embedder`` names; vectors are kept in `cache_dir`.

    Raises:
      SkillRLError: no such embedder; the message lists those there are.
    """
    return _find(_EMBEDDERS, "embedder", config.embedder)(config, cache_dir)


def _adder(table: dict[str, Any], what: str, name: str) -> Callable[[Any], Any]:
    def add(factory: Any) -> Any:
        extensions.register(what, name, factory, registry=table)
        return factory

    return add


def _find(table: dict[str, Any], what: str, name: str) -> Any:
    if name not in table:
        raise SkillRLError(
            f"{what}={name!r}: no such {what}. Use one of: {', '.join(sorted(table))}."
        )
    return table[name]


@register_teacher("simulated")
def _simulated(config: Any, cache_dir: Folder) -> Teacher:
    return SimulatedTeacher()


@register_teacher("openai")
def _openai(config: Any, cache_dir: Folder) -> Teacher:
    return OpenAITeacher(
        config.teacher_api_base,
        config.teacher_model_id,
        config.teacher_api_key,
        options={"max_tokens": config.teacher_max_tokens} if config.teacher_max_tokens else None,
        cache_dir=cache_dir,
        timeout=config.teacher_timeout,
        retries=config.teacher_retries,
    )


@register_embedder("hashing")
def _hashing(config: Any, cache_dir: Folder) -> Embedder:
    return HashingEmbedder()


@register_embedder("openai")
def _openai_embedder(config: Any, cache_dir: Folder) -> Embedder:
    return OpenAIEmbedder(
        config.embedding_api_base,
        config.embedding_model_id,
        config.embedding_api_key,
        batch=config.embedding_batch_size,
        cache_dir=cache_dir,
        timeout=config.embedding_timeout,
        retries=config.embedding_retries,
    )
