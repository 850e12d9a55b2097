"""Commands for environments: check the contract, play by hand, replay a list of actions."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from skillrl import extensions
from skillrl.cli.flags import ParsedFlags
from skillrl.config import presets
from skillrl.config.settings import Config
from skillrl.envs import SPLITS, make_suite
from skillrl.errors import SkillRLError
from skillrl.io.files import read_json, write_json
from skillrl.types import Skill, Task

if TYPE_CHECKING:
    from skillrl.models.tokenizer import Tokenizer


def check(parsed: ParsedFlags) -> int:
    """Plays an environment and prints what breaks the contract; returns 1 if anything does."""
    from skillrl.envs.check import Overdue, ProgressReport, describe, examine, limits, watched

    values, config = parsed.values, _config(parsed)
    timeout, time_limit = values["timeout"], values["time_limit"]
    try:
        with limits(timeout, time_limit), watched("building it"):
            suite = make_suite(config.env.name, config.env)
    except Overdue as overdue:
        raise SkillRLError(
            f"--env={config.env.name}: importing and building it took more than "
            f"{overdue.seconds:g} s and was in {overdue.place or 'no line of Python'} then. Let "
            "nothing there wait for ever, or raise --timeout."
        ) from None
    done = []
    with ProgressReport(sys.stdout, sys.stderr) as report:
        report.say(f"checking {config.env.name}, at most {config.env.max_steps} steps")
        for one in examine(
            suite,
            config.env,
            episodes=values["episodes"],
            timeout=timeout,
            time_limit=time_limit,
        ):
            report.ended(one)
            done.append(one)
        count = sum(len(one.findings) for one in done)
        if not count:
            report.say(f"{config.env.name} keeps the contract.")
            return 0
        end = f"{config.env.name} breaks the contract: {count} finding{'s' * (count > 1)}."
        report.say(f"\n{describe(done)}\n\n{end}")
    return 1


def play(parsed: ParsedFlags) -> None:
    """Lets a person play one episode."""
    from skillrl.cli.play import ManualEpisode
    from skillrl.envs.replay import find_task

    values, config = parsed.values, _config(parsed)
    suite = make_suite(config.env.name, config.env)
    task = find_task(suite, values["task"] or "", _split(values["split"]))
    tokenizer = _tokenizer(config)
    episode = ManualEpisode(
        suite,
        task,
        config,
        out=sys.stdout,
        skills=_skills(config, task, values["skill_bank"], tokenizer),
        tokenizer=tokenizer,
    )
    try:
        episode.play(sys.stdin)
    finally:  # what was played is kept where the environment is lost, too
        if values["output"] and episode.entries:
            write_json(values["output"], episode.entries)
            print(f"{len(episode.entries)} entries in {values['output']}")


def replay(parsed: ParsedFlags) -> None:
    """Plays actions in one game or task and writes the answers."""
    from skillrl.envs.replay import actions_of, find_task, replay_task

    values = parsed.values
    needed = ("actions", "output") if values["task"] else ("game", "actions", "output")
    missing = [f"--{name}" for name in needed if not values[name]]
    if missing:
        either = " (or --task)" if "--game" in missing else ""
        raise SkillRLError(f"replay needs {', '.join(missing)}{either}. See --help.")
    if values["task"] and values["game"]:
        raise SkillRLError("replay takes --task or --game, not both.")
    config = _config(parsed)
    if values["game"] and config.env.name != "alfworld":
        raise SkillRLError(
            f"--env={config.env.name}: --game is for alfworld only; name a task with --task=ID."
        )
    actions = actions_of(read_json(values["actions"]))
    if actions is None:
        raise SkillRLError(
            f"--actions={values['actions']}: must hold a JSON list of action strings, like "
            '["look", "go to desk 1"], or what play or replay --task has written.'
        )
    if values["task"]:
        suite = make_suite(config.env.name, config.env)
        entries = replay_task(suite, find_task(suite, values["task"]), actions)
    else:
        from skillrl.envs.alfworld.replay import find_game
        from skillrl.envs.alfworld.replay import replay as replay_game

        entries = replay_game(find_game(values["game"]), actions)
    write_json(values["output"], entries)
    print(
        f"{len(actions)} actions played, {'won' if entries[-1]['won'] else 'not won'}; "
        f"{len(entries)} entries in {values['output']}"
    )


def _config(parsed: ParsedFlags) -> Config:
    """Resolves the settings, and imports the modules that they name."""
    values = parsed.values
    config = presets.resolve(
        values["env"],
        mock=values["mock"],
        config_path=values["config"],
        overrides=values["set"],
    ).config
    extensions.load(config.modules)
    return config


def _split(name: str | None) -> str:
    if name and name not in SPLITS:
        raise SkillRLError(f"--split={name}: there are {', '.join(SPLITS)}.")
    return name or ""


def _skills(
    config: Config, task: Task, bank: str | None, tokenizer: Callable[[], Tokenizer | None]
) -> tuple[Skill, ...] | None:
    if not bank:
        return None
    from skillrl.agent.prompt import count_skill_tokens
    from skillrl.skills.retrieval import Retriever
    from skillrl.skills.store import load_bank
    from skillrl.teacher.registry import make_embedder

    retrieve = Retriever(make_embedder(config.model), config.skill_retrieval)
    if config.skill_retrieval.max_tokens and (policys := tokenizer()) is not None:
        count = functools.partial(count_skill_tokens, encode=policys.encode)
        retrieve = dataclasses.replace(retrieve, count_tokens=count)
    return retrieve(load_bank(bank), task)


def _tokenizer(config: Config) -> Callable[[], Tokenizer | None]:
    """Loads the policy's tokenizer at the first call; None where there is no policy here."""
    path = config.model.policy_path if config.model.policy == "local" else ""
    if not path:
        return lambda: None
    loaded: list[Tokenizer] = []

    def load() -> Tokenizer:
        from skillrl.models.tokenizer import Tokenizer

        if not loaded:
            loaded.append(Tokenizer.load(presets.resolve_path(path)))
        return loaded[0]

    return load
