"""From defaults, presets, files and flags to one `Config`.

Precedence: the paper's defaults < ``configs/mock.json`` when mocking (and
``configs/mock_<env>.json`` where the environment has one) < the file of ``--config`` <
flags and ``--set``. API keys of the environment never enter a config:
the clients look them up. Presets lie in ``configs/`` of a checkout and inside the
installed package.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skillrl import _strict, config, json_text, paths
from skillrl.checksums import unseal
from skillrl.config import Config
from skillrl.errors import SkillRLError
from skillrl.models import directory as model_directory

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
_START = re.compile(r"[A-Za-z_.]*")
_PACKAGE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A config, and where each value that is not a default came from.

    Attributes:
      config: the settings of the run.
      sources: dotted field name -> ``preset mock``, a file, ``--seed`` or ``--set``;
        fields that nobody set are absent.
    """

    config: Config
    sources: Mapping[str, str]


def resolve(
    env: str | None = None,
    mock: bool = True,
    config_path: str | Path | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    *,
    recorded: str | Path | None = None,
) -> Resolved:
    """The config of a run, by the precedence of this module.

    Args:
      env: name given with ``--env``, or None.
      mock: whether ``configs/mock.json`` supplies the simulated parts.
      config_path: JSON file, or the name of a preset.
      overrides: texts ``section.field=value`` of ``--set``, in order.
      flags: dotted field name -> value of a flag that was given; None means not given.
      recorded: ``config.json`` of an existing run, used in place of the mock preset.

    Raises:
      SkillRLError: an unreadable file, or what `Config.from_dict` refuses; the message
        says which of the sources it was in.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if config_path is not None:
        path = find_config(config_path)
        layers.append((str(config_path), read_config(path)))
    if env is not None:
        layers.append(("--env", {"env": {"name": env}}))
    for name, value in (flags or {}).items():
        if value is not None:
            layers.append((f"--{name.rpartition('.')[2]}", _nest(name, value)))
    layers.extend(("--set", parse_set(text)) for text in overrides)
    if recorded is not None:
        layers.insert(0, (str(recorded), read_config(recorded)))
    elif mock:
        layers[:0] = _mock_layers(_environment(layers))

    result, sources = Config(), {}
    for source, mapping in layers:
        try:
            result = _strict.merge(result, mapping)
        except SkillRLError as error:
            raise SkillRLError(f"{source}: {error}") from None
        sources.update(dict.fromkeys(_leaves(mapping), source))
    config.check(result)
    return Resolved(result, sources)


def _environment(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> Any:
    """The environment that these layers choose; judged later."""
    name: Any = Config().env.name
    for _, mapping in layers:
        section = mapping.get("env")
        name = section.get("name", name) if isinstance(section, Mapping) else name
    return name


def _mock_layers(env: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """What mocking supplies in every environment, and what it supplies in this one.

    One that is played on AgentGym's servers is the same to a policy as the one played here.
    """
    own = f"mock_{str(env).removeprefix('agentgym_')}"
    wanted = ["mock", own] if own in preset_names() else ["mock"]
    return [(f"preset {name}", read_config(preset_path(name))) for name in wanted]


def parse_set(text: str) -> dict[str, Any]:
    """``a.b=c`` as ``{"a": {"b": c}}``; c is a JSON literal, else (or for a text field) a string.

    Raises:
      SkillRLError: no ``=``, or something else than names and dots before it. Only the
        beginning of the text is shown, since an API key may follow it.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not _NAME.fullmatch(name):
        shown = _START.match(text.strip())[0]  # type: ignore[index]
        shown += "" if shown == text.strip() else "..."
        raise SkillRLError(
            f"--set {shown!r}: write it as section.field=value, e.g. --set rl.group_size=8."
        )
    try:
        literal = json.loads(value)
    except (ValueError, RecursionError):
        literal = value
    if _strict.leaf_type(Config(), name) is str and not isinstance(literal, str):
        literal = value
    return _nest(name, literal)


def preset_names() -> list[str]:
    """Names of the presets that travel with this installation, sorted."""
    return sorted(path.stem for path in _preset_dir().glob("*.json"))


def preset_path(name: str) -> Path:
    """File of the preset `name`.

    Raises:
      SkillRLError: no such preset; the message lists those there are.
    """
    path = _preset_dir() / f"{name}.json"
    if not path.is_file():
        raise SkillRLError(f"no preset {name!r}; there are: {', '.join(preset_names())}.")
    return path


def find_config(path: str | Path) -> Path:
    """The file meant by ``--config``: a path, else a preset by name or as ``configs/NAME.json``.

    Raises:
      SkillRLError: neither is there.
    """
    asked = Path(paths.expand(path))
    wrong = paths.problem(str(asked))
    if wrong:
        raise SkillRLError(f"--config={path!s:.80}: {wrong}.")
    if asked.is_file():
        return asked
    if asked.parent in (Path("."), Path("configs")):
        name = asked.name.removesuffix(".json")
        if name in preset_names():
            return preset_path(name)
    raise SkillRLError(
        f"--config={path}: no such file, nor a preset of that name. Give the path of a JSON "
        f"file or one of: {', '.join(preset_names())}."
    )


def read_config(path: str | Path) -> dict[str, Any]:
    """The JSON object in `path`, a repeated key being an error.

    Raises:
      SkillRLError: unreadable, not JSON (with line and column) or not an object.
      Corrupt: it is the config.json of a run, and not as that wrote it.
    """

    def once(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        for key in keys:
            if keys.count(key) > 1:
                raise SkillRLError(f"{path}: the key {key!r} stands there twice; keep one.")
        return dict(items)

    try:
        text = json_text.decoded(Path(path).read_bytes())
        value = json.loads(text, object_pairs_hook=once)  # half characters are refused later
    except OSError as error:
        raise SkillRLError(f"{path}: cannot be read ({error.strerror}).") from None
    except json.JSONDecodeError as error:
        raise SkillRLError(
            f"{path}: is not valid JSON: {error.msg}, line {error.lineno} column {error.colno}."
        ) from None
    except (ValueError, RecursionError) as error:  # thousands of digits or of brackets
        raise SkillRLError(f"{path}: is not a config ({error}); write plain settings.") from None
    if not isinstance(value, dict):
        raise SkillRLError(f"{path}: holds {_strict.kind(value)}; a config is a JSON object.")
    return unseal(value, path)  # a run's own config.json is sealed


def resolve_path(value: str) -> Path:
    """A directory named in a config: ``asset:NAME`` lies in the package, all else as written.

    Raises:
      SkillRLError: not a directory.
    """
    if value.startswith("asset:"):
        name = value.removeprefix("asset:")
        path = _PACKAGE / "assets" / name
        if not name or name != Path(name).name or not os.path.isdir(path):
            there = sorted(p.name for p in (_PACKAGE / "assets").glob("*") if p.is_dir())
            raise SkillRLError(
                f"{model_directory.shown(value)}: no such asset in the package; there are: "
                f"{', '.join(there) or 'none'}."
            )
        return path
    path = model_directory.expanded(value)
    if os.path.isdir(path):  # False too for what can be no path: too long, or with a NUL
        return path
    raise SkillRLError(
        f"{model_directory.shown(value)}: no such directory; "
        f"{model_directory.missing_advice(value)}."
    )


def _preset_dir() -> Path:
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def _nest(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def _leaves(mapping: Mapping[str, Any], path: str = "") -> list[str]:
    names = []
    for key, value in mapping.items():
        name = f"{path}.{key}" if path else key
        names.extend(_leaves(value, name) if isinstance(value, Mapping) else [name])
    return names
