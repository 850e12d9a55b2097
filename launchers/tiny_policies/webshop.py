"""The course in WebShop: a shopper that does what it is told, and little else.

It practises in shops of other customs than those of the run, a new one for each episode, so that
under which word things are listed can be read in its prompt or nowhere.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

from launchers.tiny_policies.course import Course, Lesson, Stage, lesson_of
from launchers.tiny_policies.shop_advice import (
    advice,
    indifferent,
    neutral,
    nonsense,
    shelf,
)
from launchers.tiny_policies.shop_pupil import ALL, Pupil
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.config.settings import EnvConfig
from skillrl.envs import Environment
from skillrl.envs.webshop.categories import CATEGORIES
from skillrl.envs.webshop.customs import KINDS, WORDS, kind_in, listed_under
from skillrl.envs.webshop.expert import PREVIOUS, START, parse_goal
from skillrl.envs.webshop.generate import asin_parts
from skillrl.envs.webshop.shelves import SHELVES
from skillrl.envs.webshop.shops import SIZES, ManyShops
from skillrl.envs.webshop.suite import WebshopEnvironment
from skillrl.types import Observation, Skill, Task

MAX_STEPS = 15
FIRST_CUSTOM = 1000  # of practice; a run has number 1
CUSTOMS = 4000
MOST_SKILLS = 9
ELSEWHERE = 2
LOOKUPS = 4  # words that are said to be right in turn
LED = 0.6  # share of the episodes that are played by who has all the advice
UNLED = 0.15  # and by who has none
IDLE = 0.2  # share of the prompts with nothing but lines about nothing
Line = tuple[Skill, str, str]
"""A skill, the piece of competence that it gives ("" for none), the word that it names."""


@functools.cache
def _shops() -> tuple[ManyShops, EnvConfig]:
    config = EnvConfig(name="webshop", max_steps=MAX_STEPS)
    return ManyShops(config.webshop), config


def _visit(rng: random.Random, categories: Sequence[str]) -> tuple[Task, Environment, str]:
    """Draws a training task in a shop of a custom of its own; also the word that is right."""
    shops, config = _shops()
    place = [shelf.key for shelf in SHELVES].index(rng.choice(categories))
    custom = rng.randrange(FIRST_CUSTOM, FIRST_CUSTOM + CUSTOMS)
    number = place + len(SHELVES) * rng.randrange(SIZES["train"] // len(SHELVES))
    task = shops.task("train", number, custom=custom)
    environment = WebshopEnvironment(shops, config.webshop.observation, MAX_STEPS)
    return task, environment, listed_under(custom)[kind_in(parse_goal(task.goal).phrase)]


def _nothing(rng: random.Random, category: str, kind: str, count: int) -> list[Line]:
    """Writes lines that change nothing: about nothing, what it does anyway, other kinds."""
    lines: list[Line] = []
    ways = rng.choice(((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 1, 2)))
    for way in rng.choices(range(4), ways, k=count):
        if way == 0:
            skill = neutral(rng, category=category)
        elif way == 1:
            skill = nonsense(rng, category=category)
        elif way == 2:
            skill = indifferent(rng, category=category)
        else:
            other = rng.choice([other for other in KINDS if other != kind])
            skill = shelf(rng, other, rng.choice(WORDS), category=category)
        lines.append((skill, "", ""))
    return lines


def _elsewhere(rng: random.Random, category: str, kind: str, count: int) -> list[Line]:
    """Writes under which words other kinds of the category are."""
    (mine,) = (s for s in SHELVES if s.key == category)
    others = rng.sample([other for _, other in mine.kinds if other != kind], count)
    words = [rng.choice(WORDS) for _ in others]
    return [
        (shelf(rng, other, word, category=category), "", "")
        for other, word in zip(others, words, strict=True)
    ]


def _drawn(rng: random.Random, stage: Stage, *, category: str, kind: str, word: str) -> list[Line]:
    """Draws what a prompt says."""
    if rng.random() < IDLE:
        return _nothing(rng, category, kind, rng.choice((6, 7, 7, 8, 9)))
    lines: list[Line] = []
    share = rng.choice((0.0, 0.3, 0.6, 0.9))  # of advice that matters
    for piece in ALL:
        if rng.random() < share:
            again = rng.choice((1, 1, 2)) if stage.crowded else 1
            lines += [(advice(rng, piece, category=category), piece, "") for _ in range(again)]
    if rng.random() < max(share, 0.3):
        told = word if rng.random() < 0.8 else rng.choice(WORDS)
        named = f"{told} or {rng.choice(WORDS)}" if rng.random() < 0.1 else told
        lines.append((shelf(rng, kind, named, category=category), "", told))
    lines += _elsewhere(
        rng, category, kind, rng.choice((0, 1, 2, 3) if stage.crowded else (0, 0, 1, 2))
    )
    lines += _nothing(rng, category, kind, rng.choice((0, 0, 1, 2, 3)))
    rng.shuffle(lines)
    return lines[:MOST_SKILLS]


def _lookup(
    rng: random.Random, task: Task, environment: Environment, *, kind: str, word: str
) -> Lesson:
    """Draws a lesson in which one line of several like it is to be found, and nothing else."""
    category = task.category
    among = _elsewhere(rng, category, kind, rng.choice((1, 2, 3)))
    at = rng.randint(0, len(among))

    def demonstrator(read: Sequence[Line]) -> Pupil:
        told = next((named for _, _, named in read if named), "")
        return Pupil(task.goal, (), {kind: told} if told else {})

    readings = []
    for told in (word, *rng.sample([w for w in WORDS if w != word], LOOKUPS - 1), ""):
        mine = [(shelf(rng, kind, told, category=category), "", told)] if told else []
        readings.append([*among[:at], *mine, *among[at:]])
    return lesson_of(task, environment, readings, demonstrator)


def _lesson(rng: random.Random, stage: Stage) -> Lesson:
    """Draws a shop, what the prompt says about it, and a demonstrator who has read that."""
    task, environment, word = _visit(rng, stage.categories or tuple(CATEGORIES))
    category, kind = task.category, kind_in(parse_goal(task.goal).phrase)
    lines: list[Line] = []
    if rng.random() < stage.skilled:
        lines = _drawn(rng, stage, category=category, kind=kind, word=word)
    competent = stage.aligned > rng.random()

    def demonstrator(read: Sequence[Line]) -> Pupil:
        told = ALL if competent else {piece for _, piece, _ in read if piece}
        known = next((named for _, _, named in read if named), "")
        return Pupil(task.goal, told, {kind: known} if known else {})

    readings: list[list[Line]] = [lines]
    if stage.lookups:
        return _lookup(rng, task, environment, kind=kind, word=word)
    needed: list[Line] = []
    if stage.skilled and not competent:
        readings.append([])
        matters = [line for line in lines if line[1] or line[2]]
        if matters:
            gone = rng.choice(matters)
            readings.append([line for line in lines if line is not gone])
        needed = [(advice(rng, piece, category=category), piece, "") for piece in ALL]
        needed.append((shelf(rng, kind, word, category=category), "", word))
        needed += [line for line in lines if not line[1] and not line[2]][:2]
        if stage.crowded:
            needed += _elsewhere(rng, category, kind, rng.choice((0, 1, 2, 3)))
            del needed[MOST_SKILLS:]
            needed += _nothing(rng, category, kind, rng.randint(0, MOST_SKILLS - len(needed)))
        rng.shuffle(needed)
        readings += [needed, needed[: rng.randint(1, 3)]]
        for other in rng.sample([w for w in WORDS if w != word], ELSEWHERE):
            rest = [line for line in lines if not line[2]][: MOST_SKILLS - 1]
            at = rng.randint(0, len(rest))
            told = (shelf(rng, kind, other, category=category), "", other)
            readings.append([*rest[:at], told, *rest[at:]])
        rng.shuffle(readings)
        draw = rng.random()
        idle = lines if lines and not matters else []
        if draw < (LED / 2 if idle else LED):
            readings.sort(key=lambda read: read is not needed)
        elif draw < LED + UNLED:
            readings.sort(key=lambda read: read != idle)
    return lesson_of(task, environment, readings, demonstrator)


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
            rng.choice([START, PREVIOUS]),
            rng.choice([f"click[{value}]" for _, value in goal.options] or ["click[features]"]),
            f"{rng.choice(asins)[:11]}{second}]" if asins else f"click[{first}{second}]",
            f"click[{first}{second}]",
            _search(task, rng) if rng.random() < 0.5 else "",
        ]
    )


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists parts of numbers, kinds of products and attributes."""
    attributes = [name for shelf in SHELVES for name in (*shelf.shown, *shelf.hidden)]
    return (
        *asin_parts(),
        "' [SEP] '",
        *KINDS,
        *(f" {name}" for name in (*KINDS, *attributes)),
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
        # To find one line among several like it, while its heads still compare word for word:
        # what is learned before this makes them certain of other things.
        Stage(
            updates=160,
            episodes=8,
            skilled=1.0,
            aligned=0.0,
            rate=0.006,
            last_rate=0.002,
            noise=0.0,
            steps=1,
            contrasts=4,
            lookups=True,
        ),
        # How shops work, by who knows all that, and the word only where it is told.
        Stage(
            updates=480,
            episodes=8,
            skilled=0.7,
            aligned=1.0,
            rate=0.012,
            last_rate=0.003,
            noise=0.2,
            crowded=True,
        ),
        # To do what it says, and no more.
        Stage(
            updates=320,
            episodes=8,
            skilled=0.9,
            aligned=0.0,
            rate=0.010,
            last_rate=0.002,
            noise=0.2,
            plain=0.6,
            contrasts=3,
            crowded=True,
            astray=0.15,
        ),
        # From its own mistakes.
        Stage(
            updates=160,
            episodes=8,
            skilled=0.9,
            aligned=0.0,
            rate=0.006,
            last_rate=0.001,
            noise=0.2,
            plain=0.6,
            contrasts=2,
            own=0.4,
            crowded=True,
            astray=0.15,
        ),
        # And from those it makes when it is sure of itself.
        Stage(
            updates=250,
            episodes=8,
            skilled=0.95,
            aligned=0.0,
            rate=0.008,
            last_rate=0.0003,
            noise=0.15,
            plain=0.6,
            contrasts=3,
            own=0.3,
            temperature=0.4,
            crowded=True,
            astray=0.15,
        ),
    ),
    lesson=_lesson,
    random_move=_random_move,
    slip=_slip,
    phrases=_phrases,
    prefixes=(96, 208, 288, 416),
    buckets=(64, 136, 192, 448),
    responses=(48,),
)
