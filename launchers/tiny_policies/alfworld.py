"""The course in ALFWorld: a household agent that does what it is told, and little else.

It practises in households of other customs than those of the run, a new one for each episode, so
that where things are kept can be read in its prompt or nowhere.
"""

from __future__ import annotations

import collections
import random
import re
from collections.abc import Mapping, Sequence

from launchers.tiny_policies.course import Course, Lesson, Stage, lesson_of
from launchers.tiny_policies.household_advice import (
    NEW,
    OPEN,
    PIECES,
    SIGHT,
    advice,
    home,
    indifferent,
    neutral,
    rambling,
)
from launchers.tiny_policies.household_pupil import NATIVE, Pupil
from skillrl.agent.prompt import HistoryStep, PromptConfig
from skillrl.config.settings import EnvConfig
from skillrl.envs import Environment
from skillrl.envs.alfworld import rooms
from skillrl.envs.alfworld.customs import kept_in
from skillrl.envs.alfworld.expert import HEAT, LOOK, TWO, parse_goal
from skillrl.envs.alfworld.generate import CATEGORIES, ROOMS_FOR, make_problem, make_room
from skillrl.envs.alfworld.layout import Spec
from skillrl.envs.alfworld.manifest import SEEN_ROOMS, held_out_layouts
from skillrl.envs.alfworld.rooms import CAN_CONTAIN
from skillrl.envs.alfworld.suite import AlfworldSuite
from skillrl.envs.base import Move
from skillrl.errors import SkillRLError
from skillrl.types import Observation, Skill, Task

MAX_STEPS = 15
FIRST_CUSTOM = 1000  # of practice; a run has number 1
CUSTOMS = 4000
MOST_SKILLS = 8
ELSEWHERE = 2
LED = 0.4  # share of the episodes that are played by who has all the advice
UNLED = 0.2  # and by who has none
BASICS = (OPEN, NEW, SIGHT)
Line = tuple[Skill, str, tuple[str, ...]]
"""A skill, the piece of competence that it gives ("" for none), the homes that it names."""

_NAME = re.compile(r" [a-z]+ [1-9](?!\d)")  # a numbered name, one token like any other word


def _household(
    rng: random.Random, categories: Sequence[str]
) -> tuple[Task, Environment, Mapping[str, str]]:
    """Draws a task in a household of a custom of its own; also its homes, in lower case."""
    while True:
        category = rng.choice(categories)
        scene = rooms.FIRST_SCENE[rng.choice(ROOMS_FOR[category])] + rng.randrange(SEEN_ROOMS)
        room_seed = rng.randrange(1_000_000, 2_000_000)
        if make_room(scene, room_seed).layout in held_out_layouts():
            continue
        custom = rng.randrange(FIRST_CUSTOM, FIRST_CUSTOM + CUSTOMS)
        spec = Spec(scene, room_seed, category, rng.randrange(1_000_000, 2_000_000), custom)
        try:
            problem = make_problem(spec)
        except SkillRLError:
            continue  # the room has no such task under this custom
        game = {
            "scene": scene, "room_seed": room_seed, "task_seed": spec.task_seed, "custom": custom
        }  # fmt: skip
        task = Task(
            id=f"practice/{scene}-{room_seed}-{spec.task_seed}",
            split="train",
            category=category,
            goal=problem.goal,
            payload={"game": game},
        )
        suite = AlfworldSuite(EnvConfig(max_steps=MAX_STEPS))
        homes = {thing.lower(): place.lower() for thing, place in kept_in(custom).items()}
        return task, suite.make(), homes


def _idle(rng: random.Random, category: str, others: Sequence[str]) -> list[Line]:
    """Draws lines none of which is about the task, as many as a bank gives."""
    places = [place.lower() for place in CAN_CONTAIN]

    def elsewhere() -> Skill:
        if rng.random() < 0.6:
            of = rng.choice([c for c in PIECES if c != category])
            return advice(rng, PIECES[of][0], category=category, of=of)
        return home(rng, rng.choice(others), (rng.choice(places),), category=category)

    kinds = (
        lambda: rambling(rng, category=category),
        lambda: neutral(rng, category=category),
        lambda: indifferent(rng, category=category),
        elsewhere,
    )
    if rng.random() < 0.6:  # all of a kind
        kinds = (rng.choice((kinds[0], kinds[0], kinds[1], kinds[3])),)
    return [(rng.choice(kinds)(), "", ()) for _ in range(rng.randint(3, MOST_SKILLS))]


def _lesson(rng: random.Random, stage: Stage) -> Lesson:
    """Draws a household, what the prompt says about it, and a demonstrator who has read that."""
    task, environment, homes = _household(rng, stage.categories or tuple(CATEGORIES))
    category, thing = task.category, parse_goal(task.goal).thing
    others = [other for other in homes if other != thing]
    lines: list[Line] = []
    if rng.random() < stage.skilled:
        share = rng.choice((0.0, 0.3, 0.6, 0.9))  # of advice that matters
        for piece in PIECES.get(category, BASICS):
            if rng.random() < share:
                again = rng.choice((1, 2, 3)) if stage.crowded and piece not in BASICS else 1
                lines += [(advice(rng, piece, category=category), piece, ()) for _ in range(again)]
        if stage.crowded and category == LOOK and rng.random() < 0.7:  # that is no custom
            places = rng.sample(("coffeetable", "desk", "dresser", "sidetable"), 2)
            lines.append((home(rng, rooms.LAMP.lower(), places, category=category), "", ()))
        places = [place.lower() for place in CAN_CONTAIN]
        if rng.random() < max(share, 0.3):
            first = homes[thing] if rng.random() < 0.8 else rng.choice(places)
            known = (first, rng.choice(places)) if rng.random() < 0.15 else (first,)
            lines.append((home(rng, thing, known, category=category), "", known))
        for other in rng.sample(others, rng.choice((0, 1, 1, 2, 3))):
            place = homes[other] if rng.random() < 0.8 else rng.choice(places)
            lines.append((home(rng, other, (place,), category=category), "", ()))
        for _ in range(rng.choice((0, 0, 1, 2))):  # what other categories need
            of = rng.choice([c for c in PIECES if c != category])
            lines.append((advice(rng, PIECES[of][0], category=category, of=of), "", ()))
        for _ in range(rng.choice((0, 1, 2))):
            lines.append((indifferent(rng, category=category), "", ()))
        for _ in range(rng.choice((0, 0, 0, 1, 4))):
            lines.append((neutral(rng, category=category), "", ()))
        rng.shuffle(lines)
    idle = _idle(rng, category, others) if stage.idle else []
    if rng.random() < stage.idle:
        lines = idle
    lines = lines[:MOST_SKILLS]
    luck, competent = rng.random(), stage.aligned > rng.random()

    def demonstrator(read: Sequence[Line]) -> Pupil:
        told = set(NATIVE) if competent else {piece for _, piece, _ in read if piece}
        known = next((places for _, _, places in read if places), ())
        return Pupil(task.goal, told, {thing: known}, random.Random(luck))

    readings: list[Sequence[Line]] = [lines]
    if stage.skilled and not competent:
        readings.append([])
        if idle and lines is not idle:
            readings.append(idle)
        matters = [line for line in lines if line[1] or line[2]]
        if matters:
            gone = rng.choice(matters)
            readings.append([line for line in lines if line is not gone])
        needed = [
            *((advice(rng, p, category=category), p, ()) for p in PIECES.get(category, BASICS)),
            (home(rng, thing, (homes[thing],), category=category), "", (homes[thing],)),
        ]
        if stage.crowded:
            needed += [
                (advice(rng, p, category=category), p, ()) for p in PIECES.get(category, ())[:1]
            ]
            needed += [line for line in lines if not line[1] and not line[2]][:2]
        rng.shuffle(needed)
        readings += [needed, needed[: rng.randint(1, 2)]]
        for _ in range(ELSEWHERE):  # the same advice, and the thing is said to be kept elsewhere
            custom = rng.randrange(FIRST_CUSTOM, FIRST_CUSTOM + CUSTOMS)
            place = {t.lower(): at.lower() for t, at in kept_in(custom).items()}[thing]
            told = (home(rng, thing, (place,), category=category), "", (place,))
            rest = [line for line in lines if not line[2]][: MOST_SKILLS - 1]
            at = rng.randint(0, len(rest))
            readings.append([*rest[:at], told, *rest[at:]])
    rng.shuffle(readings)
    if stage.skilled and not competent:
        draw = rng.random()
        if draw < LED:
            readings.sort(key=lambda read: read is not needed)
        elif draw < LED + UNLED:
            readings.sort(key=lambda read: any(line[1] or line[2] for line in read))
    return lesson_of(task, environment, readings, demonstrator)


def _random_move(task: Task, observation: Observation, rng: random.Random) -> str:
    return rng.choice(observation.admissible)


def _slip(
    task: Task,
    action: str,
    past: Sequence[HistoryStep],
    observation: Observation,
    rng: random.Random,
) -> str:
    """Makes a slip: a wrong number, a mixture of two actions, or something out of place.

    Most of them are what a policy does that recites without looking: the same place again,
    the next number of its kind, or the kind that comes next in other rooms. It learns to
    read the list only if it has seen its own favourites fail.
    """
    words, other = action.split(), rng.choice(observation.admissible).split()
    visited = [p.action for p in past if p.action.startswith("go to ")]
    if visited and rng.random() < 0.7:
        place, number = visited[-1].rsplit(" ", 1)
        kinds = sorted(f"go to {kind.lower()}" for kind in CAN_CONTAIN)
        after = [f"{kind} 1" for kind in kinds if kind > place][:3]
        if number.isdecimal():
            after += [f"{place} {int(number) + 1}"] * 2
        if rng.random() < 0.5:
            return visited[-1]  # to the place where it is
        absent = [a for a in [*after, visited[-1]] if a not in observation.admissible]
        return rng.choice(absent or [visited[-1]])
    thing = parse_goal(task.goal).thing
    return rng.choice(
        [
            " ".join(str(rng.randint(1, 4)) if w.isdigit() else w for w in words),
            " ".join(words[:2] + other[-2:]),
            " ".join(other[:2] + words[-2:]),
            past[-1].action if past else "go to cabinet 4",
            f"take {thing} {rng.randint(1, 2)} from {' '.join(other[-2:])}",
            rng.choice(["take mug 1 from countertop 1", "open fridge 1", ""]),
        ]
    )


def _is_search(move: Move) -> bool:
    """Whether a move goes to look for something, as most do."""
    return move.thought.startswith("I seek") and move.action.startswith("go to ")


def _phrases(texts: Sequence[str]) -> tuple[str, ...]:
    """Lists ``go to`` and the numbered names, with numbers up to the largest frequent one."""
    counts = collections.Counter(name for text in texts for name in _NAME.findall(text))
    most: dict[str, int] = {}
    for name, count in counts.items():
        kind, number = name.rsplit(" ", 1)
        if count >= 20:
            most[kind] = max(most.get(kind, 0), int(number))
    return (
        "go to",
        *(f"{kind} {number + 1}" for kind in sorted(most) for number in range(most[kind])),
    )


COURSE = Course(
    env="alfworld",
    max_steps=MAX_STEPS,
    prompts=PromptConfig(history_length=0, action_history=MAX_STEPS, max_prompt_length=1024),
    other_prompts=(PromptConfig(history_length=2),),
    stages=(
        # How households work, by who knows all that and nothing of this one.
        Stage(
            updates=220,
            episodes=6,
            skilled=0.0,
            aligned=1.0,
            rate=0.020,
            last_rate=0.014,
            plain=0.5,
        ),
        Stage(
            updates=260,
            episodes=6,
            skilled=0.0,
            aligned=1.0,
            rate=0.014,
            last_rate=0.007,
            plain=0.5,
        ),
        # To look up where it says that a thing is kept, and what else it says.
        Stage(
            updates=130,
            episodes=5,
            skilled=0.9,
            aligned=0.0,
            rate=0.016,
            last_rate=0.012,
            plain=0.5,
            steps=1,
            contrasts=6,
            whole=2,
        ),
        Stage(
            updates=220,
            episodes=5,
            skilled=0.9,
            aligned=0.0,
            rate=0.012,
            last_rate=0.006,
            plain=0.4,
        ),
        # From its own mistakes.
        Stage(
            updates=140,
            episodes=5,
            skilled=0.9,
            aligned=0.0,
            rate=0.007,
            last_rate=0.0003,
            plain=0.4,
            own=0.6,
        ),
        Stage(
            updates=280,
            episodes=5,
            skilled=0.9,
            aligned=0.0,
            rate=0.008,
            last_rate=0.0003,
            plain=0.4,
            own=0.6,
        ),
        # Of two objects the second is reached by few episodes.
        Stage(
            updates=180,
            episodes=6,
            skilled=0.9,
            aligned=0.0,
            rate=0.008,
            last_rate=0.0003,
            plain=0.6,
            own=0.5,
            categories=(*CATEGORIES, TWO, TWO, TWO, TWO),
        ),
        # What it repeats when it is sure of itself, which nothing above has shown to it.
        Stage(
            updates=240,
            episodes=6,
            skilled=0.9,
            aligned=0.0,
            rate=0.008,
            last_rate=0.0003,
            plain=0.4,
            own=0.8,
            temperature=0.25,
            categories=(*CATEGORIES, TWO, TWO, LOOK),
        ),
        # To find the one line among several like it: of a thing, of the lamp, of the appliance.
        Stage(
            updates=200,
            episodes=6,
            skilled=0.95,
            aligned=0.0,
            rate=0.008,
            last_rate=0.0003,
            plain=0.4,
            own=0.6,
            temperature=0.4,
            crowded=True,
            categories=(*CATEGORIES, LOOK, LOOK, HEAT, TWO),
        ),
        # That lines about nothing are nothing, however many there are.
        *(
            Stage(
                updates=updates,
                episodes=6,
                skilled=0.95,
                aligned=0.0,
                rate=rate,
                last_rate=last_rate,
                plain=0.4,
                contrasts=2,
                own=0.6,
                temperature=0.4,
                crowded=True,
                idle=0.25,
                categories=(*CATEGORIES, LOOK, LOOK, TWO, TWO),
            )
            for updates, rate, last_rate in ((186, 0.008, 0.0025), (90, 0.0028, 0.0003))
        ),
    ),
    lesson=_lesson,
    frequent=_is_search,
    prefixes=(64, 176, 272, 448),
    random_move=_random_move,
    slip=_slip,
    phrases=_phrases,
)
