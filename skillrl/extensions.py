"""Loads parts of one's own: files named by the setting ``modules``, and installed packages.

Whatever can be registered (environments, advantage and KL estimators, policy losses, importance
rules, teachers, embedders, retrieval rules) may lie in one file outside the package:

    skillrl train --mock --set modules=[mine.py] --set rl.advantage=mine

An installed package adds its parts through an entry point of the group ``skillrl.modules``, whose
value is the module to import; that is imported at every start.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Any

from skillrl.errors import SkillRLError
from skillrl.io.python_files import file_of, import_named

ENTRY_POINTS = "skillrl.modules"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """Records a registration: what, under which name, where, who registers it, and its names."""

    kind: str
    name: str
    registry: MutableMapping[str, Any]
    home: str
    identity: tuple[str, str]

    @property
    def ships(self) -> bool:
        """Whether it is of this package: such a module is imported when it is first needed."""
        return self.home.startswith("skillrl.")


_notes: list[_Note] = []
_loaded: dict[str, tuple[str, ...]] = {}


def register(
    kind: str,
    name: str,
    function: Any,
    *,
    registry: MutableMapping[str, Any],
    entry: Any = None,
    depth: int = 1,
) -> None:
    """Puts a part into its registry; every function that registers something calls this.

    A cell of a notebook may be run again: what its module, ``__main__``, defines anew under the
    same qualified name takes the place of the former.

    Args:
      kind: what is registered, in words: ``advantage estimator``.
      name: the name it will be known by.
      function: the function or class.
      registry: receives it under that name.
      entry: what the registry holds in its place; None for the function itself.
      depth: how many callers lie between this call and the module that registers.

    Raises:
      SkillRLError: the name is taken.
    """
    home = sys._getframe(depth + 1).f_globals.get("__name__", "")
    identity = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if name in registry:
        again = any(
            n.registry is registry and n.name == name and n.identity == identity for n in _notes
        )
        if identity[0] != "__main__" or not again:
            raise SkillRLError(f"{kind} {name!r} is registered twice; choose another name")
    registry[name] = function if entry is None else entry
    _notes.append(_Note(kind=kind, name=name, registry=registry, home=home, identity=identity))


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
    path = file_of(module)
    key = str(path or module)
    if key in _loaded:
        return _loaded[key]
    known = [note for note in _notes if path is not None and _is_of(note.home, "", path)]
    if known:  # the file was imported under another name: again would be twice
        _loaded[key] = tuple(f"{note.kind} {note.name!r}" for note in known)
        return _loaded[key]
    start = len(_notes)
    try:
        imported = import_named(module, setting=setting)
        # A module that somebody has imported before registered its parts then.
        mine = [note for note in _notes[:start] if _is_of(note.home, imported.__name__, None)]
        mine += [note for note in _notes[start:] if not note.ships]
        if not mine:
            raise SkillRLError(
                f"{setting}={module}: was imported and registers nothing. Decorate what it "
                "defines, for example with @skillrl.training.advantages.register_advantage(NAME); "
                "CONTRIBUTING.md lists what there is."
            )
    except BaseException:
        for note in _notes[start:]:
            if not note.ships:
                note.registry.pop(note.name, None)
        _notes[start:] = [note for note in _notes[start:] if note.ships]
        raise
    _loaded[key] = tuple(f"{note.kind} {note.name!r}" for note in mine)
    return _loaded[key]


def _is_of(home: str, module: str, path: Path | None) -> bool:
    """Tells whether a module named `home` is `module`, lies below it, or is the file `path`."""
    if path is None:
        return f"{home}.".startswith(f"{module}.")
    file = getattr(sys.modules.get(home), "__file__", None)
    return file is not None and Path(file).absolute() == path
