"""Flags of the commands, as data: parsing through absl, and a help text that reads well."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from absl import flags

from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.numbers import MAX_INT


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag. `kind` is text, path (``~`` expanded), int, float, bool or list.

    Attributes:
      name: as typed, with underscores.
      value: what stands for the value in the help text.
      help: one or two sentences.
      default: value when the flag is not given.
      low: smallest allowed number.
    """

    name: str
    kind: str
    value: str
    help: str
    default: Any = None
    low: float | None = None


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: what it does, its own flags, and whether it takes those of every run.

    Attributes:
      name: as typed after `skillrl`.
      brief: one line for the list of commands.
      summary: the paragraph of its help text.
      own: flags of this command alone.
      positional: name of the one argument without a flag, or "".
      common: it also takes the flags of every run.
    """

    name: str
    brief: str
    summary: str
    own: tuple[Flag, ...] = ()
    positional: str = ""
    common: bool = True

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Own flags first, then the common ones."""
        return self.own + (COMMON if self.common else ())


@dataclasses.dataclass(frozen=True)
class Parsed:
    """Values by flag name, which of them were typed, and the positional argument."""

    values: dict[str, Any]
    present: frozenset[str]
    positional: str = ""


COMMON = (
    Flag(
        "config",
        "list",
        "PATH[,PATH]",
        "JSON file of settings, or the name of a preset (alfworld_qwen2.5_7b, paper, ...). "
        "Several, with commas or the flag repeated, stack: the last one wins.",
        (),
    ),
    Flag(
        "env",
        "text",
        "NAME",
        "Environment: alfworld, webshop, search, a live server's (agentgym_alfworld, "
        "agentgym_webshop, openenv) or one of your own. Default: alfworld.",
    ),
    Flag(
        "mock",
        "bool",
        "",
        "Simulated parts: generated games, simulated teacher, offline embedder, the policy that "
        "ships with the package, small budgets. What is set explicitly wins. --nomock: the real "
        "ones. Default: --mock.",
        True,
    ),
    Flag(
        "workdir",
        "path",
        "DIR",
        "Run directory; the same command continues it. Default: runs/<env>-seed<seed>, with the "
        "names of --config and nomock in between, so that other runs are elsewhere and all phases "
        "of one run in one place.",
    ),
    Flag("seed", "int", "N", "Seed of every random draw. Default: 0."),
    Flag(
        "set",
        "list",
        "SECTION.FIELD=VALUE",
        "One setting, e.g. --set rl.group_size=8. May be repeated; the last one wins.",
        (),
    ),
    Flag(
        "dry_run",
        "bool",
        "",
        "Resolve and check everything that the start would, devices, policy, keys and servers "
        "too; print what would run and what it takes, and stop. Status 2 if anything is missing.",
        False,
    ),
    Flag(
        "show_config",
        "bool",
        "",
        "Print the resolved config, and where each value came from, first.",
        False,
    ),
)


def parse(command: Command, arguments: Sequence[str]) -> Parsed:
    """Reads the arguments of a command; dashes in a flag's name count as underscores.

    Raises:
      SkillRLError: an unknown flag (with the nearest one), a value of the wrong kind, or
        an argument too many or too few.
    """
    holder = flags.FlagValues()
    for flag in command.flags:
        _define(flag, holder)
    try:
        rest = holder(["skillrl", *(_underscored(a, command) for a in arguments)])[1:]
    except flags.Error as error:
        words = re.sub(r"(_key\b)[^\s']+", r"\1...", str(error).strip().rstrip("."))
        raise SkillRLError(f"{words}. See --help for the flags there are.") from None
    wanted = 1 if command.positional else 0
    if len(rest) != wanted:
        if len(rest) < wanted:
            raise SkillRLError(f"{command.name} needs {command.positional}. See --help.")
        secret = any("key" in argument.lower() for argument in arguments)
        shown = "a word that is not shown" if secret else repr(rest[wanted])
        raise SkillRLError(
            f"{shown} is one argument too many: {command.name} takes "
            f"{command.positional or 'flags only, written --name=value'}."
        )
    return Parsed(
        values={flag.name: _value(flag, holder[flag.name].value) for flag in command.flags},
        present=frozenset(f.name for f in command.flags if holder[f.name].present),
        positional=_positional(command, rest[0]) if rest else "",
    )


def _value(flag: Flag, value: Any) -> Any:
    if flag.kind == "float" and value is not None and not math.isfinite(value):
        raise SkillRLError(f"--{flag.name}={value}: must be a finite number.")
    if flag.kind != "path" or not value:
        return value
    if wrong := paths.problem(value):
        raise SkillRLError(f"--{flag.name}={value:.80}: {wrong}.")
    return paths.expand(value)


def _positional(command: Command, value: str) -> str:
    if wrong := paths.problem(value):
        raise SkillRLError(f"{command.positional}={value:.80}: {wrong}.")
    return paths.expand(value)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether ``--help`` or ``-h`` is among the flags."""
    return any(a in ("--help", "-h", "-help", "--helpfull", "--helpshort") for a in arguments)


def help_text(command: Command, program: str) -> str:
    """Usage, what the command does, its own flags, then those of every command."""
    usage = f"{program} {command.positional or ''}".strip()
    blocks = [f"usage: {usage} [flags]" if command.flags else f"usage: {usage}"]
    blocks.append(textwrap.fill(command.summary, 88))
    if command.own:
        blocks.append("\n".join(["Flags of this command:", *map(_entry, command.own)]))
    if command.common:
        blocks.append("\n".join(["Flags of every run:", *map(_entry, COMMON)]))
        blocks.append(
            textwrap.fill(
                "Later settings win: the paper's defaults, the mock preset, --config, flags and "
                "--set. API keys may come from SKILLRL_POLICY_API_KEY, SKILLRL_TEACHER_API_KEY "
                "and SKILLRL_EMBEDDING_API_KEY (or OPENAI_API_KEY, for api.openai.com).",
                88,
            )
        )
    return "\n\n".join(blocks)


def _entry(flag: Flag) -> str:
    name = f"--[no]{flag.name}" if flag.kind == "bool" else f"--{flag.name}"
    head = f"  {name}={flag.value}" if flag.value else f"  {name}"
    body = textwrap.fill(flag.help, 88, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{head}\n{body}"


def _define(flag: Flag, holder: flags.FlagValues) -> None:
    arguments = (flag.name, flag.default, flag.help)
    if flag.kind == "bool":
        flags.DEFINE_bool(*arguments, flag_values=holder)
    elif flag.kind == "int":
        low = None if flag.low is None else int(flag.low)
        flags.DEFINE_integer(*arguments, lower_bound=low, upper_bound=MAX_INT, flag_values=holder)
    elif flag.kind == "float":
        flags.DEFINE_float(*arguments, lower_bound=flag.low, flag_values=holder)
    elif flag.kind == "list":
        flags.DEFINE_multi_string(*arguments, flag_values=holder)
    else:
        flags.DEFINE_string(*arguments, flag_values=holder)


def _underscored(argument: str, command: Command) -> str:
    """``--skill-bank=x`` as ``--skill_bank=x`` where that is a flag; all else as it is."""
    if not argument.startswith("-"):
        return argument
    name, equals, value = argument.lstrip("-").partition("=")
    name = name.replace("-", "_")
    names = {flag.name for flag in command.flags}
    switches = {flag.name for flag in command.flags if flag.kind == "bool"}
    if name.startswith("no_") and name[3:] in switches:
        name = "no" + name[3:]
    if name in names or name.removeprefix("no") in switches:
        return f"--{name}{equals}{value}"
    return argument
