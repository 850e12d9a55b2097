"""What written advice is worth to a tiny policy: its demonstrators, and the policy itself.

    python benchmarks/advice.py --env=search --policy=asset:tiny_qwen2_search --json=OUT.json

Plays valid_unseen of the generated tasks once for each kind of prompt (`benchmarks/advised`). The
demonstrators say what a policy could reach that does just what it is told. `held back` are rules
that no practice had; lines about nothing or about other tasks should be worth nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.advised.form import Knows, Prompt  # noqa: E402
from benchmarks.controls.search import play as play_control  # noqa: E402
from skillrl.api import default_config, load_policy  # noqa: E402
from skillrl.envs import make_suite  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.types import Task  # noqa: E402

SPLIT = "valid_unseen"


def environments() -> list[str]:
    """Lists the environments that `benchmarks/advised` has a module for."""
    modules = (ROOT / "benchmarks" / "advised").glob("*.py")
    return sorted({path.stem for path in modules} - {"__init__", "form"})


def demonstrators_win(about, tasks: Sequence[Task], suite) -> dict[str, list[bool]]:
    """Returns what a demonstrator knows -> whether it won each task."""
    environment = suite.make()

    def won(task: Task, knows: Knows) -> bool:
        expert = about.demonstrator(task, knows)
        return play_control(environment, task, lambda seen: expert.act(seen).action)[0]

    return {
        name: [won(task, knows) for task in tasks]
        for name, knows in (
            ("none", Knows(False, False)),
            ("procedures", Knows(True, False)),
            (about.EXPERIENCE, Knows(False, True)),
            ("both", Knows(True, True)),
        )
    }


def policy_wins(
    path: str,
    prompts: Mapping[str, Prompt],
    tasks: Sequence[Task],
    suite,
    *,
    env: str,
    temperature: float,
) -> dict[str, list[bool]]:
    """Returns kind of prompt -> whether the policy won each task."""
    from skillrl.agent.agent import make_agent
    from skillrl.parallel import random_keys
    from skillrl.phases.build import make_engine
    from skillrl.rollouts.player import Player, make_job, play
    from skillrl.skills.bank import SkillBank

    settings, policy = default_config(env), load_policy(path)
    agent = make_agent(settings, suite, policy.tokenizer)
    engine = make_engine(settings, policy.model, seed=0)
    engine.publish(policy.params, 1)
    player = Player(
        suite=suite,
        agent=agent,
        engine=engine,
        retriever=lambda bank, task: (),
        max_response_length=settings.rl.max_response_length,
    )
    found = {}
    for name, prompt in prompts.items():
        jobs = [
            make_job(
                player,
                task,
                SkillBank(),
                phase=random_keys.RL,
                skills=prompt(task, random.Random(f"{name} {task.id}")),
            )
            for task in tasks
        ]
        found[name] = [one.won for one in play(player, jobs, temperature=temperature)]
    return found


def by_category(
    tasks: Sequence[Task], won: Sequence[bool], categories: Sequence[str]
) -> dict[str, float | None]:
    """Returns success in percent: of all, and of each category; None without tasks of it."""
    found: dict[str, float | None] = {"all": 100 * sum(won) / len(won)}
    for category in categories:
        mine = [w for task, w in zip(tasks, won, strict=True) if task.category == category]
        found[category] = 100 * sum(mine) / len(mine) if mine else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--env", required=True, choices=environments())
    parser.add_argument("--policy", default="", help="files of a policy; none plays demonstrators")
    parser.add_argument("--temperature", type=float, default=0.4)
    parser.add_argument("--tasks", type=int, default=120, help="the first of the split")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    about = importlib.import_module(f"benchmarks.advised.{args.env}")
    suite = make_suite(args.env, default_config(args.env).env)
    tasks = suite.tasks(SPLIT)[: args.tasks]
    wins = demonstrators_win(about, tasks, suite)
    played = {f"demonstrator: {name}": won for name, won in wins.items()}
    if args.policy:
        wins = policy_wins(
            args.policy,
            about.prompts(),
            tasks,
            suite,
            env=args.env,
            temperature=args.temperature,
        )
        played |= {f"policy: {name}": won for name, won in wins.items()}
    results = {name: by_category(tasks, won, [*about.CATEGORIES]) for name, won in played.items()}
    rows = [
        [name, *("-" if value is None else f"{value:.0f}" for value in found.values())]
        for name, found in results.items()
    ]
    text = table(rows, ["prompt", "all %", *about.CATEGORIES.values()])
    print(text)
    if args.json:
        command = " ".join(["python", *sys.argv])
        record = {"command": command, "split": SPLIT, "results": results, "table": text}
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
