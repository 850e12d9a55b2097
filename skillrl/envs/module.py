"""Imports the file in which a person has written an environment (``env.module``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io.python_files import file_of, import_named

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
    key = str(file_of(module) or module)
    if key in _REGISTERED:
        return _REGISTERED[key]
    before = dict(registry)
    try:
        imported = import_named(module, setting="env.module")
    except SkillRLError:
        for name in set(registry) - set(before):  # a module that failed is not in sys.modules
            if _home(registry[name]) not in sys.modules:
                del registry[name]
        raise
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


def _home(made: Any) -> str:
    return getattr(made, "__module__", "")
