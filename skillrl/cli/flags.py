"""Describes the flags of the commands as data: absl parses them, and the help text reads well.

Each command has an `absl.flags.FlagValues` of its own, made when its arguments are read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from absl import flags

from skillrl.errors import SkillRLError
from skillrl.io import paths
from skillrl.io.numbers import MAX_INT

_WIDTH = 88  # columns of a help text


@dataclasses.dataclass(frozen=True)
class Flag:
    """Describes one flag of a command; `text`, `path` and the others below make those of a kind.

    Attributes:
      name: as typed, with underscores.
      placeholder: what stands for the value in the help text.
      kind: what its value is.
      help: one or two sentences.
      default: value when the flag is not given.
      low: smallest allowed number.
    """

    name: str
    placeholder: str = ""
    _: dataclasses.KW_ONLY
    kind: Literal["text", "path", "texts", "integer", "number", "switch"]
    help: str
    default: Any = None
    low: float | None = None


text = functools.partial(Flag, kind="text")
path = functools.partial(Flag, kind="path")  # ~ in front of it becomes the home directory
texts = functools.partial(Flag, kind="texts", default=())  # may be repeated
integer = functools.partial(Flag, kind="integer")
number = functools.partial(Flag, kind="number")  # a finite one
switch = functools.partial(Flag, kind="switch", default=False)  # --name or --noname


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Describes a command: what it does, its own flags, and whether it takes those of every run.

    Attributes:
      name: as typed after `skillrl`.
      brief: one line for the list of commands.
      summary: the paragraph of its help text.
      own: flags of this command alone.
      positional: name of the one argument without a flag, or "".
      common: whether it also takes the flags of every run.
    """

    name: str
    brief: str
    summary: str
    own: tuple[Flag, ...] = ()
    positional: str = ""
    common: bool = True

    @property
    def flags(self) -> tuple[Flag, ...]:
        """The command's own flags first, then those of every run."""
        return self.own + (RUN_FLAGS if self.common else ())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParsedFlags:
    """Holds the arguments of a command.

    Attributes:
      values: name of each flag of the command -> its value.
      present: names of the flags that were typed.
      positional: the argument without a flag, or "".
    """

    values: dict[str, Any]
    present: frozenset[str]
    positional: str = ""


RUN_FLAGS = (
    texts(
        "config",
        "PATH[,PATH]",
        help=(
            "JSON file of settings, or the name of a preset (alfworld_qwen2.5_7b, paper, ...). "
            "Several, with commas or the flag repeated, stack: the last one wins."
        ),
    ),
    text(
        "env",
        "NAME",
        help=(
            "Environment: alfworld, webshop, search, a live server's (agentgym_alfworld, "
            "agentgym_webshop, openenv) or one of your own. Default: alfworld."
        ),
    ),
    switch(
        "mock",
        help=(
            "Simulated parts: generated games, simulated teacher, hashing embedder, the policy "
            "that ships with the package, small budgets. What is set explicitly wins. --nomock: "
            "the real ones. Default: --mock."
        ),
        default=True,
    ),
    path(
        "workdir",
        "DIR",
        help=(
            "Run directory; the same command continues it. Default: runs/<env>-seed<seed>, with "
            "the names of --config and nomock in between, so that other runs are elsewhere and all "
            "phases of one run in one place."
        ),
    ),
    integer("seed", "N", help="Seed of every random draw. Default: 0."),
    texts(
        "set",
        "SECTION.FIELD=VALUE",
        help="One setting, e.g. --set rl.group_size=8. May be repeated; the last one wins.",
    ),
    switch(
        "dry_run",
        help=(
            "Resolve and check everything that the start would, devices, policy, keys and servers "
            "too; print what would run and what it takes, and stop. Status 2 if anything is "
            "missing."
        ),
    ),
    text(
        "distributed",
        "auto|on|off",
        help=(
            "Whether this is one of several processes of the run: one per host, each started with "
            "this command and the same --workdir, on a file system that all see. auto: where "
            "Slurm, Open MPI, Kubernetes or Cloud TPU says so. Default: auto."
        ),
        default="auto",
    ),
    text(
        "coordinator_address",
        "HOST:PORT",
        help="Where process 0 listens, with --num_processes and --process_id, where nobody says.",
    ),
    integer("num_processes", "N", help="How many processes the run has."),
    integer("process_id", "I", help="Which of them this is, from 0."),
    switch("show_config", help="Print the resolved config, and where each value came from, first."),
)
"""The flags of every run."""


def parse(command: Command, arguments: Sequence[str]) -> ParsedFlags:
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
    return ParsedFlags(
        values={flag.name: _value(flag, holder[flag.name].value) for flag in command.flags},
        present=frozenset(f.name for f in command.flags if holder[f.name].present),
        positional=_positional(command, rest[0]) if rest else "",
    )


def _value(flag: Flag, value: Any) -> Any:
    if flag.kind == "number" and value is not None and not math.isfinite(value):
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
    """Tells whether ``--help`` or ``-h`` is among the flags."""
    return any(a in ("--help", "-h", "-help", "--helpfull", "--helpshort") for a in arguments)


def help_text(command: Command, program: str, presets: Mapping[str, str]) -> str:
    """Says how a command is used: what it does, its flags, and the presets of ``--config``.

    Args:
      command: what to describe.
      program: how it was called.
      presets: name -> what it runs.
    """
    usage = f"{program} {command.positional or ''}".strip()
    blocks = [f"usage: {usage} [flags]" if command.flags else f"usage: {usage}"]
    blocks.append(textwrap.fill(command.summary, _WIDTH))
    if command.own:
        blocks.append("\n".join(["Flags of this command:", *map(_entry, command.own)]))
    if command.common:
        blocks.append("\n".join(["Flags of every run:", *map(_entry, RUN_FLAGS)]))
        blocks.append(
            textwrap.fill(
                "Later settings win: the paper's defaults, the mock preset, --config, flags and "
                "--set. API keys may come from SKILLRL_POLICY_API_KEY, SKILLRL_TEACHER_API_KEY "
                "and SKILLRL_EMBEDDING_API_KEY (or OPENAI_API_KEY, for api.openai.com).",
                _WIDTH,
            )
        )
    if any(flag.name == "config" for flag in command.flags):
        blocks.append(
            "\n".join(
                ["Presets for --config:", *(_preset(name, runs) for name, runs in presets.items())]
            )
        )
    return "\n\n".join(blocks)


def _preset(name: str, runs: str) -> str:
    body = textwrap.fill(runs, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {name}\n{body}"


def _entry(flag: Flag) -> str:
    name = f"--[no]{flag.name}" if flag.kind == "switch" else f"--{flag.name}"
    head = f"  {name}={flag.placeholder}" if flag.placeholder else f"  {name}"
    body = textwrap.fill(flag.help, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{head}\n{body}"


_DEFINE: dict[str, Callable[..., Any]] = {
    "text": flags.DEFINE_string,
    "path": flags.DEFINE_string,
    "texts": flags.DEFINE_multi_string,
    "integer": flags.DEFINE_integer,
    "number": flags.DEFINE_float,
    "switch": flags.DEFINE_bool,
}


def _define(flag: Flag, holder: flags.FlagValues) -> None:
    """Defines a flag in a command's values, as absl does for those of a whole program."""
    bounds: dict[str, Any] = {}
    if flag.kind in ("integer", "number"):
        bounds["lower_bound"] = flag.low
    if flag.kind == "integer":
        bounds["upper_bound"] = MAX_INT
    _DEFINE[flag.kind](flag.name, flag.default, flag.help, flag_values=holder, **bounds)


def _underscored(argument: str, command: Command) -> str:
    """Writes ``--skill-bank=x`` as ``--skill_bank=x`` where that is a flag."""
    if not argument.startswith("-"):
        return argument
    name, equals, value = argument.lstrip("-").partition("=")
    name = name.replace("-", "_")
    names = {flag.name for flag in command.flags}
    switches = {flag.name for flag in command.flags if flag.kind == "switch"}
    if name.startswith("no_") and name[3:] in switches:
        name = "no" + name[3:]
    if name in names or name.removeprefix("no") in switches:
        return f"--{name}{equals}{value}"
    return argument
