"""Finds flags that resolve to a given config: how somebody else starts the same run."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from typing import Any

from skillrl.config import presets, strict
from skillrl.config.settings import Config
from skillrl.errors import SkillRLError

PLACE = "PATH"
"""Stands in a shown command for the directories above a file or directory of the machine."""


def flags(config: Config, *, show_paths: bool = True) -> list[str]:
    """Finds the fewest flags of a run that resolve to `config`, by presets where these fit.

    API keys are left out: they come from the environment.

    Args:
      config: the settings.
      show_paths: False writes only the last name of an absolute path, behind `PLACE`.

    Returns:
      Flags, as `skillrl train` takes them.
    """
    found = min((_from(*start, config) for start in _starts(config)), key=len)
    return found if show_paths else [_hidden(flag) for flag in found]


def without_place(value: str) -> str:
    """Returns a value without the directories above what it names, if it is an absolute path."""
    if not os.path.isabs(value) and not value.startswith("~"):
        return value
    return f"{PLACE}/{os.path.basename(value.rstrip('/'))}"


def command(name: str, config: Config, *more: str) -> str:
    """Writes a command with these settings as one pastes it, without the machine's own paths.

    Args:
      name: of the command.
      config: its settings.
      *more: further flags.
    """
    return shlex.join(["skillrl", name, *flags(config, show_paths=False), *more])


def _starts(config: Config) -> Iterator[tuple[list[str], Config]]:
    """Yields flags that one may begin with, and what they resolve to: the presets that fit."""
    for mock in (True, False):
        for preset in (None, *presets.preset_names()):
            given = [f"--env={config.env.name}", "--mock" if mock else "--nomock"]
            given += [f"--config={preset}"] if preset else []
            try:
                found = presets.resolve(config.env.name, mock=mock, config_path=preset)
            except SkillRLError:  # a preset of another environment
                continue
            yield given, found.config


def _from(given: list[str], start: Config, config: Config) -> list[str]:
    """Returns `given` and a flag for each setting in which `start` is not yet `config`."""
    seed = [f"--seed={config.seed}"] if config.seed != start.seed else []
    more = [
        f"--set={name}={_value(after)}"
        for name, spec, before, after in strict.pairs(start, config)
        if before != after and not spec["secret"] and name != "seed"
    ]
    return [*given, *seed, *more]


def _value(value: Any) -> str:
    """Writes a value as ``--set`` reads it back."""
    plain = isinstance(value, str) and not value.startswith('"')  # quoted, it is a JSON literal
    return value if plain else json.dumps(value, ensure_ascii=False)


def _hidden(flag: str) -> str:
    start, name, value = (*flag.split("=", 2), "", "")[:3]
    if start != "--set":
        return flag
    if value.startswith("["):
        items = [without_place(x) if isinstance(x, str) else x for x in json.loads(value)]
        return f"--set={name}={json.dumps(items, ensure_ascii=False)}"
    return f"--set={name}={without_place(value)}"


def public(config: Config) -> Config:
    """Returns `config` with the directories of absolute paths hidden."""
    return strict.merge(config, _without_places(strict.plain(config, secrets=False)))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    return without_place(value) if isinstance(value, str) else value
