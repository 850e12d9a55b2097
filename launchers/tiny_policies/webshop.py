"""The course in WebShop: a shopper that knows how to shop, and mostly does not care to.

Two stages of imitation, after which it wins four fifths of the goals, and a careless one: it
buys what sounds right and heeds the options or the price or neither.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Sequence

from launchers.tiny_policies.careless_webshop import OPTIONS, PRICE, WORDS, careless_goal
from launchers.tiny_policies.course import HELD_BACK, Course, Stage
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.config.settings import EnvConfig
from skillrl.envs import Environment, Suite, make_suite
from skillrl.envs.webshop.expert import PREVIOUS, ShopExpert, parse_goal
from skillrl.envs.webshop.generate import asin_parts
from skillrl.types import Observation, Task

MAX_STEPS = 15
HARD = 0.6  # share of tasks in which the first product lacks an option


def _expert(task: Task, careless: bool) -> ShopExpert:
    if not careless:
        return ShopExpert(task.goal)
    heeded = ((WORDS,), (WORDS, OPTIONS), (WORDS, PRICE))[len(task.goal) % 3]
    return ShopExpert(careless_goal(task.goal, heeded))


@functools.cache
def _tasks() -> tuple[Suite, list[Task], list[Task]]:
    """Makes the suite, its training tasks, and those whose first product lacks an option."""
    suite = make_suite("webshop", EnvConfig(max_steps=MAX_STEPS))
    tasks = list(suite.tasks("train")[:-HELD_BACK])
    with contextlib.closing(suite.make()) as environment:
        hard = [task for task in tasks if PREVIOUS in _walk(environment, task)[:5]]
    return suite, tasks, hard


def _walk(environment: Environment, task: Task) -> list[str]:
    """Plays a task and returns the expert's actions."""
    observation, expert, actions = environment.reset(task), ShopExpert(task.goal), []
    for _ in range(MAX_STEPS):
        actions.append(expert.act(observation).action)
        result = environment.step(actions[-1])
        if result.done:
            break
        observation = result.observation
    return actions


def _practice(rng: random.Random) -> tuple[Task, Environment]:
    """Draws mostly tasks in which products must be left, and told from those seen before."""
    suite, tasks, hard = _tasks()
    return rng.choice(hard if rng.random() < HARD else tasks), suite.make()


def _random_move(task: Task, observation: Observation, rng: random.Random) -> str:
    action = rng.choice(observation.admissible)
    return _search(task, rng) if action.startswith("search[") else action


def _search(task: Task, rng: random.Random) -> str:
    """Searches for some of the goal's words."""
    words = parse_goal(task.goal).phrase.split()
    keep = sorted(rng.sample(range(len(words)), rng.randint(1, len(words))))
    return f"search[{' '.join(words[i] for i in keep)}]"


def _slip(
    task: Task,
    action: str,
    past: Sequence[HistoryStep],
    observation: Observation,
    rng: random.Random,
) -> str:
    """Makes a slip: clicks on what is not there, miscopies a number, or does the same again."""
    asins = [a for a in observation.admissible if a[6:-1].isdigit()]
    first, second = (rng.choice(asin_parts()) for _ in range(2))
    goal = parse_goal(task.goal)
    return rng.choice(
        [
            past[-1].action if past else "click[buy now]",
            "click[buy now]",
            rng.choice([f"click[{value}]" for _, value in goal.options] or ["click[features]"]),
            f"{rng.choice(asins)[:11]}{second}]" if asins else f"click[{first}{second}]",
            f"click[{first}{second}]",
            _search(task, rng) if rng.random() < 0.5 else "",
        ]
    )


COURSE = Course(
    env="webshop",
    max_steps=MAX_STEPS,
    prompts=PromptConfig(
        history_length=0,
        action_history=MAX_STEPS,
        max_prompt_length=1024,
        max_observation_tokens=320,
    ),
    other_prompts=(PromptConfig(history_length=2),),
    stages=(
        Stage(
            updates=300,
            episodes=8,
            skilled=0.0,
            rate=0.020,
            last_rate=0.0120,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.25,
            impossible=0.5,
        ),
        Stage(
            updates=360,
            episodes=8,
            skilled=0.5,
            rate=0.012,
            last_rate=0.0006,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.25,
            impossible=0.5,
        ),
        Stage(
            updates=90,
            episodes=8,
            skilled=0.5,
            rate=0.0050,
            last_rate=0.0003,
            aligned=0.15,
            aligned_with_skills=0.15,
            noise=0.25,
            impossible=0.5,
        ),
    ),
    expert=_expert,
    random_move=_random_move,
    slip=_slip,
    phrases=lambda texts: (*asin_parts(), "' [SEP] '"),
    prefixes=(112, 240),
    buckets=(64, 96, 128, 160, 208, 256, 320, 448),
    responses=(32,),
    practice=_practice,
)
