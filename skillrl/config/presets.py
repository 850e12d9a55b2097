"""Makes one `Config` from defaults, presets, files and flags.

Precedence: the paper's defaults < ``configs/mock.json`` when mocking < the files of
``--config`` in their order < flags and ``--set``. A preset NAME brings ``NAME_<env>`` with
it where the environment has one. API keys of the environment never enter a config: the
clients look them up. Presets lie in ``configs/`` of a checkout and inside the installed
package.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skillrl.config import settings, strict
from skillrl.config.settings import Config
from skillrl.errors import Problems, SkillRLError
from skillrl.io import json_text, paths
from skillrl.io.checksums import unseal
from skillrl.models import directory as model_directory

_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")
_START = re.compile(r"[A-Za-z_.]*")
_DEEPEST = 3  # names in the path of a setting
_ABOUT = "_about"  # the one key of a config file that sets nothing
_PACKAGE = Path(__file__).resolve().parents[1]

Layer = tuple[str, Mapping[str, Any]]
"""Where settings come from, and the settings."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Holds a config, and where each value came from that is not a default.

    Attributes:
      config: the settings of the run.
      sources: dotted field name -> ``preset mock``, a file, ``--seed`` or ``--set``;
        fields that nobody set are absent.
    """

    config: Config
    sources: Mapping[str, str]


def resolve(
    env: str | None = None,
    *,
    mock: bool = True,
    config_path: str | Path | Sequence[str | Path] | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    recorded: str | Path | None = None,
) -> Resolved:
    """Resolves the config of a run, by the precedence of this module.

    Args:
      env: name given with ``--env``, or None.
      mock: whether ``configs/mock.json`` supplies the simulated parts.
      config_path: JSON file or the name of a preset, several with commas between them, or
        a sequence of such; a later one wins.
      overrides: texts ``section.field=value`` of ``--set``, in order.
      flags: dotted field name -> value of a flag that was given; None means not given.
      recorded: ``config.json`` of an existing run, used in place of the mock preset.

    Raises:
      SkillRLError: an unreadable file, or what `Config.from_dict` refuses; the message
        says which of the sources it was in. A preset of one environment on another.
    """
    files = [(name, find_config(name)) for name in split_configs(config_path)]
    given = [(name, read_config(path)) for name, path in files]
    typed: list[Layer] = [("--env", {"env": {"name": env}})] if env is not None else []
    for name, value in (flags or {}).items():
        if value is not None:
            typed.append((f"--{name.rpartition('.')[2]}", _nest(name.split("."), value)))
    typed.extend(("--set", parse_set(text)) for text in overrides)
    played = _environment([*given, *typed])

    layers: list[Layer] = []
    if recorded is not None:
        layers.append((str(recorded), read_config(recorded)))
    elif mock:
        layers += [("preset mock", read_config(preset_path("mock")))]
        layers += _of_environment("mock", "preset mock", played)
    for (name, path), layer in zip(files, given, strict=True):
        layers.append(layer)
        if path.resolve().parent == _preset_dir().resolve():
            _check_environment(path.stem, layer[1], played)
            layers += _of_environment(path.stem, name, played)
    layers += typed

    result, sources = Config(), {}
    problems: dict[str, None] = {}
    for source, mapping in layers:
        for names, value in _leaves(mapping):
            try:
                result = strict.merge(result, _nest(names, value))
            except SkillRLError as error:
                problems[f"{source}: {error}"] = None
            if not isinstance(value, Mapping):
                sources[".".join(names)] = source
    if len(problems) > 1:
        raise Problems(list(problems))
    for problem in problems:
        raise SkillRLError(problem)
    settings.check(result)
    return Resolved(result, sources)


def split_configs(given: str | Path | Sequence[str | Path] | None) -> list[str]:
    """Splits what ``--config`` names into files and presets, in order, at commas.

    A file that is there under the whole text is that file, commas and all.
    """
    if given is None:
        return []
    texts = [str(one) for one in ([given] if isinstance(given, str | Path) else given)]
    names: list[str] = []
    for text in texts:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        whole = not parts or os.path.isfile(os.path.expanduser(text))
        names += [text] if whole else parts
    return names


def default_workdir(
    config: Config, *, mock: bool, config_path: str | Path | Sequence[str | Path] | None = None
) -> Path:
    """Says where a run lies by default: one place for its phases, another for other runs.

    ``runs/ENV-seedN`` when mocking, with the names of the ``--config`` files and ``nomock``
    in between: ``runs/alfworld-own_policy-nomock-seed3``.
    """
    stems = [Path(name).name.removesuffix(".json") for name in split_configs(config_path)]
    words = [config.env.name, *stems, *([] if mock else ["nomock"]), f"seed{config.seed}"]
    return Path("runs", "-".join(re.sub(r"[^\w.]+", "_", word) for word in words))


def _environment(layers: Iterable[Layer], *, default: str = Config().env.name) -> Any:
    """Finds the environment that these layers choose; it is judged later."""
    name: Any = default
    for _, mapping in layers:
        section = mapping.get("env")
        name = section.get("name", name) if isinstance(section, Mapping) else name
    return name


def _of_environment(name: str, source: str, env: Any) -> list[Layer]:
    """Finds what a preset sets in this environment alone.

    One that is played on AgentGym's servers is the same to a policy as the one played here.
    """
    own = f"{name}_{_plain(env)}"
    if own not in preset_names():
        return []
    return [(f"{source}_{_plain(env)}", read_config(preset_path(own)))]


def _check_environment(name: str, preset: Mapping[str, Any], env: Any) -> None:
    """Refuses a preset that names another environment than the one that is played."""
    made_for = _environment([(name, preset)], default=_plain(env))
    if made_for == _plain(env):
        return
    fitting = [other for other in preset_names() if _made_for(other) == _plain(env)]
    raise SkillRLError(
        f"--config={name}: is a preset for --env={made_for}, but the environment here is {env}. "
        f"Leave one of the two out, or use a preset that fits: {', '.join(fitting)}"
        + ("" if fitting else "own_policy, paper and your own files fit any")
        + "."
    )


def _made_for(name: str) -> Any:
    return _environment([(name, read_config(preset_path(name)))], default="")


def _plain(env: Any) -> str:
    return str(env).removeprefix("agentgym_")


def parse_set(text: str) -> dict[str, Any]:
    """Reads ``a.b=c`` as ``{"a": {"b": c}}``; c is a JSON literal, or else a string.

    The strings of a list need no quotes: ``modules=[one.py,two.py]``.

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
    kind = strict.leaf_type(Config(), name)
    if kind is str and not isinstance(literal, str):
        literal = value
    if kind == tuple[str, ...] and literal == value and value[:1] == "[" and value[-1:] == "]":
        literal = [item.strip() for item in value[1:-1].split(",") if item.strip()]  # no quotes
    return _nest(name.split("."), literal)


def preset_names() -> list[str]:
    """Lists the presets that travel with this installation, sorted."""
    return sorted(path.stem for path in _preset_dir().glob("*.json"))


def about(name: str) -> dict[str, str]:
    """Reads what a preset says of itself: what it runs, command, hardware, hours and success.

    Raises:
      SkillRLError: no such preset.
    """
    return json_text.loads(preset_path(name).read_bytes())[_ABOUT]


def preset_path(name: str) -> Path:
    """Finds the file of the preset `name`.

    Raises:
      SkillRLError: no such preset; the message lists those there are.
    """
    path = _preset_dir() / f"{name}.json"
    if not path.is_file():
        raise SkillRLError(f"no preset {name!r}; there are: {', '.join(preset_names())}.")
    return path


def find_config(path: str | Path) -> Path:
    """Finds the file that ``--config`` means: a path, else a preset, also as ``configs/NAME.json``.

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
    """Reads the settings of a config file, a JSON object in which no key may be repeated.

    What the file says of itself, under ``_about`` at its top, is left out.

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
        raise SkillRLError(f"{path}: holds {strict.kind(value)}; a config is a JSON object.")
    value = unseal(value, path)  # a run's own config.json is sealed
    about = value.pop(_ABOUT, {})
    if not isinstance(about, str | dict):
        raise SkillRLError(f"{path}: {_ABOUT} is {strict.kind(about)}; it is a text or an object.")
    return value


def resolve_path(value: str) -> Path:
    """Finds a directory named in a config: ``asset:NAME`` lies in the package.

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


def _nest(names: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(names):
        value = {name: value}
    return value


def _leaves(mapping: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields (keys on the way, value) of what is in sections; an empty object is a value."""
    inside = isinstance(mapping, Mapping) and mapping and len(path) < _DEEPEST
    if path and not inside:
        yield path, mapping
        return
    for key, value in mapping.items():
        yield from _leaves(value, (*path, str(key)))
