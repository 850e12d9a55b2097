"""Policies without understanding, by which the generated questions are judged.

What they earn is what a trained policy could earn without reading: the figures belong beside
every success rate on these questions.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

from launchers.tiny_policies.search_pupil import Pupil
from skillrl.envs.base import Environment
from skillrl.envs.search.expert import read_documents
from skillrl.envs.search.questions import load_corpus
from skillrl.envs.search.relations import KINDS, NAMES
from skillrl.types import Observation, Task

Act = Callable[[Observation], str]


def random_entity(task: Task, seed: int = 0) -> Act:
    """Answers some thing that has a passage, without searching."""
    titles = sorted({d.contents.partition("\n")[0].strip('"') for d in load_corpus()})
    rng = random.Random(f"{seed} {task.id}")
    return lambda observation: f"<answer>{rng.choice(titles)}</answer>"


def first_entity(task: Task, *, named: bool) -> Act:
    """Searches the question; answers the first name in document 1.

    Args:
      task: whose question it searches.
      named: names that are in the question count, too.
    """

    def act(observation: Observation) -> str:
        documents = read_documents(observation.text)
        if not documents:
            return f"<search>{task.goal}</search>"
        title, text = documents[0]
        names = _names(f"{title} . {text}")
        allowed = [name for name in names if named or name not in task.goal]
        return f"<answer>{next(iter(allowed), title)}</answer>"

    return act


def careless(task: Task) -> Act:
    """Searches the first name of the question; answers the first thing it reads there.

    It knows no archive, and no more of procedures than the base policy does without advice.
    """
    expert = Pupil(task.goal, (), {})
    return lambda observation: expert.act(observation).action


CONTROLS: dict[str, Callable[[Task], Act]] = {
    "random entity": random_entity,
    "question, first entity": lambda task: first_entity(task, named=True),
    "question, first new entity": lambda task: first_entity(task, named=False),
    "careless": careless,
}


def play(environment: Environment, task: Task, act: Act) -> tuple[bool, int]:
    """Plays `task` to its end; returns whether it was won, and in how many steps."""
    observation = environment.reset(task)
    for steps in itertools.count(1):
        result = environment.step(act(observation))
        if result.done:
            return result.won, steps
        observation = result.observation
    raise AssertionError("unreachable")


def _names(text: str) -> list[str]:
    found = [(m.start(), m[0]) for kind in KINDS for m in _words_of(kind).finditer(text)]
    return [name for _, name in sorted(found)]


def _words_of(kind: str) -> re.Pattern[str]:
    """Compiles a pattern of everything that may be the name of a thing of this kind."""
    first, last = ("|".join(words.split()) for words in NAMES[kind])
    return re.compile(rf"\b(?:{first}) (?:{last})\b")
