"""What written advice is worth to a search policy: its demonstrators, and the policy itself.

    python benchmarks/search_advice.py --policy=asset:tiny_qwen2_search --json=OUT.json

Plays valid_unseen of the generated questions once for each kind of prompt. The demonstrators say
what a policy could reach that does just what it is told; `held back` are rules that no practice
had, and lines about nothing, about other topics or other kinds of questions should be worth
nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.controls.search import play as play_control  # noqa: E402
from launchers.tiny_policies import search_advice as words  # noqa: E402
from launchers.tiny_policies.search_pupil import ALL, Pupil, topics_of  # noqa: E402
from skillrl.api import default_config, load_policy  # noqa: E402
from skillrl.envs import make_suite  # noqa: E402
from skillrl.envs.search.categories import CATEGORIES  # noqa: E402
from skillrl.envs.search.customs import right_about  # noqa: E402
from skillrl.envs.search.questions import CUSTOM, parse_question  # noqa: E402
from skillrl.envs.search.relations import RELATIONS  # noqa: E402
from skillrl.io.console import table  # noqa: E402
from skillrl.types import Skill, Task  # noqa: E402

SPLIT = "valid_unseen"
LINES = 7  # of a prompt that is of no use

Prompt = Callable[[Task, random.Random], list[Skill]]


def prompts() -> dict[str, Prompt]:
    """Name of a kind of prompt -> what it shows for a task."""
    right, other = right_about(CUSTOM), right_about(CUSTOM + 1)

    def procedures(task: Task, rng: random.Random, *, held_back: bool = False) -> list[Skill]:
        pieces = words.PIECES.get(task.category, ())
        return [
            words.advice(rng, piece, category=task.category, held_back=held_back)
            for piece in pieces
        ]

    def archives(task, rng, *, known=right, held_back: bool = False) -> list[Skill]:
        return [
            words.archive(rng, t, (known[t],), category=task.category, held_back=held_back)
            for t in topics_of(parse_question(task.goal))
        ]

    def shuffled(skills: list[Skill], rng: random.Random) -> list[Skill]:
        return rng.sample(skills, len(skills))

    def elsewhere(task: Task, rng: random.Random) -> list[Skill]:
        mine = topics_of(parse_question(task.goal))
        topics = rng.sample([key for key in RELATIONS if key not in mine], LINES - 2)
        others = [c for c in words.PIECES if c != task.category]
        found = [words.archive(rng, t, (right[t],), category=task.category) for t in topics]
        found += [words.advice(rng, words.PIECES[c][0], category=task.category) for c in others[:2]]
        return shuffled(found, rng)

    def crowded(task: Task, rng: random.Random) -> list[Skill]:
        return shuffled(
            procedures(task, rng) + archives(task, rng) + elsewhere(task, rng)[: LINES - 3], rng
        )

    return {
        "none": lambda task, rng: [],
        "about nothing": lambda task, rng: [
            words.neutral(rng, category=task.category) for _ in range(LINES)
        ],
        "about something else": elsewhere,
        "procedures": procedures,
        "archives": archives,
        "both": lambda task, rng: shuffled(procedures(task, rng) + archives(task, rng), rng),
        "both, among others": crowded,
        "both, held back": lambda task, rng: shuffled(
            procedures(task, rng, held_back=True) + archives(task, rng, held_back=True), rng
        ),
        "both, of another custom": lambda task, rng: shuffled(
            procedures(task, rng) + archives(task, rng, known=other), rng
        ),
    }


def demonstrators(tasks: Sequence[Task], suite) -> dict[str, list[bool]]:
    """Name of what a demonstrator knows -> whether it won each task."""
    right, environment = right_about(CUSTOM), suite.make()

    def won(task: Task, told: Sequence[str], known) -> bool:
        pupil = Pupil(task.goal, told, known)
        return play_control(environment, task, lambda seen: pupil.act(seen).action)[0]

    return {
        name: [won(task, told, known) for task in tasks]
        for name, told, known in (
            ("none", (), {}),
            ("procedures", ALL, {}),
            ("archives", (), right),
            ("both", ALL, right),
        )
    }


def policy_wins(
    path: str, tasks: Sequence[Task], suite, *, temperature: float
) -> dict[str, list[bool]]:
    """Kind of prompt -> whether the policy won each task."""
    from skillrl.agent.agent import make_agent
    from skillrl.parallel import random_keys
    from skillrl.phases.build import make_engine
    from skillrl.rollouts.player import Player, make_job, play
    from skillrl.skills.bank import SkillBank

    settings, policy = default_config("search"), load_policy(path)
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
    for name, prompt in prompts().items():
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


def by_category(tasks: Sequence[Task], won: Sequence[bool]) -> dict[str, float]:
    """Success in percent: of all, and of each category."""
    found = {"all": 100 * sum(won) / len(won)}
    for category in CATEGORIES:
        mine = [w for task, w in zip(tasks, won, strict=True) if task.category == category]
        found[category] = 100 * sum(mine) / len(mine)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--policy", default="", help="files of a policy; none plays demonstrators")
    parser.add_argument("--temperature", type=float, default=0.4)
    parser.add_argument("--tasks", type=int, default=120, help="the first of the split")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    suite = make_suite("search", default_config("search").env)
    tasks = suite.tasks(SPLIT)[: args.tasks]
    played = {f"demonstrator: {k}": v for k, v in demonstrators(tasks, suite).items()}
    if args.policy:
        wins = policy_wins(args.policy, tasks, suite, temperature=args.temperature)
        played |= {f"policy: {name}": won for name, won in wins.items()}
    results = {name: by_category(tasks, won) for name, won in played.items()}
    rows = [
        [name, *(f"{value:.0f}" for value in found.values())] for name, found in results.items()
    ]
    text = table(rows, ["prompt", "all %", *CATEGORIES.values()])
    print(text)
    if args.json:
        command = " ".join(["python", *sys.argv])
        found = {"command": command, "split": SPLIT, "results": results, "table": text}
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
