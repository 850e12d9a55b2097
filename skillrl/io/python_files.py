"""Imports Python files that a person named in a setting, with errors that say what to do."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from skillrl.errors import SkillRLError
from skillrl.io import paths


def import_named(module: str, *, setting: str) -> ModuleType:
    """Imports a file or a module.

    Args:
      module: a file that ends in ``.py`` (``~`` is expanded), else a dotted name that
        ``import`` finds.
      setting: the setting that names it, for messages.

    Raises:
      SkillRLError: there is no such file or module, or it raises; one that it raises itself comes
        through as it is.
    """
    path = file_of(module)
    try:
        return (
            importlib.import_module(module) if path is None else _import_file(path, module, setting)
        )
    except SkillRLError:
        raise
    except Exception as error:
        said = _explain(f"{setting}={module}", module, error, dotted=path is None)
        raise SkillRLError(said) from error


def file_of(module: str) -> Path | None:
    """Finds the file that `module` names; None where it is a dotted name."""
    return Path(paths.expand(module)).absolute() if module.endswith(".py") else None


def _import_file(path: Path, shown: str, setting: str) -> ModuleType:
    if not path.is_file():
        raise SkillRLError(
            f"{setting}={shown}: there is no file {path}. Give the path of a Python file, or a "
            "dotted module name without .py."
        )
    # The name differs from file to file and never hides an installed module.
    name = f"skillrl_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
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


def _explain(start: str, module: str, error: Exception, *, dotted: bool) -> str:
    """Says what went wrong, and in which line of the person's own file."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if dotted and absent and f"{module}.".startswith(f"{absent}."):
        return (
            f"{start}: there is no such module on Python's path. Give a file "
            "(ending in .py), or install the package into this environment."
        )
    if isinstance(error, SyntaxError):
        return f"{start}: line {error.lineno} is not Python ({error.msg}). Repair it."
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{start}: cannot be imported, {Path(last.filename).name} line {last.lineno}: "
        f"{type(error).__name__}: {error}. Repair it, or install what it needs."
    )
