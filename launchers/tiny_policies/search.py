"""The course in search: one that looks up a name and answers the first thing it reads.

It practises in worlds of other facts than the one that is trained and tested on, so that it
learns to read and not what is true there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from launchers.tiny_policies.careless_search import CarelessExpert
from launchers.tiny_policies.course import Course, Stage
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.envs import Environment, Expert
from skillrl.envs.search.environment import SearchEnvironment
from skillrl.envs.search.expert import QuestionExpert, read_documents
from skillrl.envs.search.relations import RELATIONS
from skillrl.envs.search.suite import generated_world
from skillrl.types import Observation, Task

MAX_STEPS = 4
WORLDS = 8


def _expert(task: Task, careless: bool) -> Expert:
    return CarelessExpert(task.goal) if careless else QuestionExpert(task.goal)


def _practice(rng: random.Random) -> tuple[Task, Environment]:
    retriever, tasks = generated_world(rng.randint(1, WORLDS))
    return rng.choice(tasks["train"]), SearchEnvironment(retriever, max_steps=MAX_STEPS, top_k=3)


def _random_move(task: Task, observation: Observation, rng: random.Random) -> str:
    """Searches for a word or two of the question, or for something that was read."""
    titles = [title for title, _ in read_documents(observation.text)]
    words = task.goal.rstrip("?").split()
    at = rng.randrange(len(words))
    return f"<search>{rng.choice([' '.join(words[at : at + 2]), *titles])}</search>"


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists what stands between a thing and its value, which tells the relation."""
    between = [relation.says.split("{x}")[1].split("{y}")[0] for relation in RELATIONS.values()]
    words = [text.rstrip() for text in between if " " in text.strip()]
    return (*dict.fromkeys(words), '(Title: "', "<information>Doc 1", "</information>")


def _slip(
    task: Task,
    action: str,
    past: Sequence[HistoryStep],
    observation: Observation,
    rng: random.Random,
) -> str:
    """Makes a slip: the same again, the whole question, or an answer out of place."""
    return rng.choice(
        [
            past[-1].action if past else "",
            f"<search>{task.goal.rstrip('?')}</search>",
            "",
            _random_move(task, observation, rng),
        ]
    )


COURSE = Course(
    env="search",
    max_steps=MAX_STEPS,
    prompts=PromptConfig(history_length=1, max_prompt_length=1024, max_observation_tokens=320),
    other_prompts=(PromptConfig(history_length=2),),
    stages=(
        Stage(
            updates=400,
            episodes=16,
            skilled=0.0,
            rate=0.020,
            last_rate=0.0120,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.20,
            impossible=0.5,
        ),
        Stage(
            updates=160,
            episodes=16,
            skilled=0.5,
            rate=0.012,
            last_rate=0.0030,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.20,
            impossible=0.5,
        ),
        Stage(
            updates=300,
            episodes=16,
            skilled=0.5,
            rate=0.008,
            last_rate=0.0004,
            aligned=0.95,
            aligned_with_skills=1.00,
            noise=0.20,
            impossible=0.5,
        ),
        Stage(
            updates=150,
            episodes=16,
            skilled=0.5,
            rate=0.0050,
            last_rate=0.0003,
            aligned=0.1,
            aligned_with_skills=0.1,
            noise=0.20,
            impossible=0.5,
        ),
    ),
    expert=_expert,
    random_move=_random_move,
    slip=_slip,
    similarity_threshold=-1.0,  # questions and advice share few words
    noisy=lambda index: index // 4 % 2 == 0,  # of all four categories
    practice=_practice,
    phrases=_phrases,
    prefixes=(72, 192),
    buckets=(16, 112, 128, 192, 240),
    responses=(24,),
)
