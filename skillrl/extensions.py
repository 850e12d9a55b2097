"""Parts of one's own: files named by the setting ``modules``, and installed packages.

Whatever can be registered (environments, advantage and KL estimators, policy losses, teachers,
embedders, retrieval rules, attention) may lie in one file outside the package:

    skillrl train --mock --set modules=[mine.py] --set rl.advantage=mine

An installed package adds its parts through an entry point of the group ``skillrl.modules``, whose
value is the module to import; that is imported at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from importlib import metadata
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io.python_files import file_of, import_named

ENTRY_POINTS = "skillrl.modules"

_notes: list[tuple[str, str, MutableMapping[str, Any]]] = []
_loaded: dict[str, tuple[str, ...]] = {}


def note(kind: str, name: str, registry: MutableMapping[str, Any], *, made: Any) -> None:
    """Notes a registration; every function that registers calls it.

    Args:
      kind: what is registered, in words: ``advantage estimator``.
      name: the name it is known by.
      registry: where it now is under that name.
      made: the function or class; those of this package are imported when they are needed, and
        not noted.
    """
    if getattr(made, "__module__", "").startswith("skillrl."):
        return
    _notes.append((kind, name, registry))


def load(modules: Iterable[str]) -> list[str]:
    """Imports the files and modules named, and those of installed packages, once per process.

    Args:
      modules: the setting of this name.

    Returns:
      A line per module that says what it registers.

    Raises:
      SkillRLError: one cannot be imported, or registers nothing; then none of its parts stay.
    """
    installed = metadata.entry_points(group=ENTRY_POINTS)
    wanted = [(name, "modules") for name in modules]
    wanted += [
        (point.value, f"the entry point {point.name!r} of {ENTRY_POINTS}") for point in installed
    ]
    return [f"{module} registers {', '.join(_load(module, by))}" for module, by in wanted]


def _load(module: str, setting: str) -> tuple[str, ...]:
    key = str(file_of(module) or module)
    if key in _loaded:
        return _loaded[key]
    start = len(_notes)
    try:
        import_named(module, setting=setting)
        found = tuple(f"{kind} {name!r}" for kind, name, _ in _notes[start:])
        if not found:
            raise SkillRLError(
                f"{setting}={module}: was imported and registers nothing. Decorate what it "
                "defines, for example with @skillrl.training.advantages.register_advantage(NAME) "
                "(CONTRIBUTING.md lists what there is); or it was imported before, by other means."
            )
    except BaseException:
        for _, name, registry in _notes[start:]:
            registry.pop(name, None)
        del _notes[start:]
        raise
    _loaded[key] = found
    return found
