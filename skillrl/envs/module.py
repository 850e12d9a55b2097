"""Importing the file in which a person has written an environment (``env.module``)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io import paths

_REGISTERED: dict[str, dict[str, Callable[..., Any]]] = {}


def load_module(
    module: str, registry: MutableMapping[str, Callable[..., Any]]
) -> dict[str, Callable[..., Any]]:
    """Imports `module` once per process and returns what it put into `registry`.

    Args:
      module: a file that ends in ``.py`` (``~`` is expanded), else a dotted name that
        ``import`` finds.
      registry: what `skillrl.envs.register` fills; if the import fails, nothing of it stays there.

    Raises:
      SkillRLError: there is no such file or module, it raises, or it registers nothing.
    """
    path = Path(paths.expand(module)).absolute() if module.endswith(".py") else None
    key = str(path or module)
    if key in _REGISTERED:
        return _REGISTERED[key]
    before = dict(registry)
    try:
        imported = importlib.import_module(module) if path is None else _import_file(path, module)
    except Exception as error:
        for name in set(registry) - set(before):  # a module that failed is not in sys.modules
            if _home(registry[name]) not in sys.modules:
                del registry[name]
        if isinstance(error, SkillRLError):
            raise
        raise SkillRLError(_reason(module, error, dotted=path is None)) from error
    home = imported.__name__
    added = {  # a dotted module may have been imported by somebody else before
        name: made
        for name, made in registry.items()
        if before.get(name) is not made or f"{_home(made)}.".startswith(f"{home}.")
    }
    if not added:
        raise SkillRLError(
            f"env.module={module}: was imported and registers no environment. Decorate its class "
            'with @skillrl.register("name").'
        )
    _REGISTERED[key] = added
    return added


def _import_file(path: Path, shown: str) -> ModuleType:
    if not path.is_file():
        raise SkillRLError(
            f"env.module={shown}: there is no file {path}. Give the path of a Python file, or a "
            "dotted module name without .py."
        )
    # The name differs from file to file and never hides an installed module.
    name = f"skillrl_env_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the suffix .py has a loader
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


def _reason(module: str, error: Exception, *, dotted: bool) -> str:
    """Says what went wrong, and in which line of the person's own file."""
    said = f"{type(error).__name__}: {error}"
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if dotted and absent and f"{module}.".startswith(f"{absent}."):
        return (
            f"env.module={module}: there is no such module on Python's path. Give a file "
            "(ending in .py), or install the package into this environment."
        )
    if isinstance(error, SyntaxError):
        return f"env.module={module}: line {error.lineno} is not Python ({error.msg}). Repair it."
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return (
        f"env.module={module}: cannot be imported, {Path(last.filename).name} line {last.lineno}: "
        f"{said}. Repair it, or install what it needs."
    )


def _home(made: Any) -> str:
    return getattr(made, "__module__", "")
