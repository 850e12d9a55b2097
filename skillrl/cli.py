"""The `skillrl` command and the mains of launchers/: flags -> Config -> one call.

Bad input ends with one paragraph on stderr and status 2, Ctrl-C with how to continue
and status 130, SIGTERM likewise with 143. JAX is not imported before a command has been understood.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from skillrl import presets, run, signals, tools
from skillrl._commands import COMMANDS
from skillrl._flags import Parsed, asks_for_help, help_text, parse
from skillrl.config import Config, public_dict
from skillrl.console import harmless_logs
from skillrl.envs import SPLITS, Suite, make_suite
from skillrl.errors import EnvironmentLost, SkillRLError
from skillrl.parts import describe, parts
from skillrl.text import printable

# command -> flags that its function in skillrl.pipeline takes by name
_PHASES = {
    "train": (),
    "collect": ("episodes", "output"),
    "distill": ("trajectories", "output"),
    "sft": ("skill_bank", "num_examples"),
    "rl": ("skill_bank",),
    "evaluate": ("checkpoint", "split", "concurrency", "repeats", "temperature", "output"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The installed command; returns the exit status."""
    _take_any_text()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        _show(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from skillrl import __version__

        print(__version__)
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
    """Main of the script launchers/<command>.py."""
    _take_any_text()
    sys.exit(execute(command, sys.argv[1:], program=f"python {sys.argv[0]}"))


def execute(name: str, arguments: Sequence[str], *, program: str) -> int:
    """Runs one command with its flags; returns the exit status."""
    command = COMMANDS[name]
    if asks_for_help(arguments):
        _show(help_text(command, program))
        return 0
    others: dict[str, Callable[[Parsed], int | None]] = {
        "inspect": _inspect,
        "check": tools.check,
        "play": tools.play,
        "replay": tools.replay,
        "serve": _serve,
    }
    harmless_logs()
    do = others.get(name, lambda parsed: _phase(name, parsed))
    try:
        with signals.terminable():
            return do(parse(command, arguments)) or 0
    except (SkillRLError, EnvironmentLost) as error:  # the one episode of play is the command
        said = printable(" ".join(str(error).split()))
        print(f"skillrl {name}: error: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        again = shlex.join([*program.split(), *map(_without_key, arguments)])
        terminated = isinstance(stop, signals.Terminated)
        how = "terminated" if terminated else "interrupted"
        message = f"\nskillrl {name}: {how}; nothing is half written."
        if name in _PHASES:
            message += f" The same command continues from the last checkpoint:\n  {again}"
        print(message, file=sys.stderr)
        from skillrl.parallel import background

        status = 143 if terminated else 130
        background.leave(status)
        return status


def _phase(name: str, parsed: Parsed) -> None:
    """Resolves the config, says what is real, and calls the phase."""
    values = parsed.values
    resolved, workdir = _settings(name, parsed)
    config = resolved.config
    chosen = {flag: values[flag] for flag in _PHASES[name]}
    found = _check(name, config, workdir, chosen)
    _show(found)
    if values["dry_run"]:
        print(_dry_run(name, resolved, workdir, chosen))
        return
    from skillrl import pipeline

    getattr(pipeline, name)(config, workdir, seed=config.seed, **chosen)


def _settings(name: str, parsed: Parsed) -> tuple[presets.Resolved, Path]:
    """The resolved config and the work directory of a phase."""
    values = parsed.values

    def resolve(recorded: Path | None) -> presets.Resolved:
        return presets.resolve(
            values["env"],
            values["mock"],
            values["config"],
            values["set"],
            {"seed": values["seed"]},
            recorded=recorded,
        )

    def place(config: Config) -> Path:
        default = f"runs/{config.env.name}-seed{config.seed}"
        return Path(values["workdir"] or default)

    resolved = resolve(None)
    workdir = place(resolved.config)
    if name != "evaluate":
        return resolved, workdir
    if not parsed.present & {"mock", "config"} and run.recorded_config(workdir) is not None:
        resolved = resolve(workdir / "config.json")
    return _with_checkpoint(resolved, parsed), workdir


def _with_checkpoint(resolved: presets.Resolved, parsed: Parsed) -> presets.Resolved:
    """What `evaluate` plays: the policy of a directory, if ``--checkpoint`` names one."""
    from skillrl import predecessors

    checkpoint, model = parsed.values["checkpoint"], resolved.config.model
    if "checkpoint" in parsed.present and model.policy == "openai":
        raise SkillRLError(
            f"--checkpoint={checkpoint}: model.policy=openai evaluates {model.policy_model_id} as "
            f"{model.policy_api_base} serves it, and no checkpoint. Leave the flag out, or use "
            "--set model.policy=local."
        )
    asked = resolved.sources.get("model.adapter_path") == "--set"
    config = predecessors.evaluated(resolved.config, checkpoint, adapter=asked)
    if config == resolved.config:
        return resolved
    sources = {**resolved.sources, "model.policy_path": "--checkpoint"}
    return presets.Resolved(config, sources)


def _check(name: str, config: Config, workdir: Path, chosen: dict[str, Any]) -> str:
    """Checks what can be checked before anything starts; returns real and simulated parts."""
    if config.model.policy == "openai" and name in ("train", "sft", "rl"):
        raise SkillRLError(
            f"model.policy=openai cannot be used with {name}: the weights behind "
            f"{config.model.policy_api_base} cannot be updated from here. Use model.policy=local "
            "with model.policy_path; collect and evaluate take either."
        )
    if name == "evaluate":
        run.recorded_config(workdir)
    else:
        run.check_workdir(workdir, config)
    from skillrl import predecessors

    predecessors.check_policy(config)
    suite = make_suite(config.env.name, config.env)
    _check_names(name, config)
    _check_splits(name, config, suite, chosen)
    predecessors.check(name, run.RunDirectory(workdir, config, lock=False), chosen)
    return describe(parts(config, suite.simulated))


def _check_names(name: str, config: Config) -> None:
    """Asks the registries for what the config names, so that a typo costs no phase."""
    from skillrl.teacher.registry import make_embedder, make_teacher

    make_teacher(config.model)  # connects to nothing yet
    make_embedder(config.model)
    if name in ("train", "rl"):
        from skillrl.training.advantages import get_estimator
        from skillrl.training.losses import KL_ESTIMATORS

        get_estimator(config.rl.advantage)
        if config.rl.kl_estimator not in KL_ESTIMATORS:
            raise SkillRLError(
                f"rl.kl_estimator is {config.rl.kl_estimator!r}; choose one of: "
                f"{', '.join(sorted(KL_ESTIMATORS))}."
            )


def _check_splits(name: str, config: Config, suite: Suite, chosen: dict[str, Any]) -> None:
    """Refuses splits without tasks, which would otherwise show after hours of training."""
    there = [split for split in SPLITS if _has_tasks(suite, split)]
    for label, splits in _splits(name, config, chosen).items():
        for split in splits:
            if not _has_tasks(suite, split):
                one = (there or SPLITS)[-1]
                fit = one if label == "--split" else f"'{json.dumps([one])}'"
                raise SkillRLError(
                    f"{label}: {suite.name} has no tasks in the split {split!r}; there are: "
                    f"{', '.join(there) or 'none'}. Use {label}={fit}, for example."
                )


def _splits(name: str, config: Config, chosen: dict[str, Any]) -> dict[str, Sequence[str]]:
    """Where splits are named -> the splits. They are settings of a run, so of each phase."""
    if name == "evaluate" and chosen["split"]:
        return {"--split": chosen["split"].split(",")}
    named: dict[str, Sequence[str]] = {"--set evaluation.splits": config.evaluation.splits}
    if name != "evaluate":
        named["--set evaluation.final_splits"] = config.evaluation.final_splits
    return named


def _has_tasks(suite: Suite, split: str) -> bool:
    try:
        return bool(suite.tasks(split))
    except SkillRLError:
        return False  # a suite's answer for a split that it does not know


def _dry_run(name: str, resolved: presets.Resolved, workdir: Path, chosen: dict[str, Any]) -> str:
    """The resolved config, where its values came from, and what would run."""
    config = resolved.config
    given = {flag: value for flag, value in chosen.items() if value is not None}
    lines = [json.dumps(public_dict(config), indent=2), "", "set by:"]
    lines += [f"  {field}: {source}" for field, source in sorted(resolved.sources.items())]
    lines += ["", f"would run in {workdir}:"]
    lines += [f"  {line}" for line in _plan(name, config, chosen)]
    if given:
        lines.append("  with " + ", ".join(f"--{k}={v}" for k, v in given.items()))
    return "\n".join(lines)


def _plan(name: str, config: Config, chosen: dict[str, Any]) -> list[str]:
    """What a command does, one line per phase; its flags win over the config."""
    rl, evolution, evaluation = config.rl, config.evolution, config.evaluation
    flags = {flag: value for flag, value in chosen.items() if value is not None}
    splits = evaluation.final_splits if name == "train" else evaluation.splits
    every = f"evolving the bank every {evolution.validation_interval}"
    shown = config.collect.expert_episodes
    phases = {
        "collect": f"collect: {flags.get('episodes', config.collect.episodes)} episodes "
        "with the base policy" + (f" and {shown} of the expert" if shown else ""),
        "distill": "distill: skills from at most "
        f"{config.distill.max_trajectories_per_category} trajectories per category",
        "sft": f"sft: {config.sft.epochs} epochs of at most "
        f"{flags.get('num_examples', config.sft.num_examples) or 'all'} examples",
        "rl": f"rl: {rl.training_epochs} iterations of {rl.batch_size} episodes "
        f"({rl.batch_size // rl.group_size} tasks x {rl.group_size}), "
        + (every if evolution.enabled else "the bank fixed"),
        "evaluate": f"evaluate: {flags.get('split') or ', '.join(splits)}, temperature "
        f"{flags.get('temperature', evaluation.temperature):g}, "
        f"{flags.get('repeats', evaluation.repeats)} x "
        + (f"the first {evaluation.max_tasks} tasks" if evaluation.max_tasks else "each task"),
    }
    return list(phases.values()) if name == "train" else [phases[name]]


def _inspect(parsed: Parsed) -> None:
    """Prints a skill bank."""
    from skillrl.skills.describe import describe_bank
    from skillrl.skills.store import load_bank

    path = Path(parsed.positional)
    if path.is_dir():
        versions = [p for p in path.glob("banks/*.json") if p.stem.isdecimal()]
        first = path / "distill" / "bank.json"
        found = sorted(versions, key=lambda p: int(p.stem)) or [first]
        if not found[-1].is_file():
            raise SkillRLError(
                f"{path}: has no skill bank yet (neither banks/*.json nor distill/bank.json). "
                "Name a bank file, or a run that has distilled one."
            )
        path = found[-1]
        print(path)
    _show(describe_bank(load_bank(path)))


def _serve(parsed: Parsed) -> None:
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
    config = presets.resolve(values["env"], False, None, values["set"]).config
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
    """An argument as it may be shown: what follows the name of an API key is left out."""
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
    """Prints; a reader that has gone (``| head``) is no error."""
    try:
        print(printable(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _overview() -> str:
    lines = ["usage: skillrl COMMAND [flags]", "", "Commands (skillrl COMMAND --help says more):"]
    lines += [f"  {c.name:<10}{c.brief}" for c in COMMANDS.values()]
    return "\n".join(lines)
