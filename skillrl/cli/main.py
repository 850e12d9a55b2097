"""Runs the `skillrl` command and the mains of launchers/: flags -> Config -> one call.

Bad input ends with one paragraph on stderr and status 2, a full disk with 74, an alarm that ends a
phase with 3, Ctrl-C with how to continue and status 130, SIGTERM likewise with 143. JAX is not
imported before a command has been understood.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from skillrl import api
from skillrl.cli import ablation, banks, environments, exports, planning
from skillrl.cli.commands import COMMANDS
from skillrl.cli.flags import ParsedFlags, asks_for_help, help_text, parse
from skillrl.config import presets
from skillrl.envs import make_suite
from skillrl.errors import EnvironmentLost, Problems, SkillRLError
from skillrl.io import paths, signals
from skillrl.io.console import harmless_logs
from skillrl.io.text import printable
from skillrl.parallel import joining
from skillrl.phases import run_directory
from skillrl.preflight import dry_run, static_checks


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the installed command; returns the exit status."""
    _take_any_text()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        _show(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from skillrl.version import VERSION

        print(VERSION)
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(
            f"skillrl: error: no command {name!r}; there are: {', '.join(COMMANDS)}. "
            "See skillrl --help.",
            file=sys.stderr,
        )
        return 2
    return execute(name, arguments[1:], program=f"skillrl {name}")


def launch(command: str) -> NoReturn:
    """Runs the script launchers/<command>.py."""
    _take_any_text()
    sys.exit(execute(command, sys.argv[1:], program=f"python {sys.argv[0]}"))


def execute(name: str, arguments: Sequence[str], *, program: str) -> int:
    """Runs one command with its flags; returns the exit status."""
    command = COMMANDS[name]
    if asks_for_help(arguments):
        runs = {preset: presets.about(preset)["runs"] for preset in presets.preset_names()}
        _show(help_text(command, program, runs))
        return 0
    others: dict[str, Callable[[ParsedFlags], int | None]] = {
        "ablate": ablation.ablate,
        "inspect": lambda parsed: _show(banks.inspect(parsed)),
        "convert": lambda parsed: _show(banks.convert(parsed)),
        "export": lambda parsed: _show(exports.export(parsed)),
        "plan": lambda parsed: _show(planning.plan(parsed)),
        "check": environments.check,
        "play": environments.play,
        "replay": environments.replay,
        "serve": _serve,
    }
    harmless_logs()
    do = others.get(name, lambda parsed: _phase(name, parsed))
    try:
        with signals.terminable():
            return do(parse(command, arguments)) or 0
    except Problems as error:
        for problem in error.problems:
            said = printable(" ".join(problem.split()))
            print(f"skillrl {name}: error: {said}", file=sys.stderr)
        joining.leave(2)
        return 2
    except (SkillRLError, EnvironmentLost) as error:  # the one episode of play is the command
        said = printable(" ".join(str(error).split()))
        print(f"skillrl {name}: error: {said}", file=sys.stderr)
        status = getattr(error, "exit_status", SkillRLError.exit_status)
        joining.leave(status)
        return status
    except KeyboardInterrupt as stop:
        again = shlex.join([*program.split(), *map(_without_key, arguments)])
        terminated = isinstance(stop, signals.Terminated)
        how = "terminated" if terminated else "interrupted"
        message = f"\nskillrl {name}: {how}; nothing is half written."
        if name in static_checks.OPTIONS or name == "ablate":
            message += f" The same command continues from the last checkpoint:\n  {again}"
        print(message, file=sys.stderr)
        from skillrl.parallel import background

        status = 143 if terminated else 130
        joining.leave(status)
        background.leave(status)
        return status


_CLUSTER = tuple(field.name for field in dataclasses.fields(joining.Cluster))


def _phase(name: str, parsed: ParsedFlags) -> None:
    """Resolves the config, says what is real, and calls the phase."""
    values = parsed.values
    cluster = joining.Cluster(**{flag: values[flag] for flag in _CLUSTER})
    # Joined first: what is wrong on one host ends the others, too.
    with contextlib.nullcontext() if values["dry_run"] else joining.joined(cluster):
        resolved, workdir = _settings(name, parsed)
        config = resolved.config
        chosen = {flag: values[flag] for flag in static_checks.OPTIONS[name]}
        if values["show_config"]:
            _show(dry_run.describe_settings(resolved))
        if values["dry_run"]:
            said, problems = dry_run.report(name, config, workdir=workdir, chosen=chosen)
            _show(said)
            if problems:
                raise Problems(problems)
            return
        api.run(name, config, workdir, **chosen)


def _settings(name: str, parsed: ParsedFlags) -> tuple[presets.Resolved, Path]:
    """Finds the resolved config and the work directory of a phase.

    Where `evaluate` is not told a directory, ``--config`` and ``--mock`` say which of the
    default ones it is, and its settings are those of the run in it.
    """
    values = parsed.values

    def resolve(recorded: Path | None) -> presets.Resolved:
        return presets.resolve(
            values["env"],
            mock=values["mock"],
            config_path=values["config"] if recorded is None else None,
            overrides=values["set"],
            flags={"seed": values["seed"]},
            recorded=recorded,
        )

    resolved = resolve(None)
    workdir = presets.default_workdir(
        resolved.config, mock=values["mock"], config_path=values["config"]
    )
    if values["workdir"]:
        workdir = Path(paths.expand(values["workdir"]))
    if name != "evaluate":
        return resolved, workdir
    replaced = bool(values["workdir"]) and parsed.present & {"mock", "config"}
    if not replaced and run_directory.recorded_config(workdir) is not None:
        resolved = resolve(workdir / "config.json")
    return _with_checkpoint(resolved, parsed), workdir


def _with_checkpoint(resolved: presets.Resolved, parsed: ParsedFlags) -> presets.Resolved:
    """Lets `evaluate` play the policy of a directory, if ``--checkpoint`` names one."""
    from skillrl.phases import prerequisites

    checkpoint, model = parsed.values["checkpoint"], resolved.config.model
    if "checkpoint" in parsed.present and model.policy == "openai":
        raise SkillRLError(
            f"--checkpoint={checkpoint}: model.policy=openai evaluates {model.policy_model_id} as "
            f"{model.policy_api_base} serves it, and no checkpoint. Leave the flag out, or use "
            "--set model.policy=local."
        )
    asked = resolved.sources.get("model.adapter_path") == "--set"
    config = prerequisites.evaluated(resolved.config, checkpoint, adapter=asked)
    if config == resolved.config:
        return resolved
    sources = {**resolved.sources, "model.policy_path": "--checkpoint"}
    return presets.Resolved(config, sources)


def _serve(parsed: ParsedFlags) -> None:
    """Serves an environment until Ctrl-C."""
    from skillrl.envs.serve import DIALECTS
    from skillrl.envs.serve.server import serve

    values = parsed.values
    if values["dialect"] not in DIALECTS:
        raise SkillRLError(
            f"--dialect={values['dialect']}: no such dialect; there are: {', '.join(DIALECTS)}."
        )
    if values["port"] > 65535:
        raise SkillRLError(f"--port={values['port']}: ports go from 0 (any free one) to 65535.")
    config = presets.resolve(values["env"], mock=False, overrides=values["set"]).config
    serve(
        make_suite(config.env.name, config.env),
        dialect=values["dialect"],
        host=values["host"],
        port=values["port"],
        max_sessions=values["max_sessions"],
        session_ttl=values["session_ttl"],
        say=_show,
    )


def _without_key(argument: str) -> str:
    """Leaves out of an argument what follows the name of an API key."""
    return re.sub(r"""(_key["']?\s*[=:]).*""", r"\1...", argument, flags=re.DOTALL)


def _take_any_text() -> None:
    """Lets streams that are not UTF-8 write what they lack as an escape, and read it as U+FFFD."""
    for stream, errors in (
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
        (sys.stdin, "replace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _show(text: str) -> None:
    """Prints a text; a reader that has gone (``| head``) is no error."""
    try:
        print(printable(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _overview() -> str:
    lines = ["usage: skillrl COMMAND [flags]", "", "Commands (skillrl COMMAND --help says more):"]
    lines += [f"  {c.name:<10}{c.brief}" for c in COMMANDS.values()]
    return "\n".join(lines)
