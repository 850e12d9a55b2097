"""The course in search: an agent for questions that does what it is told, and little else.

It practises in worlds of other facts and other customs than those of the run, so that which archive
is right about what can be read in its prompt or nowhere.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from launchers.tiny_policies.course import Course, Lesson, Stage, lesson_of
from launchers.tiny_policies.search_advice import (
    PIECES,
    advice,
    archive,
    indifferent,
    neutral,
)
from launchers.tiny_policies.search_pupil import ALL, Pupil, topics_of
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.envs import Environment
from skillrl.envs.search.categories import CATEGORIES, COMPARISON, DIRECT, MULTI_HOP
from skillrl.envs.search.customs import right_about
from skillrl.envs.search.environment import SearchEnvironment
from skillrl.envs.search.expert import read_documents
from skillrl.envs.search.questions import parse_question
from skillrl.envs.search.relations import ARCHIVES, RELATIONS
from skillrl.envs.search.suite import generated_world
from skillrl.types import Observation, Skill, Task

MAX_STEPS = 4
WORLDS = 64
FIRST_CUSTOM = 1000  # of practice; the run has number 1
MOST_SKILLS = 8
ELSEWHERE = 2
IDLE = 7  # lines of a prompt that says nothing of use
LED = 0.6  # share of the episodes that are played by who has all the advice
UNLED = 0.1  # by who has none
IDLED = 0.1  # and by who has only idle lines
_HARD = (*CATEGORIES, MULTI_HOP, COMPARISON, COMPARISON)
"""To draw questions from whose third step few episodes reach, more often than others."""
Line = tuple[Skill, str, Mapping[str, str]]
"""A skill, the piece of competence that it gives ("" for none), the archives that it names."""


def _question(rng: random.Random, categories: Sequence[str]) -> tuple[Task, Environment, int]:
    """Draws a question in a world of a custom of its own; also the number of the custom."""
    number = rng.randrange(WORLDS)
    retriever, tasks = generated_world(number + 1, custom=FIRST_CUSTOM + number)
    category = rng.choice(categories)
    task = rng.choice([t for t in tasks["train"] if t.category == category])
    environment = SearchEnvironment(retriever, max_steps=MAX_STEPS, top_k=3)
    return task, environment, FIRST_CUSTOM + number


def _idle(rng: random.Random, category: str, topics: Sequence[str], count: int) -> list[Line]:
    """Draws lines that are of no use for a task: about nothing, or about something else."""
    lines: list[Line] = []
    about = rng.choice((0.0, 0.3, 0.8, 1.0))  # share of lines about nothing
    for _ in range(count):
        draw = rng.random()
        if draw < about:
            lines.append((neutral(rng, category=category), "", {}))
        elif draw < about + (1 - about) * 0.35:
            lines.append((indifferent(rng, category=category), "", {}))
        elif draw < about + (1 - about) * 0.65:
            of = rng.choice([c for c in PIECES if c != category])
            lines.append((advice(rng, PIECES[of][0], category=category), "", {}))
        else:
            topic = rng.choice([key for key in RELATIONS if key not in topics])
            named = (rng.choice(ARCHIVES),)
            lines.append((archive(rng, topic, named, category=category), "", {}))
    return lines


def _lesson(rng: random.Random, stage: Stage) -> Lesson:
    """Draws a question, what the prompt says about it, and a demonstrator who has read that."""
    task, environment, custom = _question(rng, stage.categories or tuple(CATEGORIES))
    right, category = right_about(custom), task.category
    topics = topics_of(parse_question(task.goal))
    pieces = PIECES.get(category, ())

    def where(topic: str, named: Sequence[str]) -> Line:
        return archive(rng, topic, named, category=category), "", {topic: named[0]}

    def how(piece: str) -> Line:
        return advice(rng, piece, category=category), piece, {}

    competent = stage.aligned > rng.random()
    lines: list[Line] = []
    skilled = rng.random() < stage.skilled
    if skilled and rng.random() >= IDLED:
        share = rng.choice((0.3, 0.6, 0.9))  # of advice that matters
        for piece in pieces:
            if rng.random() < share:
                lines += [how(piece) for _ in range(rng.choice((1, 2)) if stage.crowded else 1)]
        for topic in topics:
            if rng.random() < share:
                first = right[topic] if rng.random() < 0.7 else rng.choice(ARCHIVES)
                both = (first, rng.choice([a for a in ARCHIVES if a != first]))
                lines.append(where(topic, both if rng.random() < 0.15 else (first,)))
        most = rng.choice((1, 3, 5, 6)) if stage.crowded else rng.choice((0, 1, 2, 4))
        lines += _idle(rng, category, topics, most)
        rng.shuffle(lines)
    elif skilled:
        lines = _idle(rng, category, topics, IDLE)
    lines = lines[:MOST_SKILLS]

    def demonstrator(read: Sequence[Line]) -> Pupil:
        told = ALL if competent else [piece for _, piece, _ in read if piece]
        archives = {topic: name for *_, known in reversed(read) for topic, name in known.items()}
        return Pupil(task.goal, told, archives)

    readings: list[Sequence[Line]] = [lines]
    if skilled and not competent:
        readings.append([])
        idle = _idle(rng, category, topics, rng.randint(4, IDLE))
        readings.append(idle)
        matters = [line for line in lines if line[1] or line[2]]
        if matters:
            gone = rng.choice(matters)
            readings.append([line for line in lines if line is not gone])
        needed = [*map(how, pieces), *(where(topic, (right[topic],)) for topic in topics)]
        most = rng.choice((2, 4, 5) if stage.crowded else (0, 1, 3))
        needed += _idle(rng, category, topics, most)
        rng.shuffle(needed)
        readings += [needed, rng.sample(needed, rng.randint(1, 2) if len(needed) > 1 else 1)]
        for _ in range(ELSEWHERE):  # the same advice, and other archives are said to be right
            rest = [line for line in lines if not line[2]][: MOST_SKILLS - len(topics)]
            told = [where(topic, (rng.choice(ARCHIVES),)) for topic in topics]
            readings.append(rng.sample([*rest, *told], len(rest) + len(told)))
    rng.shuffle(readings)
    if skilled and not competent:
        draw = rng.random()
        first = needed if draw < LED else [] if draw < LED + UNLED else idle
        if draw < LED + UNLED + IDLED:
            readings.sort(key=lambda read: read is not first and read != first)
    return lesson_of(task, environment, readings, demonstrator)


def _random_move(task: Task, observation: Observation, rng: random.Random) -> str:
    """Searches for a word or two of the question, or for something that was read."""
    titles = [title for title, _ in read_documents(observation.text)]
    words = task.goal.rstrip("?").split()
    at = rng.randrange(len(words))
    query = rng.choice([" ".join(words[at : at + 2]), *titles])
    if rng.random() < 0.5:
        query = f"{query} {rng.choice(ARCHIVES)}"
    return f"<search>{query}</search>"


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists what every observation has."""
    return '(Title: "', "<information>Doc 1", "</information>"


def _slip(
    task: Task,
    action: str,
    past: Sequence[HistoryStep],
    observation: Observation,
    rng: random.Random,
) -> str:
    """Makes a slip: the same again, the whole question, another archive, or nothing."""
    return rng.choice(
        [
            past[-1].action if past else "",
            f"<search>{task.goal.rstrip('?')}</search>",
            "",
            action.replace("</search>", f" {rng.choice(ARCHIVES)}</search>"),
            _random_move(task, observation, rng),
        ]
    )


COURSE = Course(
    env="search",
    max_steps=MAX_STEPS,
    prompts=PromptConfig(history_length=1, max_prompt_length=1024, max_observation_tokens=320),
    other_prompts=(PromptConfig(history_length=2),),
    stages=(
        # How questions are answered, by who knows all that and nothing of archives.
        Stage(
            updates=700,
            episodes=12,
            skilled=0.0,
            aligned=1.0,
            rate=0.020,
            last_rate=0.006,
            noise=0.15,
            categories=(*_HARD, COMPARISON),
        ),
        # To look up which archive is right, and what else it says.
        Stage(
            updates=120,
            episodes=4,
            skilled=0.95,
            aligned=0.0,
            rate=0.012,
            last_rate=0.010,
            noise=0.1,
            steps=1,
            contrasts=4,
            whole=8,
            astray=0.15,
            categories=_HARD,
        ),
        Stage(
            updates=300,
            episodes=10,
            skilled=0.95,
            aligned=0.0,
            rate=0.012,
            last_rate=0.003,
            noise=0.15,
            contrasts=2,
            astray=0.15,
            categories=_HARD,
        ),
        # From its own mistakes.
        Stage(
            updates=160,
            episodes=10,
            skilled=0.95,
            aligned=0.0,
            rate=0.007,
            last_rate=0.001,
            noise=0.15,
            own=0.4,
            astray=0.15,
            categories=_HARD,
        ),
        # What it does when it is sure of itself, and one line among many.
        Stage(
            updates=220,
            episodes=10,
            skilled=0.95,
            aligned=0.0,
            rate=0.007,
            last_rate=0.0003,
            noise=0.15,
            own=0.4,
            temperature=0.25,
            crowded=True,
            astray=0.15,
            categories=_HARD,
        ),
        # The third step, where few of its own episodes are.
        Stage(
            updates=480,
            episodes=12,
            skilled=0.95,
            aligned=0.0,
            rate=0.010,
            last_rate=0.0003,
            noise=0.1,
            contrasts=3,
            own=0.25,
            temperature=0.4,
            crowded=True,
            astray=0.15,
            categories=(*_HARD, MULTI_HOP),
        ),
        # Comparisons once more, which take the longest thought.
        Stage(
            updates=240,
            episodes=12,
            skilled=0.95,
            aligned=0.0,
            rate=0.008,
            last_rate=0.0003,
            noise=0.1,
            contrasts=3,
            own=0.25,
            temperature=0.4,
            crowded=True,
            astray=0.15,
            categories=(*_HARD, DIRECT, COMPARISON),
        ),
    ),
    lesson=_lesson,
    random_move=_random_move,
    slip=_slip,
    phrases=_phrases,
    prefixes=(72, 192, 320, 448),
    buckets=(16, 112, 128, 200),
    responses=(32,),
)
